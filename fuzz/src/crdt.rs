//! What the targets of CRDT payloads share.

use std::sync::{Mutex, Once, PoisonError};

use partita_core::{ActorSeed, CrdtDocument, CrdtError, CrdtType, DocumentId, Limits, LogId};

/// Whose payloads the CRDT targets take.
pub fn author() -> ActorSeed {
    ActorSeed::derive(&LogId::from_bytes([1; 16]), &DocumentId::from_bytes([2; 32]))
}

fn reader() -> ActorSeed {
    ActorSeed::derive(&LogId::from_bytes([3; 16]), &DocumentId::from_bytes([2; 32]))
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.payload_bytes = 1 << 20;
    limits.inflated_bytes = 16 << 20;
    limits.operations = 200_000;
    limits
}

/// What the validator accepts, the library applies: no panic even inside its panic boundary, no abort, and the document can
/// be used, saved and loaded afterwards.
pub fn accepted_means_applied(crdt: &impl CrdtType, payload: &[u8], import: bool) {
    quiet();
    let actor = (!import).then(author);
    if crdt.validate(payload, actor, &limits()).is_err() {
        return;
    }
    let mut doc = crdt.create(reader());
    for outcome in doc.apply(&[payload, payload]) {
        if let Err(CrdtError::Poisoned(what)) = outcome {
            fail(&format!("an accepted payload poisoned the document: {what}"));
        }
    }
    usable(crdt, &*doc);
}

/// An author's payloads, of which the later may contradict the earlier, mean the same whether what others wrote, and they
/// may build on, comes before or after them.
pub fn accepted_means_the_same_in_any_order(crdt: &impl CrdtType, own: &[&[u8]], others: &[u8]) {
    quiet();
    if own.iter().any(|payload| crdt.validate(payload, Some(author()), &limits()).is_err()) {
        return;
    }
    let (mut early, mut late) = (crdt.create(reader()), crdt.create(reader()));
    let outcomes = [early.apply(&[others]), early.apply(own), late.apply(own), late.apply(&[others])];
    if outcomes.iter().flatten().any(Result::is_err) {
        fail("an accepted payload is refused");
    }
    if early.digest() != late.digest() || !early.same_history(&*late) {
        fail("order makes a difference");
    }
    usable(crdt, &*late);
}

/// Another writer than the author.
pub fn other() -> ActorSeed {
    ActorSeed::derive(&LogId::from_bytes([4; 16]), &DocumentId::from_bytes([2; 32]))
}

fn usable(crdt: &impl CrdtType, doc: &dyn CrdtDocument) {
    let (digest, pending) = (doc.digest(), doc.pending());
    let Ok(snapshot) = doc.snapshot() else { fail("no snapshot after an accepted payload") };
    match crdt.load(&snapshot, reader()) {
        Ok(again) if again.digest() == digest && again.pending() == pending => {}
        Ok(_) => fail("a document differs from its own snapshot"),
        Err(error) => fail(&format!("a document's own snapshot does not load: {error}")),
    }
}

/// Changes bytes of an honest payload: pairs of a place (two bytes) and a value.
pub fn patch(honest: &mut [u8], patches: &[u8]) {
    for patch in patches.as_chunks::<3>().0 {
        let place = usize::from(u16::from_be_bytes([patch[0], patch[1]]));
        if let Some(byte) = honest.get_mut(place) {
            *byte = patch[2];
        }
    }
}

/// The fuzzer would end at panics that a boundary catches, too. Those that nobody catches still end it: the last
/// words are said then.
pub fn quiet() {
    static ONCE: Once = Once::new();
    static LAST: Mutex<String> = Mutex::new(String::new());
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
            let now = info.to_string();
            if now.contains("cannot unwind") {
                eprintln!("{last}");
            }
            *last = now;
        }));
    });
}

fn fail(what: &str) -> ! {
    eprintln!("{what}");
    std::process::abort()
}
