//! The bytes of every message are part of the protocol: these tests say when they change. What is to be done then says
//! `docs/formats.md`.

use data_encoding::HEXLOWER;
use partita_core::{
    Batch, Bytes, ContextId, ContextKind, DocumentId, Durability, EntryId, EntryKind, EpochId, Frontier, Hash, Key,
    LogId, Op, Refusal, Stamp, Store as _, StoreError, Tip,
};
use partita_protocol::{
    message::{Ephemeral, Granted, Message, Open, Opened, Piece, Refused, Run},
    reads::{self, ReadRequest},
};
use partita_testing::{
    MemoryStore,
    samples::{self, SampleLog},
};
use proptest::prelude::*;

const CONTEXT: ContextId = samples::context(0xc0);
const LOG: LogId = LogId::from_bytes([0x10; 16]);

fn tips() -> Vec<Tip> {
    let tip = |log, seq| Tip { log: LogId::from_bytes([log; 16]), seq, head: EntryId::from_bytes([0xee; 32]) };
    vec![tip(1, 1), tip(2, 300)]
}

fn open(proof: &'static [u8]) -> Message {
    Message::Open(Open {
        context: CONTEXT,
        number: 1,
        kind: ContextKind::new("open/plain").unwrap(),
        frontier: Frontier::default().hash(),
        proof: Bytes::from_static(proof),
    })
}

fn opened(outcome: Result<Granted, Refusal>) -> Message {
    let context = CONTEXT;
    Message::Opened(Opened { context, number: 7, outcome })
}

fn piece() -> Piece {
    Piece { context: CONTEXT, log: LOG, seq: 7, offset: 65_536 }
}

/// The first entries of a data log: what a run can have in it.
fn data_run() -> Message {
    let mut log = SampleLog::new(1, CONTEXT, 1).after(tips());
    log.state(Stamp {
        heads: vec![EntryId::from_bytes([0xaa; 32])],
        epoch: Some(EpochId(Hash::from_bytes([0xbb; 32]))),
    });
    let document = DocumentId::from_bytes([0xd0; 32]);
    let entries = vec![
        log.append(EntryKind::Create(document), &b"create"[..]),
        log.change(document, &b"change"[..]),
        log.change(DocumentId::from_bytes([0xd1; 32]), &b""[..]),
    ];
    run_of(entries, false)
}

fn control_run() -> Message {
    let mut log = SampleLog::new(1, CONTEXT, 2);
    log.control(&b"the first is not in the run"[..]);
    let second = log.control(&b"control"[..]);
    run_of(vec![second], false)
}

fn withheld_run() -> Message {
    let mut log = SampleLog::new(1, CONTEXT, 3);
    let mut entry = (*log.change(samples::document(1), vec![1; 1000])).clone();
    entry.payload = Bytes::new();
    run_of(vec![entry.into()], true)
}

fn run_of(entries: Vec<std::sync::Arc<partita_core::Entry>>, withheld: bool) -> Message {
    let signature = entries.last().unwrap().signature.unwrap();
    let entries = entries.into_iter().map(|entry| {
        let mut entry = (*entry).clone();
        entry.signature = None; // only the run's own travels
        entry.into()
    });
    let entries: Vec<std::sync::Arc<partita_core::Entry>> = entries.collect();
    Message::Entries(Run { context: CONTEXT, log: entries[0].header.log, entries, signature, withheld })
}

