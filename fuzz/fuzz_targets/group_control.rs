//! Control payloads of groups: a relay meets them from members and from anybody. The input is cut into payloads, each said by
//! one of three devices, after everything or after the beginning alone; whatever comes, members and relay agree on what
//! counts.

#![no_main]

use std::{sync::Arc, time::Duration};

use libfuzzer_sys::fuzz_target;
use partita_core::{
    Claim, ContextId, ContextInfo, ContextView, ControlEntry, EntryHeader, EntryId, EntryKind, Keystore,
    KeystoreError, LogId, LogStart, Now, PartitionStrategy, ReplicaId, Stamp, Tip, Turn, Verdict, timestamp_at,
};
use partita_crypto::Zeroizing;
use partita_group::{Group, GroupRelay, Policy};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

#[derive(Default)]
struct Keys(std::sync::Mutex<std::collections::BTreeMap<String, Vec<u8>>>);

impl Keystore for Keys {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        Ok(self.0.lock().ok().and_then(|keys| keys.get(name).cloned().map(Zeroizing::new)))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeystoreError> {
        if let Ok(mut keys) = self.0.lock() {
            keys.insert(name.into(), secret.to_vec());
        }
        Ok(())
    }
}

struct Nothing;

impl ContextView for Nothing {
    fn logs_of(&self, _: &ContextId, _: &ReplicaId) -> Vec<Tip> {
        Vec::new()
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        Vec::new()
    }
}

const NOW: Now = Now { monotonic: Duration::ZERO, wall: Duration::from_secs(1) };

struct Author {
    replica: ReplicaId,
    last: Option<(u64, EntryId)>,
}

/// One control entry as a node would give it, if it would.
fn say(sides: &mut [&mut dyn PartitionStrategy], context: ContextId, author: &mut Author, heads: Vec<EntryId>, payload: &[u8]) -> Option<EntryId> {
    let nonce = [1; 16];
    let (seq, backlink) = author.last.map_or((1, EntryId::NONE), |(seq, head)| (seq + 1, head));
    let header = EntryHeader {
        context,
        log: LogId::derive(&context, &author.replica, &nonce),
        seq,
        backlink,
        time: timestamp_at(Duration::ZERO),
        kind: EntryKind::Control,
        start: (seq == 1).then(|| LogStart { replica: author.replica, nonce, tips: Vec::new() }),
        stamp: Some(Stamp { heads: heads.clone(), epoch: None }),
        payload_len: payload.len() as u64,
        payload_hash: EntryHeader::hash_payload(payload),
    };
    let claim = Claim { header: &header, author: author.replica, heads: &heads, epoch: None, control: Some(payload) };
    let verdicts: Vec<Verdict> = sides.iter().map(|side| side.authorize(&claim)).collect();
    assert!(verdicts.windows(2).all(|two| two[0] == two[1]), "{verdicts:?}");
    if verdicts.first() != Some(&Verdict::Accept) {
        return None;
    }
    let mut parents = heads;
    parents.push(backlink);
    let entry = ControlEntry { id: header.id(), author: author.replica, header: &header, parents: &parents, payload };
    let taken: Vec<bool> = sides.iter_mut().map(|side| side.control(NOW, &entry).is_ok()).collect();
    assert!(taken.windows(2).all(|two| two[0] == two[1]));
    taken.first().copied().unwrap_or(false).then(|| {
        author.last = Some((seq, header.id()));
        header.id()
    })
}

fuzz_target!(|data: &[u8]| {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (ada, ben): (Arc<dyn Keystore>, Arc<dyn Keystore>) = (Arc::new(Keys::default()), Arc::new(Keys::default()));
    let Ok(card) = Group::card(&*ben, &mut rng) else { return };
    let Ok(mut group) = Group::found(ada, &mut rng, "fuzz", Policy::default(), std::slice::from_ref(&card)) else { return };
    let context = group.context();
    let mut turn = Turn { now: NOW, rng: &mut rng, view: &Nothing, writing: true, append: Vec::new(), open: Vec::new() };
    let _ = group.duties(&context, &mut turn);
    let Some((_, beginning)) = turn.append.pop() else { return };
    let mut relay = GroupRelay::new();
    let stranger = ReplicaId::from_bytes([9; 32]);
    let mut authors = [group.device(), card.device(), stranger].map(|replica| Author { replica, last: None });
    let Some(first) = say(&mut [&mut group, &mut relay], context, &mut authors[0], Vec::new(), &beginning) else { return };
    let (mut heads, mut rest) = (vec![first], data);
    for _ in 0..16 {
        let [who, old, high, low, after @ ..] = rest else { break };
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (payload, after) = after.split_at(len);
        rest = after;
        let seen = if old % 2 == 0 { heads.clone() } else { vec![first] };
        let author = &mut authors[usize::from(*who) % 3];
        if let Some(id) = say(&mut [&mut group, &mut relay], context, author, seen.clone(), payload) {
            heads.retain(|head| !seen.contains(head));
            heads.push(id);
            heads.sort_unstable();
            assert_eq!(group.standing(&context), relay.standing(&context));
            let mut turn =
                Turn { now: NOW, rng: &mut rng, view: &Nothing, writing: true, append: Vec::new(), open: Vec::new() };
            let _ = group.duties(&context, &mut turn);
            let _ = (group.members(), group.status(), group.history(), group.take_events());
        }
    }
});
