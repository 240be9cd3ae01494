//! Laws broken on purpose, one at a time, so that a test can prove that the simulator catches each.
//!
//! Each is a mistake that was really made somewhere or nearly made here, and ordinary traffic survives it: it shows when
//! something fails at the wrong moment. The places are found by the name, one line each: `planted(Bug::...)`.
//!
//! Without the feature `planted` (never a default, nowhere a dependency's) [`planted`] is `false` for the compiler, and
//! nothing of a bug is in the program.

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal,)*) => {
        /// A law, broken. Each says the law, then what a user sees.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Bug {
            $($(#[$doc])* $bug,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$bug,)*];

            /// Its name in words, for reports and command lines.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)*
                }
            }
        }
    };
}

bugs! {
    // Nothing is lost.

    /// *Only what is durable is acknowledged.* An entry is acknowledged as soon as it is in memory. After
    /// `acknowledged()` a user sells the phone; the relay loses power, and nobody has the change.
    AckBeforeDurable = "ack-before-durable",
    /// *A commit whose durability future has resolved survives.* The future resolves when the batch goes to the store and
    /// not when it is there. "Saved" is shown, the power goes, the change is gone.
    DurableTooEarly = "durable-too-early",
    /// *Entries and log heads change in one transaction.* A log's record follows in the next one. A crash between the two
    /// leaves entries that their log does not count: they are not sent, and their places are taken.
    HeadsApart = "heads-apart",
    /// *A durable commit is synced.* The store commits without a sync. Everything is fast, and after a power cut the last
    /// minutes are missing.
    SyncSkipped = "sync-skipped",
    /// *A failed store transaction ends the incarnation.* An error of the disk is reported as success. The change is in
    /// the document and on its way to others, and gone after the next start.
    FailedCommitIgnored = "failed-commit-ignored",
    /// *Only a peer's acknowledgement or frontier is evidence that it holds an entry.* Having sent counts as the peer's
    /// having. What it refused for now it is never offered again, and `acknowledged()` says yes.
    SentIsHeld = "sent-is-held",

    // Nothing blocks its neighbours.

    /// *An entry that cannot be used is set aside by itself.* One that cannot stops what comes after it in its document.
    /// One bad change by a buggy app, and the document stands still for everybody.
    SetAsideBlocks = "set-aside-blocks",
    /// *An unappliable entry is tried again when its cause has gone.* What waited for a key is not looked at again when
    /// the key comes. A new device shows new changes, and what was written while it joined only
    /// after a restart.
    KeysNotRetried = "keys-not-retried",
    /// *An undecided log pauses until what decides is here.* A log refused with `NeedControl` is never asked for again. What
    /// a new member wrote before its admission came through stays missing.
    RetryLost = "retry-lost",
    /// *Credit is returned for what was stored, set aside or refused.* It is not returned for what was not taken. After
    /// enough duplicates and refusals a session stands still without an error.
    CreditLost = "credit-lost",

    // Progress is contiguous.

    /// *What a node has of a log is a number, and everything up to it is there.* An entry that does not follow is taken. The
    /// entries between are missing for ever, here and where it is forwarded.
    GapAccepted = "gap-accepted",
    /// *Progress is never the newest seen.* A run behind a gap moves the position without being stored. The peer is told
    /// that everything is here, and sends none of it.
    WatermarkOverGap = "watermark-over-gap",
    /// *A log is stored only once what its first entry names is held.* It is stored at once. The frontier then claims the
    /// predecessors too, and what is missing of them never comes.
    PredecessorUnchecked = "predecessor-unchecked",

    // The log is the truth; everything else is a wake-up.

    /// *A lost wake-up costs latency, never data.* Now and then a subscriber is not woken, and nothing else looks again. The
    /// last change before a pause does not arrive until somebody types on.
    WakeLost = "wake-lost",
    /// *Echoes are filtered by session, never by author.* A device is never sent what it wrote itself. A phone that lost its
    /// disk and kept its key gets everything back but its own work.
    EchoByAuthor = "echo-by-author",
    /// *A document's bookkeeping is what is in it.* Loading goes on one entry too late behind a snapshot. After a restart one
    /// change is missing in one replica's document, though its log is complete.
    SnapshotAhead = "snapshot-ahead",
    /// *When a verdict changes, documents are rebuilt.* The old snapshot stays and is loaded. What a removed member wrote
    /// too late stays in some replicas' documents and not in others'.
    StaleSnapshot = "stale-snapshot",

    // Deny by default.

    /// *No proof, no entry.* An `Open` is granted whoever asks. A removed member goes on reading.
    GrantUnchecked = "grant-unchecked",
    /// *Every context in every message is checked against what that session was granted.* A session that was granted one
    /// context gets any other. Whoever shares the shopping list reads the diary's traffic.
    GrantOfAnotherContext = "grant-of-another-context",

    // One entry, one verdict.

    /// *`authorize` decides.* Every well-formed entry counts. A stranger's changes appear in documents.
    JudgeSaysYes = "judge-says-yes",
    /// *Any op that takes write authority away carries caps.* They are ignored. What a thief wrote after the revocation, in
    /// a log begun before, counts.
    CapsIgnored = "caps-ignored",
    /// *Honest work does not vanish with a removed author.* Nobody vouches for what was built upon. Removing a member tears
    /// holes into documents that others went on with.
    VouchForgotten = "vouch-forgotten",

    // Time is a hint.

    /// *A peer's clock may be wrong by years: nothing blocks.* An entry beyond the drift limit is refused. A phone with a
    /// wrong date syncs nothing, and neither does whatever rests on its work.
    FutureRefused = "future-refused",
    /// *Clocks never decide visibility.* An entry stamped before one that is already here is not applied. What was written
    /// offline at the same time shows on one device and not on the other, until a restart.
    PastSkipped = "past-skipped",

    // A sequence number is used once.

    /// *A log's id is minted anew for each open of a store.* It is derived, and the log goes on after a crash or in a
    /// restored backup. One number means two entries, and two halves of the devices differ for good.
    SeqReused = "seq-reused",

    // Checkpoints.

    /// *Entries are pruned only with the attestation of every writer that is left.* The author's own word is enough. One
    /// buggy device rewrites everybody's history.
    PrunedUnattested = "pruned-unattested",
    /// *A claim does without a dormant writer only if it was made in knowledge of its dormancy.* Whoever is dormant is waited
    /// for by no claim, whenever it was made. The device comes back, is asked for its word on what was pruned meanwhile, and
    /// cannot give it: neither it nor any newcomer gets on.
    DormantAtOnce = "dormant-at-once",
    /// *A claim that adds something is not attested.* Snapshots may hold more than the entries that they stand for. What
    /// nobody wrote appears in everybody's documents.
    AttestedWithMore = "attested-with-more",
    /// *A claim that omits something is not attested.* Snapshots may hold less. What somebody wrote is pruned, and gone.
    AttestedWithLess = "attested-with-less",
    /// *A covered entry is in no snapshot only if its bytes are bad, and an attester's own verdict agrees.* What a claim calls bad is
    /// left out by whoever compares, too. What somebody wrote is called nonsense by another's device, and gone.
    BadUnchecked = "bad-unchecked",
    /// *A replica that was away brings its unsent work in.* What a checkpoint covers of a log replaces what is held of it. The
    /// work of a week offline vanishes in the moment of the first sync.
    TailDropped = "tail-dropped",

    /// *A snapshot goes to exactly those who may read all that it stands for.* It is sealed like what is written now, and
    /// nobody minds. With the first checkpoint a new member reads everything from before its time.
    PastShown = "past-shown",

    // Entries and payloads.

    /// *The relay is blind where the strategy says so.* Sealing passes the plain bytes through, and opening does too.
    /// Everything works, and the relay's operator reads along.
    SealSkipped = "seal-skipped",
    /// *What is written in knowledge of a removal is closed to whoever was removed.* Keys stay as they are. A member that was
    /// removed, or a thief with a revoked phone, goes on reading whatever it gets from a relay's disk.
    KeysKept = "keys-kept",
    /// *A large entry counts when its hash matches.* It is asked for from the beginning after a break, put together from what
    /// comes, and not checked. A picture that was sent over a bad connection is broken, for everybody behind it.
    FragmentsMixed = "fragments-mixed",
}