fn messages() -> Vec<(&'static str, Message)> {
    let context = CONTEXT;
    vec![
        ("open", open(b"proof")),
        ("opened, the same", opened(Ok(Granted { differs: false, proof: None }))),
        ("opened, differs", opened(Ok(Granted { differs: true, proof: None }))),
        ("opened, with a proof", opened(Ok(Granted { differs: false, proof: Some(Bytes::from_static(b"proof")) }))),
        ("opened, refused", opened(Err(Refusal::Revoked))),
        ("frontier", Message::Frontier { context, tips: tips(), more: false }),
        ("frontier, a part", Message::Frontier { context, tips: Vec::new(), more: true }),
        ("have", Message::Have { context, tips: tips() }),
        ("entries", data_run()),
        ("entries, control", control_run()),
        ("entries, withheld", withheld_run()),
        ("want", Message::Want(piece())),
        ("fragment", Message::Fragment { piece: piece(), bytes: Bytes::from_static(b"part") }),
        ("ack", Message::Ack { context, held: vec![(LOG, 0), (LOG, 1 << 40)] }),
        (
            "refused",
            Message::Refused(Refused {
                context,
                log: LOG,
                seq: 9,
                why: Refusal::NeedControl,
                heads: vec![EntryId::from_bytes([0xaa; 32])],
            }),
        ),
        ("retry", Message::Retry { context, logs: vec![LOG] }),
        ("credit", Message::Credit(4 << 20)),
        ("heartbeat", Message::Heartbeat { nonce: 0x0102_0304_0506_0708, clock: 1_800_000_000_000, reply: true }),
        ("error", Message::Error { code: 1, text: "why".into() }),
        ("bye", Message::Bye),
        (
            "ephemeral",
            Message::Ephemeral(Ephemeral {
                context,
                document: DocumentId::from_bytes([0xd0; 32]),
                sender: samples::replica(1),
                time: partita_core::NTP64(0x6b49_d201_0000_0000),
                epoch: Some(EpochId(Hash::from_bytes([0xbb; 32]))),
                payload: Bytes::from_static(b"sealed"),
                signature: partita_core::Signature::from_bytes([0x51; 64]),
            }),
        ),
        ("gone", Message::Gone { context, sender: samples::replica(1) }),
    ]
}

