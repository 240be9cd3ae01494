//! What a replica's process is told on its standard input and says on its standard output: one line of JSON each.

use serde::{Deserialize, Serialize};

/// A line to a replica. Requests run side by side; answers come in the order in which they are done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Repeated in the answer.
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) ask: Ask,
}

/// What is asked of a replica.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Begin an owner, with this as the first device: the words.
    Found,
    /// Make this device's keys: the request to be certified.
    Request,
    /// Answer another device's request: the certificate.
    Certify { words: String, request: String },
    /// Keep this device's certificate.
    Accept { certificate: String },
    /// Begin a group, with this as its first member's device: the group's id.
    FoundGroup { name: String },
    /// Keep an invitation: the next time it is opened, this device joins.
    Join { invitation: String },
    /// Invite somebody to the group: the invitation.
    Invite { role: String },
    /// Take a member out of the group.
    Remove { member: String },
    /// Who is in the group, as far as is known here.
    Members,
    /// Open the engine; with a relay, if a URL is given: the replica's id.
    Open { connect: Option<String> },
    /// Create a document whose text has so many empty parts: its id.
    Create { crdt: Crdt, parts: usize },
    /// Wait until a document is here and can be read: its id.
    Get { crdt: Crdt, document: String },
    /// Type words, each at the end of a part. [`Event::Durable`] tells how far it got; done when all of it is durable.
    Type { document: String, words: Vec<Word>, pause_us: u64 },
    /// Type short words at the end of a part, one after each pause, until told to rest: how many.
    Edit { document: String, part: usize, pause_us: u64 },
    /// Put blobs of so many bytes under a key, each durable before the next, until told to rest: how many.
    Pour { document: String, key: String, bytes: usize, times: u64, pause_us: u64 },
    /// End what types and pours.
    Rest,
    /// Set a document's counter: when that was visible here.
    Tick { document: String, value: u64 },
    /// The parts of a document's text.
    Read { document: String },
    /// Try to read a document that may not be here, or may be closed to this replica: the parts of its text, or nothing.
    Look { crdt: Crdt, document: String },
    /// The digests of the documents that are open, by id.
    Digests,
    /// What is held.
    Status,
    /// Dial now what waits to be dialled.
    NetworkIsBack,
    /// Wait until a remote holds everything durably that was written here.
    Acknowledged,
    /// Store everything, close the engine, and end.
    Close,
}

impl Ask {
    /// What it is called in a line.
    pub(crate) fn name(&self) -> String {
        let line = serde_json::to_value(self).unwrap_or_default();
        line.get("do").and_then(|name| name.as_str()).unwrap_or("a request").to_owned()
    }
}

/// Something to type, and into which part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Word {
    pub(crate) part: usize,
    pub(crate) text: String,
}

/// Which CRDT library a document is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Crdt {
    Automerge,
    Yrs,
}

/// A line from a replica.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// What a request came to.
    Answer { id: u64, answer: Answer },
    /// Why it came to nothing.
    Failure { id: u64, reason: String },
    /// Something happened.
    Event(Event),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Done,
    /// Words, a request, a certificate or an id.
    Text(String),
    /// Nanoseconds since 1970: one machine's processes share its clock.
    At(u64),
    Count(u64),
    Parts(Vec<String>),
    /// It is not here, or its key is not.
    Nothing,
    Members(Vec<Seat>),
    Digests(Vec<(String, String)>),
    Status(Status),
}

/// A member of a group, as a replica knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seat {
    pub(crate) member: String,
    pub(crate) role: String,
    /// Whether it is in with its whole role.
    pub(crate) active: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) replica: String,
    pub(crate) documents: usize,
    pub(crate) entries: u64,
    /// The bytes of the entries.
    pub(crate) entry_bytes: u64,
    /// The length of the store's file.
    pub(crate) file_bytes: u64,
    /// Entries that cannot be applied.
    pub(crate) set_aside: usize,
    /// The state of the connection to the relay, in words.
    pub(crate) connection: String,
    /// Entries that the relay has neither been sent nor sent itself.
    pub(crate) pending: u64,
    /// Entries under way to the relay, or from it, that it has not acknowledged.
    pub(crate) sent: u64,
    /// Entries that the relay holds durably.
    pub(crate) acknowledged: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// So many words of what a request types survive a crash.
    Durable { id: u64, words: usize },
    /// A document changed, here or elsewhere.
    Changed { document: String },
    /// A document's counter is this now, and since when.
    Tick { value: u64, at: u64 },
    /// The connection to the relay came or went.
    Connected(bool),
    /// Members, devices, rights or keys may be different now.
    Control,
    /// The relay does not give this replica what it asks for: why.
    Refused(String),
    /// The store failed.
    StoreFailed(String),
}
