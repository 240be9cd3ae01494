//! The bytes of what is stored and signed, as version 1 writes them. They lie in people's stores and backups: a change of
//! an encoding must not pass unnoticed. `docs/formats.md` says what to do when one of these tests fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use data_encoding::HEXLOWER;
use partita_core::{
    ActorSeed, Bytes, Checkpoint, CheckpointOp, ContextId, ContextKind, Covered, DeviceKeys, DocumentId, Entry,
    EntryHeader, EntryId, EntryKind, EpochId, Frontier, Hash, HeaderPrefix, Key, Keystore, KeystoreError, LogId,
    LogStart, NTP64, ReplicaId, SealedKeystore, SignedTip, SnapshotAt, Stamp, Tip, Witness,
    codec::{DecodeError, Reader, Writer},
    document_id,
};
use partita_crypto::{Secret, SigningKey, Zeroizing};
use rand_core::{TryCryptoRng, TryRng};

const CONTEXT: ContextId = ContextId::from_bytes([0xc0; 32]);
const DOCUMENT: DocumentId = DocumentId::from_bytes([0xd0; 32]);
const NONCE: [u8; 16] = [2; 16];
const A: EntryId = EntryId::from_bytes([0xaa; 32]);
const B: EntryId = EntryId::from_bytes([0xbb; 32]);
const BACKLINK: EntryId = EntryId::from_bytes([0x0e; 32]);
const EPOCH: EpochId = EpochId(Hash::from_bytes([0xbb; 32]));
const TIME: NTP64 = NTP64(0x6b49_d201_0000_0000);

/// What to do when bytes are not what they were.
const CHANGED: &str = "an encoding changed, and stores and backups hold the old one: raise its version, go on reading \
                       the old, keep this literal for that, and add one of the new (docs/formats.md)";

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

#[track_caller]
fn same(what: &str, found: &[u8], golden: &str) {
    assert!(found == bytes(golden), "{what}: {CHANGED}\nthe bytes now: {}", HEXLOWER.encode(found));
}

fn key() -> SigningKey {
    SigningKey::from_seed(&Secret::from_bytes([1; 32]))
}

fn replica() -> ReplicaId {
    ReplicaId::from_bytes(*key().verifying_key().as_bytes())
}

fn log() -> LogId {
    LogId::derive(&CONTEXT, &replica(), &NONCE)
}

fn tip() -> Tip {
    Tip { log: LogId::from_bytes([1; 16]), seq: 300, head: EntryId::from_bytes([0xee; 32]) }
}

fn header(kind: EntryKind, seq: u64, start: Option<Vec<Tip>>, stamp: Option<Stamp>, payload: &[u8]) -> EntryHeader {
    EntryHeader {
        context: CONTEXT,
        log: log(),
        seq,
        backlink: if seq == 1 { EntryId::NONE } else { BACKLINK },
        time: TIME,
        kind,
        start: start.map(|tips| LogStart { replica: replica(), nonce: NONCE, tips }),
        stamp,
        payload_len: payload.len() as u64,
        payload_hash: EntryHeader::hash_payload(payload),
    }
}

fn created() -> EntryHeader {
    let stamp = Stamp { heads: vec![A], epoch: Some(EPOCH) };
    header(EntryKind::Create(DOCUMENT), 1, Some(vec![tip()]), Some(stamp), b"create")
}

fn changed() -> EntryHeader {
    header(EntryKind::Change(DOCUMENT), 2, None, None, b"change")
}

