//! Identifiers. Every id has one text form: lower-case hexadecimal of all its bytes.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use partita_crypto::{Hash, hash};

/// Why a text is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} lower-case hexadecimal digits, found {found:?}")]
pub struct IdError {
    expected: usize,
    found: String,
}

/// Why a text is no [`ContextKind`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a kind of contexts is 1 to 48 characters of a-z, 0-9, '-', '.' and '/', found {found:?}")]
pub struct KindError {
    found: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; $len]);

        impl $name {
            /// How many bytes the id has.
            pub const LEN: usize = $len;

            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &HEXLOWER.encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                HEXLOWER
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| IdError { expected: 2 * $len, found: text.chars().take(80).collect() })
            }
        }
    };
}

id! {
    /// One device's copy: its Ed25519 verifying key. The bytes are a claim until
    /// [`VerifyingKey::parse`](partita_crypto::VerifyingKey::parse) has accepted them.
    ReplicaId, 32
}
id! {
    /// The unit of partition, access and encryption: see [`ContextId::derive`].
    ContextId, 32
}
id! {
    /// One CRDT value inside a context. It commits to the type and to what the document was created from: see
    /// [`document_id`](crate::document_id).
    DocumentId, 32
}
id! {
    /// The BLAKE3 hash of an entry's canonical header.
    EntryId, 32
}
id! {
    /// The entries that one replica writes in one context during one open of its store: see [`LogId::derive`].
    LogId, 16
}
id! {
    /// Sixteen random bytes minted at every open of a store, never read back from it.
    Incarnation, 16
}

impl EntryId {
    /// Stands where no entry is: before the first entry of a log.
    pub const NONE: EntryId = EntryId([0; 32]);
}

impl From<Hash> for EntryId {
    fn from(hash: Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl LogId {
    /// The id of the log that `replica` begins in `context` with this nonce.
    pub fn derive(context: &ContextId, replica: &ReplicaId, nonce: &[u8; 16]) -> Self {
        let hash = hash("partita 2026 v1 log id", &[context.as_bytes(), replica.as_bytes(), nonce]);
        let (id, _) = hash.as_bytes().split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        Self(*id)
    }
}

impl ContextId {
    /// The id of the context of `kind` that `root` governs: an owner's verifying key, or the hash of a group's genesis.
    ///
    /// The kind is under the hash, so nobody can present a context as one of a laxer kind.
    pub fn derive(kind: &ContextKind, root: &[u8; 32]) -> Self {
        const SUITE: u8 = 1;
        let kind = kind.as_str().as_bytes();
        Self(*hash("partita 2026 v1 context id", &[&[SUITE, kind.len() as u8], kind, root]).as_bytes())
    }
}

/// What sort of context this is, by name: `single-owner`, `single-owner/plain`. It selects the strategy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextKind(Box<str>);

impl ContextKind {
    /// The longest name in bytes.
    pub const MAX_LEN: usize = 48;

    /// The kind with this name: 1 to 48 bytes of `a-z`, `0-9`, `-`, `.` and `/`.
    ///
    /// # Errors
    /// When the name is of another form.
    pub fn new(name: &str) -> Result<Self, KindError> {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'/');
        if name.is_empty() || name.len() > Self::MAX_LEN || !name.bytes().all(plain) {
            return Err(KindError { found: name.chars().take(80).collect() });
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContextKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContextKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContextKind({})", self.0)
    }
}

/// Which CRDT library gives a document its meaning: four ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrdtTypeId(pub [u8; 4]);

impl fmt::Display for CrdtTypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.escape_ascii().to_string())
    }
}

impl fmt::Debug for CrdtTypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrdtTypeId({self})")
    }
}

/// One connection of one node, numbered by the node that has it. It never crosses the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);
