//! Payloads: what is sealed opens for its readers, in its place, and nowhere else.

use partita_core::{EntryHeader, EpochId, Hash, HeaderPrefix, LogId, Opened, PartitionStrategy as _, WaitReason};

use super::net::{Device, settle};

#[test]
fn a_payload_opens_only_with_its_own_header_author_and_epoch() {
    let (mut laptop, mnemonic) = Device::first(1);
    let mut phone = Device::more(&mnemonic, 2);
    settle(&mut [&mut laptop, &mut phone]);
    let epoch = laptop.epoch().unwrap();
    let (header, sealed) = laptop.seal(epoch, b"secret");
    assert!(!sealed.windows(6).any(|part| part == b"secret"));
    assert_eq!(phone.open(&header, laptop.replica, &sealed), Opened::Plain("secret".into()));

    assert_eq!(phone.open(&header, phone.replica, &sealed), Opened::Bad, "another author");
    let moved = EntryHeader { log: LogId::from_bytes([1; 16]), ..header.clone() };
    assert_eq!(phone.open(&moved, laptop.replica, &sealed), Opened::Bad, "another log");
    let mut later = header.clone();
    later.seq = 2;
    assert_eq!(phone.open(&later, laptop.replica, &sealed), Opened::Bad, "another place");
    let elsewhere = EntryHeader { context: phone.strategy.plain_context(), ..header.clone() };
    assert_eq!(phone.open(&elsewhere, laptop.replica, &sealed), Opened::Bad, "another context");
    let mut bytes = sealed.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(phone.open(&header, laptop.replica, &bytes.into()), Opened::Bad, "a flipped bit");

    // Payload length and hash are not under the seal: they cover the sealed bytes.
    let filled = EntryHeader { payload_len: 99, payload_hash: Hash::from_bytes([1; 32]), ..header.clone() };
    assert_eq!(phone.open(&filled, laptop.replica, &sealed), Opened::Plain("secret".into()));

    let unknown = Some(EpochId(Hash::from_bytes([9; 32])));
    let prefix = HeaderPrefix { header: &header, author: laptop.replica, epoch: unknown };
    assert_eq!(phone.strategy.open(&prefix, &sealed), Opened::Wait(WaitReason::Key(unknown)));
    assert!(phone.strategy.seal(&prefix, b"", &mut laptop.rng).is_err());
}

#[test]
fn a_strangers_context_is_neither_written_nor_read() {
    let (mut laptop, _) = Device::first(1);
    laptop.duties();
    let (stranger, _) = Device::first(2);
    let (header, sealed) = laptop.seal(laptop.epoch().unwrap(), b"secret");
    assert_eq!(stranger.open(&header, laptop.replica, &sealed), Opened::Bad);
    assert!(stranger.strategy.epoch(&laptop.context).is_err());
    assert_eq!(stranger.strategy.standing(&laptop.context), Default::default());
    assert_eq!(stranger.strategy.vouch(&laptop.context, &[]), None);
}