const CREATE: &str = "0131c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c05f17ca024c6c3cd8cde89bab57a4882b016b49d20100000000d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d08a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c020202020202020202020202020202020101010101010101010101010101010101ac02eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb0649c4b0e2c80c904af54c811b6bdc4ae307b3030eb8ff4e782a4c8ffb4ad9993c";
const CREATE_ID: &str = "683bc3b29a7f0c33edb83b971ee8be2f6f758a13dbc5e3fcf9ccc53ac81482b5";
const CREATE_SIGNATURE: &str = "99f13da49c7cc6b4548ca177db1a995399f090ddce341b7e82ea9e4a3680b493a0343f068a84c759368acbc685d937c2e1fa0d22cb57798a9f826367e20b6d04";
const CHANGE: &str = "0102c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c05f17ca024c6c3cd8cde89bab57a4882b020e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e6b49d20100000000d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d00612ce894ac5d145caf212484f056b620d6b0897b88a312d9883ec792c561330fd";
const CONTROL: &str = "0110c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c05f17ca024c6c3cd8cde89bab57a4882b016b49d201000000008a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c02020202020202020202020202020202000007cdcccbd0c730ca7d4cfbde32de951b37e267fd6627b24c6d9a496d2d4816fcbd";
const SNAPSHOT: &str = "0113c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c05f17ca024c6c3cd8cde89bab57a4882bac020e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e6b49d20100000000d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d002aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb0875ca0a93dd5b5c07bd08cf10690daa1f99fe36d2e34677899c46026b0ab0487c";

#[test]
fn the_bytes_of_a_header_stay_what_they_are() {
    let control = header(EntryKind::Control, 1, Some(Vec::new()), Some(Stamp::default()), b"control");
    let stamp = Stamp { heads: vec![A, B], epoch: None };
    let snapshot = header(EntryKind::Snapshot(DOCUMENT), 300, None, Some(stamp), b"snapshot");
    let all = [
        (created(), CREATE, CREATE_ID),
        (changed(), CHANGE, "fbd2625725970a786c1a189937c974522e71220814454c4d73c2e8a4ffe1834d"),
        (control, CONTROL, "99662bfe40d543a1d6b87434ae742ccad9526b2c2634f89101ad77a027d810b9"),
        (snapshot, SNAPSHOT, "ba7e94b8925c3148ac17a29dea2c0512b9561d364554522c85727067bd011906"),
    ];
    for (header, golden, id) in all {
        let stored = bytes(golden);
        let mut input = Reader::new(&stored);
        assert_eq!(EntryHeader::decode(&mut input).as_ref(), Ok(&header), "{CHANGED}");
        assert!(input.is_empty());
        same("a header", &header.encode(), golden);
        same("an entry's id", header.id().as_bytes(), id);
    }
}

#[test]
fn a_header_of_another_version_is_refused_by_name() {
    let mut later = bytes(CREATE);
    later[0] = 2;
    assert_eq!(EntryHeader::decode(&mut Reader::new(&later)), Err(DecodeError::Unknown("entry version")));
}

#[test]
fn what_a_store_keeps_of_an_entry_stays_what_it_is() {
    let mut entry = Entry::new(created(), Bytes::from_static(b"create"));
    entry.signature = Some(EntryHeader::sign(&entry.id, &key()));
    let signed = ["01", CREATE_SIGNATURE, CREATE].concat();
    same("an entry with its signature", &entry.head_bytes(), &signed);
    assert_eq!(Entry::from_stored(&bytes(&signed), entry.payload.clone()), Ok(entry));
    let entry = Entry::new(changed(), Bytes::from_static(b"change"));
    let unsigned = ["00", CHANGE].concat();
    same("an entry without one", &entry.head_bytes(), &unsigned);
    assert_eq!(Entry::from_stored(&bytes(&unsigned), entry.payload.clone()), Ok(entry));
    assert_eq!(Entry::from_stored(&[2], Bytes::new()), Err(DecodeError::Unknown("signature flag")));
}

/// Every sealed payload that was ever written opens with exactly these bytes beside it.
#[test]
fn the_associated_data_of_a_payload_stays_what_it_is() {
    let header = changed();
    // The header without payload length and hash, the author, the epoch in force.
    let prefix = &CHANGE[..CHANGE.len() - 2 * (1 + 32)];
    for (epoch, last) in [(Some(EPOCH), "bb"), (None, "00")] {
        let golden = [prefix, &replica().to_string(), &last.repeat(32)].concat();
        let found = HeaderPrefix { header: &header, author: replica(), epoch }.to_bytes();
        same("the associated data", &found, &golden);
    }
}