impl Bug {
    /// The bug with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

impl std::fmt::Display for Bug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether this law is broken now.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use switch::{plant, plant_in_all_threads, planted};

#[cfg(feature = "planted")]
mod switch {
    use std::{
        cell::Cell,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::Bug;

    thread_local! {
        static HERE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// For an engine, whose work is spread over threads. One more than the bug's number; 0 for none.
    static EVERYWHERE: AtomicUsize = AtomicUsize::new(0);

    /// Whether this law is broken now.
    pub fn planted(bug: Bug) -> bool {
        HERE.get() == Some(bug) || EVERYWHERE.load(Ordering::Relaxed) == bug as usize + 1
    }

    /// Breaks a law on this thread alone, or mends it: simulators run side by side.
    pub fn plant(bug: Option<Bug>) {
        HERE.set(bug);
    }

    /// Breaks a law in this process, or mends it.
    pub fn plant_in_all_threads(bug: Option<Bug>) {
        EVERYWHERE.store(bug.map_or(0, |bug| bug as usize + 1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own_and_is_found_by_it() {
        let names: BTreeSet<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        assert!(Bug::ALL.iter().all(|bug| Bug::from_name(bug.name()) == Some(*bug)));
        assert_eq!(Bug::from_name("none"), None);
    }

    #[test]
    fn nothing_is_broken_unless_it_is_asked_for() {
        assert!(Bug::ALL.iter().all(|bug| !planted(*bug)));
    }
}
