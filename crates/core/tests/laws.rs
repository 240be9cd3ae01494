//! Laws of the vocabulary: a value has one encoding, bytes are read or refused, frontiers are sets of logs, clocks rise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use partita_core::{
    Bytes, ContextId, DocumentId, Entry, EntryHeader, EntryId, EntryKind, EpochId, Frontier, Hash, HybridClock, LogId,
    LogStart, NTP64, Now, ReplicaId, SignedTip, Stamp, Tip, Witness,
    codec::{DecodeError, Reader, Writer},
    timestamp_at,
};
use partita_crypto::{Secret, SigningKey};
use proptest::{collection::vec, option, prelude::*};

fn tip() -> impl Strategy<Value = Tip> {
    (any::<[u8; 16]>(), prop_oneof![1..5u64, 1..=u64::MAX], any::<[u8; 32]>()).prop_map(|(log, seq, head)| Tip {
        log: LogId::from_bytes(log),
        seq,
        head: EntryId::from_bytes(head),
    })
}

fn tips() -> impl Strategy<Value = Vec<Tip>> {
    vec(tip(), 0..6).prop_map(|tips| Frontier::new(tips).tips().to_vec())
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (vec(any::<[u8; 32]>(), 0..4), option::of(any::<[u8; 32]>())).prop_map(|(mut heads, epoch)| {
        heads.sort_unstable();
        heads.dedup();
        let heads = heads.into_iter().map(EntryId::from_bytes).collect();
        Stamp { heads, epoch: epoch.map(|epoch| EpochId(Hash::from_bytes(epoch))) }
    })
}

fn kind() -> impl Strategy<Value = EntryKind> {
    (0..3u8, any::<[u8; 32]>()).prop_map(|(kind, document)| match kind {
        0 => EntryKind::Control,
        1 => EntryKind::Create(DocumentId::from_bytes(document)),
        _ => EntryKind::Change(DocumentId::from_bytes(document)),
    })
}

fn key() -> SigningKey {
    SigningKey::from_seed(&Secret::from_bytes([7; 32]))
}

fn header() -> impl Strategy<Value = EntryHeader> {
    let place = (any::<[u8; 32]>(), any::<[u8; 16]>(), prop_oneof![Just(1), 1..=u64::MAX], 1..=255u8, any::<u64>());
    (place, kind(), tips(), stamp(), any::<bool>(), any::<u64>(), any::<[u8; 32]>()).prop_map(
        |((context, nonce, seq, backlink, time), kind, tips, stamp, stamped, payload_len, payload_hash)| {
            let context = ContextId::from_bytes(context);
            let replica = ReplicaId::from_bytes(*key().verifying_key().as_bytes());
            EntryHeader {
                context,
                log: LogId::derive(&context, &replica, &nonce),
                seq,
                backlink: if seq == 1 { EntryId::NONE } else { EntryId::from_bytes([backlink; 32]) },
                time: NTP64(time),
                kind,
                start: (seq == 1).then_some(LogStart { replica, nonce, tips }),
                stamp: (seq == 1 || stamped).then_some(stamp),
                payload_len,
                payload_hash: Hash::from_bytes(payload_hash),
            }
        },
    )
}

/// Reads all of it.
fn whole<T>(bytes: &[u8], read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    let mut input = Reader::new(bytes);
    let value = read(&mut input)?;
    input.end().map(|()| value)
}

fn encoded(write: impl Fn(&mut Writer)) -> Bytes {
    let mut out = Writer::new();
    write(&mut out);
    out.finish()
}

/// Changes, cuts or lengthens.
fn damaged(bytes: &[u8], changes: &[(prop::sample::Index, u8)], cut: Option<prop::sample::Index>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, value) in changes.iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    match cut {
        Some(cut) => bytes.truncate(cut.index(bytes.len() + 1)),
        None => bytes.extend(changes.iter().take(1).map(|(_, value)| *value)),
    }
    bytes
}

