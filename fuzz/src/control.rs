//! What the targets of control entries share: entries as a node gives them to strategies, and payloads cut out of the
//! input, each said by one of three devices, after everything or after the beginning alone.

use std::{collections::BTreeSet, time::Duration};

use partita_core::{
    Bytes, Claim, ContextId, ContextInfo, ContextView, ControlEntry, EntryHeader, EntryId, EntryKind, EpochId, LogId,
    LogStart, Now, PartitionStrategy, ReplicaId, SignedTip, Stamp, Turn, Verdict, timestamp_at,
};
use rand_chacha::ChaCha8Rng;

struct Nothing;

impl ContextView for Nothing {
    fn logs_of(&self, _: &ContextId, _: &ReplicaId) -> Vec<SignedTip> {
        Vec::new()
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        Vec::new()
    }
}

/// When everything happens.
pub const NOW: Now = Now { monotonic: Duration::ZERO, wall: Duration::from_secs(1) };

/// Who says something.
pub struct Author {
    replica: ReplicaId,
    last: Option<(u64, EntryId)>,
}

impl Author {
    /// One that has said nothing yet.
    pub fn new(replica: ReplicaId) -> Self {
        Self { replica, last: None }
    }
}

/// What a strategy asks for when it is called like this.
pub fn asked(rng: &mut ChaCha8Rng, call: impl FnOnce(&mut Turn<'_>)) -> Vec<Bytes> {
    asked_for(rng, &BTreeSet::new(), call)
}

/// The same while a snapshot waits of what was written under these epochs.
pub fn asked_for(rng: &mut ChaCha8Rng, past: &BTreeSet<EpochId>, call: impl FnOnce(&mut Turn<'_>)) -> Vec<Bytes> {
    let mut turn = Turn::new(NOW, rng, &Nothing).writing(true).past(past);
    call(&mut turn);
    turn.append.into_iter().map(|(_, payload)| payload).collect()
}

/// The input as payloads: who, after what, a length in two bytes, the payload.
pub fn payloads(data: &[u8]) -> Vec<(usize, bool, &[u8])> {
    let (mut found, mut rest) = (Vec::new(), data);
    while let [who, old, high, low, after @ ..] = rest
        && found.len() < 16
    {
        let (payload, after) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(after.len()));
        found.push((usize::from(*who) % 3, old % 2 == 1, payload));
        rest = after;
    }
    found
}

/// The other way round, for seeds.
pub fn written(payloads: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (who, old, payload) in payloads {
        out.extend([*who, *old]);
        out.extend((payload.len() as u16).to_be_bytes());
        out.extend_from_slice(payload);
    }
    out
}

/// One control entry as a node would give it, if it would.
pub fn say(
    sides: &mut [&mut dyn PartitionStrategy],
    context: ContextId,
    author: &mut Author,
    heads: Vec<EntryId>,
    payload: &[u8],
) -> Option<EntryId> {
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

/// Says every payload, and calls `after` each that was taken.
pub fn play(
    data: &[u8],
    sides: &mut [&mut dyn PartitionStrategy],
    context: ContextId,
    authors: &mut [Author; 3],
    beginning: &[u8],
    mut after: impl FnMut(&mut [&mut dyn PartitionStrategy]),
) {
    let Some(first) = say(sides, context, &mut authors[0], Vec::new(), beginning) else {
        panic!("the beginning is good")
    };
    let mut heads = vec![first];
    for (who, old, payload) in payloads(data) {
        let seen = if old { vec![first] } else { heads.clone() };
        if let Some(id) = say(sides, context, &mut authors[who], seen.clone(), payload) {
            heads.retain(|head| !seen.contains(head));
            heads.push(id);
            heads.sort_unstable();
            after(sides);
        }
    }
}