const GOLDEN: &[(&str, &str)] = &[
    (
        "open",
        "0152c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0010a6f70656e2f706c61696e059fe049fca915c6bcdbba727731e3c37077da0b0613f1357930402d5e7b9a930570726f6f66",
    ),
    ("opened, the same", "0223c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0070000"),
    ("opened, differs", "0223c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c007ff00"),
    ("opened, with a proof", "0229c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c00700010570726f6f66"),
    ("opened, refused", "0222c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c00704"),
    (
        "frontier",
        "038501c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0020101010101010101010101010101010101eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee02020202020202020202020202020202ac02eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee00",
    ),
    ("frontier, a part", "0322c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c00001"),
    (
        "have",
        "048401c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0020101010101010101010101010101010101eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee02020202020202020202020202020202ac02eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
    ),
    (
        "entries",
        "05b203c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0e3d13e6b7a0c4c8018bc163cf0c3fda1010103316b49d20100000000d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d08a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c01010101010101010101010101010101020101010101010101010101010101010101eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee02020202020202020202020202020202ac02eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb06637265617465426b49d20200000000066368616e6765026b49d20300000000d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1009fafcd7dfce83cde31aaa20e34089306e2e5e2a6007b6efb83f55d22a91dbd5700eb923cbc981ba7d8815f543bd3f36c7d673e45422d1fb480d720f129522200",
    ),
    (
        "entries, control",
        "05a401c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c05f17ca024c6c3cd8cde89bab57a4882b01022a7ad2a20484f134d3546fd73b40fd44b9e4938bf860be379329bed7b6aa0b9a01006b49d2020000000007636f6e74726f6c530058621259e5ced459ee44f21070e9bf93c6145d6f9eb2567a03e6e861fc77b1e4b614329d77571dab64d12874ecc176d17fac7fa7059d816a3d1e233c4000",
    ),
    (
        "entries, withheld",
        "05f001c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0a12b6b159c22d54dbfb440f1582894c1030101126b49d2010000000001010101010101010101010101010101010101010101010101010101010101018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c030303030303030303030303030303030000e807760870eaf3c582a033364c4d88014e2cacef699792edaf8729aa1680827aa1bf76988cbdc2db4e07b669ab87ef925238dbd80d819c56d916294bcdadca9a0beaaee361e797fc8fc9bb2e36952c61c414264534f040c99d0c0bc97ac0cce1b507",
    ),
    (
        "want",
        "0634c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c01010101010101010101010101010101007808004",
    ),
    (
        "fragment",
        "0739c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c010101010101010101010101010101010078080040470617274",
    ),
    (
        "ack",
        "0848c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c002101010101010101010101010101010100010101010101010101010101010101010808080808020",
    ),
    (
        "refused",
        "0953c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c010101010101010101010101010101010090501aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    ("retry", "0a31c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c00110101010101010101010101010101010"),
    ("credit", "0b0480808002"),
    ("heartbeat", "0c110102030405060708000001a3185c500001"),
    ("error", "0d050103776879"),
    ("bye", "0e00"),
    (
        "ephemeral",
        "40d001c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d08a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c6b49d2010000000001bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb067365616c656451515151515151515151515151515151515151515151515151515151515151515151515151515151515151515151515151515151515151515151515151515151",
    ),
    (
        "gone",
        "4140c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c08a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
    ),
];

#[test]
fn the_bytes_of_every_message_stay_what_they_are() {
    let mut found = String::new();
    for (name, message) in messages() {
        let frame = Message::encode_frame(std::slice::from_ref(&message));
        assert_eq!(Message::decode_frame(&frame).unwrap(), [message], "{name}");
        found += &format!("    (\"{name}\", \"{}\"),\n", HEXLOWER.encode(&frame));
    }
    let golden: String = GOLDEN.iter().map(|(name, bytes)| format!("    (\"{name}\", \"{bytes}\"),\n")).collect();
    assert!(
        golden == found,
        "messages changed, and programs of today speak the old ones: see docs/formats.md; the bytes now:\n{found}"
    );
}

#[test]
fn several_messages_go_in_one_frame() {
    let all: Vec<_> = messages().into_iter().map(|(_, message)| message).collect();
    let frame = Message::encode_frame(&all);
    assert_eq!(Message::decode_frame(&frame).unwrap(), all);
    let frames = Message::encode_frames(all.clone(), 300);
    assert!(frames.len() > 2);
    let split: Vec<_> = frames.iter().flat_map(|frame| Message::decode_frame(frame).unwrap()).collect();
    assert_eq!(split, all);
}

/// What stands in stores, read as the node reads it when it loads a context.
#[test]
fn a_store_with_a_log_record_of_a_later_version_is_refused_by_name() {
    let record = |version: u8| {
        // Version, a data log, replica, nonce, no predecessors, nothing held, no heads, no epochs, time, begun, bytes,
        // nothing known, nothing signed.
        let rest = [&[0][..], &[1; 32], &[2; 16], &[0, 0], &[0; 32], &[0, 0], &[0; 8], &[1, 0, 0, 0]].concat();
        Bytes::from([&[version][..], &rest].concat())
    };
    let read = |version: u8| {
        let store = MemoryStore::new(samples::incarnation(1));
        let batch = Batch { ops: vec![Op::Put(Key::Log(CONTEXT, LOG), record(version))] };
        store.commit(&batch, Durability::Durable).unwrap();
        let view = store.read().unwrap();
        reads::answer(&*view, &ReadRequest::Context(CONTEXT))
    };
    assert!(read(2).is_ok());
    let refused = read(3).unwrap_err();
    assert!(matches!(&refused, StoreError::NewerRecord(what) if what.contains("version")), "{refused}");
}

/// Whether a frame says something that only a later version knows: that is read as what it means for this one.
fn is_of_a_later_version(frame: &Bytes) -> bool {
    let mut input = partita_core::codec::Reader::new(frame);
    while !input.is_empty() {
        let tag = input.u8().unwrap();
        let body = input.bytes("a message", usize::MAX).unwrap();
        let unknown = |code: u8| !matches!(code, 0 | 255) && Refusal::from_code(code).is_none();
        let mut refused = partita_core::codec::Reader::new(body.get(48..).unwrap_or(&[]));
        let later = match tag {
            66.. => true,
            2 => {
                let mut after = partita_core::codec::Reader::new(body.get(32..).unwrap_or(&[]));
                let _ = after.varint();
                unknown(after.u8().unwrap_or(0))
            }
            9 => {
                let _ = refused.varint();
                let code = refused.u8().unwrap_or(0);
                Refusal::from_code(code).is_none()
            }
            _ => false,
        };
        if later {
            return true;
        }
    }
    false
}

fn one_encoding(frame: &Bytes) {
    if let Ok(messages) = Message::decode_frame(frame)
        && !is_of_a_later_version(frame)
    {
        assert_eq!(&Message::encode_frame(&messages), frame);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        one_encoding(&bytes.into());
    }

    #[test]
    fn any_body_under_a_known_tag_is_read_or_refused(
        tag in 0u8..70,
        body in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut out = partita_core::codec::Writer::new();
        out.u8(tag);
        out.bytes(&body);
        one_encoding(&out.finish());
    }

    #[test]
    fn what_was_changed_is_read_as_something_else_or_refused(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut messages = messages();
        let which = which.index(messages.len());
        let (_, message) = messages.swap_remove(which);
        let mut frame = Message::encode_frame(&[message]).to_vec();
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()));
        }
        one_encoding(&frame.into());
    }
}