fn damage() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>)> {
    (vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), option::of(any::<prop::sample::Index>()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_number_has_one_encoding(value in any::<u64>(), bytes in vec(any::<u8>(), 0..12)) {
        let written = encoded(|out| out.varint(value));
        prop_assert_eq!(whole(&written, |input| input.varint()), Ok(value));
        if let Ok(read) = whole(&bytes, |input| input.varint()) {
            prop_assert_eq!(encoded(|out| out.varint(read)), bytes);
        }
    }

    #[test]
    fn a_header_has_one_encoding(header in header(), (changes, cut) in damage()) {
        let bytes = header.encode();
        let again = whole(&bytes, EntryHeader::decode);
        prop_assert_eq!(again.as_ref(), Ok(&header));
        prop_assert_eq!(header.id(), EntryHeader::id_of(&bytes));
        let bytes = damaged(&bytes, &changes, cut);
        if let Ok(other) = whole(&bytes, EntryHeader::decode) {
            prop_assert_eq!(other.encode(), bytes);
            prop_assert_eq!(other.id() == header.id(), other == header);
        }
    }

    #[test]
    fn an_entry_is_stored_as_it_is(header in header(), signed in any::<bool>(), (changes, cut) in damage()) {
        let mut entry = Entry::new(header, Bytes::from_static(b"payload"));
        if signed {
            entry.signature = Some(EntryHeader::sign(&entry.id, &key()));
        }
        let bytes = entry.head_bytes();
        let again = Entry::from_stored(&bytes, entry.payload.clone());
        prop_assert_eq!(again.as_ref(), Ok(&entry));
        let bytes = damaged(&bytes, &changes, cut);
        if let Ok(other) = Entry::from_stored(&bytes, Bytes::new()) {
            prop_assert_eq!(other.head_bytes(), bytes);
        }
    }

    #[test]
    fn a_list_of_tips_has_one_encoding(tips in tips(), (changes, cut) in damage()) {
        let bytes = encoded(|out| Tip::encode_all(&tips, out));
        let again = whole(&bytes, |input| Tip::decode_all(input, 10));
        prop_assert_eq!(again.as_ref(), Ok(&tips));
        if !tips.is_empty() {
            let fewer = whole(&bytes, |input| Tip::decode_all(input, tips.len() - 1));
            prop_assert!(matches!(fewer, Err(DecodeError::TooLarge(_))), "the limit is a limit");
        }
        let bytes = damaged(&bytes, &changes, cut);
        if let Ok(other) = whole(&bytes, |input| Tip::decode_all(input, 10)) {
            prop_assert_eq!(encoded(|out| Tip::encode_all(&other, out)), bytes);
        }
    }

    #[test]
    fn what_a_loss_lists_has_one_encoding_and_its_authors_signatures(tips in tips(), (changes, cut) in damage()) {
        let sign = |tip: &Tip| SignedTip { tip: *tip, signature: EntryHeader::sign(&tip.head, &key()) };
        let listed: Vec<SignedTip> = tips.iter().map(sign).collect();
        let author = ReplicaId::from_bytes(*key().verifying_key().as_bytes());
        let bytes = encoded(|out| SignedTip::encode_all(&listed, out));
        prop_assert!(bytes.len() <= 1 + listed.len() * SignedTip::MAX_ENCODED);
        let read = |bytes: &[u8], author: &ReplicaId| whole(bytes, |input| SignedTip::decode_all(input, author, 10));
        prop_assert_eq!(read(&bytes, &author), Ok(listed.clone()));
        let other = SigningKey::from_seed(&Secret::from_bytes([2; 32]));
        let other = ReplicaId::from_bytes(*other.verifying_key().as_bytes());
        prop_assert!(listed.is_empty() || read(&bytes, &other).is_err(), "somebody else's");
        let bytes = damaged(&bytes, &changes, cut);
        if let Ok(found) = read(&bytes, &author) {
            prop_assert!(found.iter().all(|one| tips.iter().any(|tip| tip.head == one.tip.head)), "never an entry that was not signed");
            prop_assert_eq!(encoded(|out| SignedTip::encode_all(&found, out)), bytes);
        }
    }

    #[test]
    fn a_stamp_has_one_encoding(stamp in stamp(), (changes, cut) in damage()) {
        let has_epoch = stamp.epoch.is_some();
        let bytes = encoded(|out| stamp.encode(out));
        let again = whole(&bytes, |input| Stamp::decode(input, has_epoch));
        prop_assert_eq!(again.as_ref(), Ok(&stamp));
        let bytes = damaged(&bytes, &changes, cut);
        if let Ok(other) = whole(&bytes, |input| Stamp::decode(input, has_epoch)) {
            prop_assert_eq!(encoded(|out| other.encode(out)), bytes);
        }
    }

    #[test]
    fn a_frontier_is_a_set_of_logs(tips in tips(), other in tips(), turn in any::<prop::sample::Index>()) {
        let frontier = Frontier::new(tips.clone());
        let mut turned = tips.clone();
        turned.rotate_left(turn.index(tips.len() + 1).min(tips.len()));
        prop_assert_eq!(Frontier::new(turned).hash(), frontier.hash(), "the order makes no difference");
        prop_assert!(tips.iter().all(|tip| frontier.tip(&tip.log) == Some(tip)));
        let other = Frontier::new(other);
        prop_assert_eq!(frontier.hash() == other.hash(), frontier == other);
        for at in 0..tips.len() {
            let mut changed = tips.clone();
            changed[at].head = EntryId::from_bytes([0xab; 32]);
            let same = changed[at] == tips[at];
            prop_assert_eq!(Frontier::new(changed).hash() == frontier.hash(), same, "the hash of a head counts");
        }
    }
}

proptest! {
    // Each case checks signatures.
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_witness_has_one_encoding_and_no_other_byte_holds(header in header(), (changes, cut) in damage()) {
        let nonce = [9; 16];
        let replica = ReplicaId::from_bytes(*key().verifying_key().as_bytes());
        let start = LogStart { replica, nonce, tips: Vec::new() };
        let mut header = header;
        header.log = LogId::derive(&header.context, &replica, &nonce);
        header.start = (header.seq == 1).then(|| start.clone());
        let mut entry = Entry::new(header, Bytes::new());
        entry.signature = Some(EntryHeader::sign(&entry.id, &key()));
        let witness = Witness::of(&entry, &start).unwrap();
        let bytes = encoded(|out| witness.encode(out));
        let again = whole(&bytes, Witness::decode);
        prop_assert_eq!(again.as_ref(), Ok(&witness));
        let other = damaged(&bytes, &changes, cut);
        prop_assert_eq!(whole(&other, Witness::decode).is_ok(), other == bytes, "nothing else is signed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever the wall clock and the peers say.
    #[test]
    fn a_clock_rises_and_is_not_dragged_past_the_limit(
        stored in 0..2_000_000u64,
        limit in 0..1_000u64,
        steps in vec((0..2_000_000u64, option::of(0..2_000_000u64)), 1..40),
    ) {
        let stored = timestamp_at(Duration::from_secs(stored));
        let mut clock = HybridClock::new(stored, Duration::from_secs(limit));
        let (mut last, mut furthest) = (stored, stored);
        for (wall, remote) in steps {
            let now = Now { monotonic: Duration::ZERO, wall: Duration::from_secs(wall) };
            furthest = furthest.max(timestamp_at(Duration::from_secs(wall + limit)));
            if let Some(remote) = remote {
                let stamp = timestamp_at(Duration::from_secs(remote));
                let followed = clock.observe(now, stamp);
                prop_assert_eq!(followed.is_ok(), remote <= wall + limit);
                if followed.is_ok() {
                    last = last.max(stamp);
                }
                prop_assert_eq!(clock.last(), last, "a stamp that is not followed moves nothing");
            } else {
                let stamp = clock.tick(now);
                prop_assert!(stamp > last, "later than every own stamp, every followed one and the stored one");
                prop_assert!(stamp >= timestamp_at(now.wall));
                // Forty ticks within one instant are forty of the smallest steps.
                prop_assert!(stamp.as_u64() <= furthest.as_u64() + 40);
                last = stamp;
            }
        }
    }
}