#[test]
fn ids_are_derived_as_they_were() {
    let kind = ContextKind::new("single-owner").unwrap();
    let context = ContextId::derive(&kind, replica().as_bytes());
    let create = [&b"amrg"[..], &[7; 16]].concat();
    same("a replica", replica().as_bytes(), "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c");
    same("a log", log().as_bytes(), "5f17ca024c6c3cd8cde89bab57a4882b");
    same("a context", context.as_bytes(), "f1c128abc38444b28dbd57a627525223cca95cf738d824f46c1a39a4b9763300");
    same(
        "a document",
        document_id(&CONTEXT, &create).as_bytes(),
        "e3077a9791b1954113620a7d19ee5810d86d03fa4a8ce531f3a7e1251e0a6246",
    );
    same(
        "an actor",
        ActorSeed::derive(&log(), &DOCUMENT).as_bytes(),
        "ebcda329f8aaa3c06b8bff4eff616fca1c4e95fe4064af2da89f9c16cc9da373",
    );
    same(
        "a frontier",
        Frontier::new(vec![tip()]).hash().as_bytes(),
        "6986abb176c09f6f0ee5f87ff45d5819ce3b26dcd5f47ea066e9afcf1beac92e",
    );
}

fn signed_tip() -> SignedTip {
    let head = created().id();
    SignedTip { tip: Tip { log: log(), seq: 1, head }, signature: EntryHeader::sign(&head, &key()) }
}

#[test]
fn the_bytes_of_what_is_shown_of_others_logs_stay_what_they_are() {
    let mut out = Writer::new();
    SignedTip::encode_all(&[signed_tip()], &mut out);
    // Count, log, number, entry, signature.
    let golden = ["01", "5f17ca024c6c3cd8cde89bab57a4882b", "01", CREATE_ID, CREATE_SIGNATURE].concat();
    same("signed tips", out.as_slice(), &golden);
    let stored = bytes(&golden);
    let read = SignedTip::decode_all(&mut Reader::new(&stored), &replica(), 1);
    assert_eq!(read, Ok(vec![signed_tip()]), "{CHANGED}");

    let mut entry = Entry::new(created(), Bytes::from_static(b"create"));
    entry.signature = Some(EntryHeader::sign(&entry.id, &key()));
    let witness = Witness::of(&entry, entry.header.start.as_ref().unwrap()).unwrap();
    let mut out = Writer::new();
    Witness::encode_all(std::slice::from_ref(&witness), &mut out);
    // Count, header, author, nonce, signature.
    let golden = ["01", CREATE, &replica().to_string(), &"02".repeat(16), CREATE_SIGNATURE].concat();
    same("a witness", out.as_slice(), &golden);
    let stored = bytes(&golden);
    assert_eq!(Witness::decode_all(&mut Reader::new(&stored), &CONTEXT, 1), Ok(vec![witness]), "{CHANGED}");
}

#[test]
fn the_bytes_of_what_is_said_about_checkpoints_stay_what_they_are() {
    let covered = Covered {
        start: LogStart { replica: replica(), nonce: NONCE, tips: vec![tip()] },
        last: signed_tip(),
        heads: vec![A],
        knew: vec![B],
        epoch: Some(EPOCH),
        time: TIME,
    };
    let claim = CheckpointOp::Claim(Checkpoint {
        previous: Some(EntryId::from_bytes([8; 32])),
        logs: [(log(), covered)].into(),
        documents: [(DOCUMENT, SnapshotAt { entry: signed_tip().tip, len: 300 })].into(),
        bad: vec![(log(), 2, BACKLINK)],
    });
    let golden = "c501010808080808080808080808080808080808080808080808080808080808080808015f17ca024c6c3cd8cde89bab57a4882b8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c020202020202020202020202020202020101010101010101010101010101010101ac02eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee01683bc3b29a7f0c33edb83b971ee8be2f6f758a13dbc5e3fcf9ccc53ac81482b599f13da49c7cc6b4548ca177db1a995399f090ddce341b7e82ea9e4a3680b493a0343f068a84c759368acbc685d937c2e1fa0d22cb57798a9f826367e20b6d0401aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb01bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb6b49d2010000000001d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d05f17ca024c6c3cd8cde89bab57a4882b01683bc3b29a7f0c33edb83b971ee8be2f6f758a13dbc5e3fcf9ccc53ac81482b5ac02015f17ca024c6c3cd8cde89bab57a4882b020e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e";
    same("a claim", &claim.encode(), golden);
    assert_eq!(CheckpointOp::decode(&CONTEXT, &bytes(golden)), Ok(claim), "{CHANGED}");
    let attestation = CheckpointOp::Attest(created().id());
    let golden = ["c50102", CREATE_ID].concat();
    same("an attestation", &attestation.encode(), &golden);
    assert_eq!(CheckpointOp::decode(&CONTEXT, &bytes(&golden)), Ok(attestation), "{CHANGED}");
    let later = DecodeError::Unknown("version of a checkpoint's control entry");
    assert_eq!(CheckpointOp::decode(&CONTEXT, &[0xc5, 2, 2]), Err(later));
}

