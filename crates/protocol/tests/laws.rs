//! Laws of what a node keeps: a log's record has one encoding, says what the entries say, and no bytes crash its decoder.

use partita_core::{EntryId, EpochId, Hash, Stamp};
use partita_protocol::LogRecord;
use partita_testing::samples::{SampleLog, context, document};
use proptest::{collection::vec, option, prelude::*};

fn stamp() -> impl Strategy<Value = Stamp> {
    (vec(any::<[u8; 32]>(), 0..3), option::of(0..3u8)).prop_map(|(mut heads, epoch)| {
        heads.sort_unstable();
        heads.dedup();
        let heads = heads.into_iter().map(EntryId::from_bytes).collect();
        Stamp { heads, epoch: epoch.map(|epoch| EpochId(Hash::from_bytes([epoch; 32]))) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_record_says_what_its_entries_say_and_has_one_encoding(
        stamps in vec(option::of(stamp()), 1..12),
        control in any::<bool>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in option::of(any::<prop::sample::Index>()),
    ) {
        let mut log = SampleLog::new(1, context(1), 1);
        let mut record: Option<LogRecord> = None;
        // What is in force, kept the slow way.
        let (mut heads, mut epochs) = (Vec::new(), Vec::new());
        for stamp in stamps {
            if let Some(stamp) = stamp {
                log.state(stamp);
            }
            let entry = if control { log.control(&b"c"[..]) } else { log.change(document(1), &b"payload"[..]) };
            if let Some(stamp) = &entry.header.stamp {
                heads.clone_from(&stamp.heads);
            }
            let before = epochs.last().copied().flatten();
            epochs.push(entry.header.stamp.as_ref().map_or(before, |stamp| stamp.epoch));
            match &mut record {
                None => record = LogRecord::begun(&entry, 5),
                Some(record) => record.extend(&entry),
            }
            let record = record.as_ref().unwrap();
            prop_assert_eq!((record.seq, record.head), (entry.header.seq, entry.id));
            prop_assert_eq!(&record.heads, &heads);
            prop_assert_eq!(record.time, entry.header.time);
        }
        let record = record.unwrap();
        for (at, epoch) in epochs.iter().enumerate() {
            prop_assert_eq!(record.epoch_at(at as u64 + 1), *epoch);
        }
        let bytes = record.encode();
        let again = LogRecord::decode(&bytes);
        prop_assert_eq!(again.as_ref(), Ok(&record));
        let mut bytes = bytes.to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(other) = LogRecord::decode(&bytes) {
            prop_assert_eq!(&LogRecord::decode(&other.encode()), &Ok(other));
        }
    }
}
