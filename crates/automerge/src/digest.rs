//! A digest of what a document shows.

use std::collections::VecDeque;

use automerge::{Automerge, ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue, Value};
use partita_core::{Digest, digest_hasher};

/// Objects in order of depth, so that nesting costs no stack; keys sorted, conflicting values in the order that all
/// replicas give them.
pub(crate) fn of(doc: &Automerge) -> Digest {
    let mut walk = Walk { doc, bytes: Vec::new(), open: VecDeque::from([(ROOT, ObjType::Map)]) };
    let mut hasher = digest_hasher();
    while let Some((object, kind)) = walk.open.pop_front() {
        walk.object(&object, kind);
        hasher.update(&(walk.bytes.len() as u64).to_le_bytes());
        hasher.update(&walk.bytes);
        walk.bytes.clear();
    }
    hasher.finish()
}

struct Walk<'d> {
    doc: &'d Automerge,
    bytes: Vec<u8>,
    open: VecDeque<(ObjId, ObjType)>,
}

impl Walk<'_> {
    fn object(&mut self, object: &ObjId, kind: ObjType) {
        match kind {
            ObjType::Map | ObjType::Table => {
                for key in self.doc.keys(object) {
                    self.piece(key.as_bytes());
                    self.values(object, Prop::Map(key));
                }
            }
            ObjType::List => self.elements(object),
            ObjType::Text => {
                let text = self.doc.text(object).unwrap_or_default();
                self.piece(text.as_bytes());
                for mark in self.doc.marks(object).unwrap_or_default() {
                    self.piece(mark.name.as_bytes());
                    self.number(mark.start as u64);
                    self.number(mark.end as u64);
                    self.scalar(&mark.value);
                }
                // What is not text shows as this character; only then is it worth looking at each element.
                if text.contains('\u{fffc}') {
                    self.elements(object);
                }
            }
        }
    }

    fn elements(&mut self, object: &ObjId) {
        for index in 0..self.doc.length(object) {
            self.values(object, Prop::Seq(index));
        }
    }

    fn values(&mut self, object: &ObjId, prop: Prop) {
        let values = self.doc.get_all(object, prop).unwrap_or_default();
        self.number(values.len() as u64);
        for (value, id) in values {
            match value {
                Value::Object(kind) => {
                    self.bytes.extend([b'o', kind as u8]);
                    self.open.push_back((id, kind));
                }
                Value::Scalar(scalar) => self.scalar(&scalar),
            }
        }
    }

    fn scalar(&mut self, scalar: &ScalarValue) {
        match scalar {
            ScalarValue::Null => self.bytes.push(b'0'),
            ScalarValue::Boolean(value) => self.bytes.extend([b'b', u8::from(*value)]),
            ScalarValue::Int(value) => self.tagged(b'i', *value as u64),
            ScalarValue::Uint(value) => self.tagged(b'u', *value),
            ScalarValue::F64(value) => self.tagged(b'f', value.to_bits()),
            ScalarValue::Counter(value) => self.tagged(b'c', i64::from(value) as u64),
            ScalarValue::Timestamp(value) => self.tagged(b't', *value as u64),
            ScalarValue::Str(value) => {
                self.bytes.push(b's');
                self.piece(value.as_bytes());
            }
            ScalarValue::Bytes(value) => {
                self.bytes.push(b'y');
                self.piece(value);
            }
            ScalarValue::Unknown { type_code, bytes } => {
                self.bytes.extend([b'?', *type_code]);
                self.piece(bytes);
            }
        }
    }

    fn tagged(&mut self, tag: u8, value: u64) {
        self.bytes.push(tag);
        self.number(value);
    }

    fn number(&mut self, value: u64) {
        self.bytes.extend(value.to_le_bytes());
    }

    fn piece(&mut self, piece: &[u8]) {
        self.number(piece.len() as u64);
        self.bytes.extend_from_slice(piece);
    }
}