#[test]
fn the_names_of_records_stay_what_they_are() {
    let names = [
        (Key::Meta("name"), "016e616d65"),
        (Key::Context(CONTEXT), "02c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0"),
        (
            Key::Log(CONTEXT, log()),
            "03c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c05f17ca024c6c3cd8cde89bab57a4882b",
        ),
        (
            Key::Document(CONTEXT, DOCUMENT),
            "04c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0",
        ),
        (
            Key::Snapshot(CONTEXT, DOCUMENT),
            "05c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0",
        ),
        (
            Key::SetAside(CONTEXT, DOCUMENT, 300),
            "06c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0000000000000012c",
        ),
        (
            Key::Quarantine(CONTEXT, log(), 300),
            "07c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c05f17ca024c6c3cd8cde89bab57a4882b000000000000012c",
        ),
        (
            Key::Fragment(CONTEXT, log(), 300, 7),
            "08c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c05f17ca024c6c3cd8cde89bab57a4882b000000000000012c0000000000000007",
        ),
        (Key::Base(CONTEXT), "09c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0"),
    ];
    for (name, golden) in names {
        same(&format!("{name:?}"), &name.to_bytes(), golden);
    }
}

#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Vec<u8>>>);

impl Keystore for Kept {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        Ok(self.0.lock().unwrap().get(name).cloned().map(Zeroizing::new))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeystoreError> {
        self.0.lock().unwrap().insert(name.into(), secret.into());
        Ok(())
    }
}

/// Whoever cannot read these is another device, and has lost everything that was sealed for this one.
#[test]
fn a_devices_keys_are_read_as_they_were_kept() {
    let kept = Kept::default();
    // The seed of the signing key, the secret box key, the key of snapshots at rest.
    kept.put("device", &[[1; 32], [2; 32], [3; 32]].concat()).unwrap();
    let keys = DeviceKeys::load(&kept).unwrap();
    assert_eq!(keys.replica(), replica(), "{CHANGED}");
    same(
        "a box key",
        keys.boxes.public().as_bytes(),
        "ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d59",
    );
    assert_eq!(keys.at_rest.expose(), &[3; 32], "{CHANGED}");
}

/// No randomness at all: nothing is sealed with it but here.
struct Sixes;

impl TryRng for Sixes {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0x0606_0606)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0x0606_0606_0606_0606)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(6);
        Ok(())
    }
}

impl TryCryptoRng for Sixes {}

#[test]
fn a_sealed_keystore_opens_what_it_sealed() {
    // A mark with its version, which key it is, nonce, ciphertext, tag.
    let golden = "7365616c656420318f865b305a40e8498109dd8b080f4296060606060606060606060606060606060606060606060606da8d7fdd58c57e2039fcc75091854f141c80d3f7f3d9";
    let (kept, key) = (Arc::new(Kept::default()), Secret::from_bytes([5; 32]));
    kept.put("device", &bytes(golden)).unwrap();
    let sealed = SealedKeystore::new(kept.clone(), &key, Box::new(Sixes));
    assert_eq!(sealed.get("device").unwrap().as_deref().map(Vec::as_slice), Some(&b"secret"[..]), "{CHANGED}");
    sealed.put("device", b"secret").unwrap();
    let found = kept.get("device").unwrap().unwrap();
    same("a sealed secret", &found, golden);
}
