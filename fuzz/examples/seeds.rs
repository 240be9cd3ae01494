//! Writes the seeds of every target anew, from the real encoders: `cargo run --example seeds`. What a fuzzer found
//! worth keeping lies beside them under names of its own, and stays.

use std::{fs, path::Path, time::Duration};

use flate2::{Compression, write::GzEncoder};
use partita_core::{
    Bytes, Checkpoint, CheckpointOp, CrdtDocument as _, DocumentId, DocumentType as _, EntryId, EntryKind, EpochId,
    Frontier, Hash, Limits, PartitionStrategy as _, Refusal, Signature, SignedTip, SnapshotAt, Stamp, Tip, Witness,
    codec::Writer, timestamp_at,
};
use partita_crypto::Mnemonic;
use partita_fuzz::{
    control::{Author, asked, asked_for, say, written},
    crdt::author,
    group_control::founded,
    handshake,
    owner_control::owned,
};
use partita_group::{GroupRelay, History, Role, Terms};
use partita_protocol::{
    LogRecord,
    message::{Ephemeral, Granted, Message, Open, Opened, Piece, Refused, Run},
};
use partita_single_owner::SingleOwner;
use partita_testing::{
    fleet::Fleet,
    samples::{self, SampleLog},
};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

fn main() {
    frames();
    entries();
    control();
    texts();
    payloads();
    frontiers();
    plain();
    for (name, input) in handshake::honest() {
        seed("handshake", &name, &input);
    }
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(name), bytes));
    assert!(written.is_ok(), "{}: {written:?}", folder.display());
}

/// A data log with a bit of everything.
fn log() -> (SampleLog, Vec<std::sync::Arc<partita_core::Entry>>) {
    let tip =
        |log, seq| Tip { log: partita_core::LogId::from_bytes([log; 16]), seq, head: EntryId::from_bytes([0xee; 32]) };
    let mut log = SampleLog::new(66, Fleet::context(0).id, 1).after(vec![tip(1, 1), tip(2, 300)]);
    log.state(Stamp {
        heads: vec![EntryId::from_bytes([0xaa; 32])],
        epoch: Some(EpochId(Hash::from_bytes([0xbb; 32]))),
    });
    let document = DocumentId::from_bytes([1; 32]);
    let entries = vec![
        log.append(EntryKind::Create(document), &b"create"[..]),
        log.change(document, &b"change"[..]),
        log.change(DocumentId::from_bytes([2; 32]), &b""[..]),
        log.change(document, vec![7; 500]),
    ];
    (log, entries)
}

fn run_of(entries: &[std::sync::Arc<partita_core::Entry>], withheld: bool) -> Message {
    let entries = entries.iter().map(|entry| {
        let mut entry = (**entry).clone();
        if withheld {
            entry.payload = Bytes::new();
        }
        entry.into()
    });
    let run = Run::of(entries.collect());
    Message::Entries(Run { withheld, ..run.expect("the entries of a sample log are signed") })
}

fn frames() {
    let info = Fleet::context(0);
    let context = info.id;
    let mut plain = SampleLog::new(66, context, 2);
    let plain = [plain.change(samples::document(1), &b"one"[..]), plain.change(samples::document(2), &b"two"[..])];
    let large = SampleLog::new(66, context, 3).change(samples::document(1), vec![1; 2_000]);
    let mut control = SampleLog::new(66, context, 4);
    let control = [control.control(&b"what nobody understands"[..])];
    let piece = Piece { context, log: large.header.log, seq: 1, offset: 0 };
    let tips = vec![Tip { log: plain[0].header.log, seq: 2, head: plain[1].id }];
    let open = Open {
        context,
        number: 2,
        kind: info.kind,
        frontier: Frontier::default().hash(),
        proof: Bytes::from_static(b"proof"),
    };
    let opened = |outcome| Message::Opened(Opened { context, number: 1, outcome });
    let messages = vec![
        ("open", vec![Message::Open(open)]),
        ("opened", vec![opened(Ok(Granted { differs: true, proof: Some(Bytes::from_static(b"proof")) }))]),
        ("refused-open", vec![opened(Err(Refusal::Revoked))]),
        ("frontier", vec![Message::Frontier { context, tips: tips.clone(), more: false }]),
        (
            "frontier-in-parts",
            vec![
                Message::Frontier { context, tips: tips.clone(), more: true },
                Message::Frontier { context, tips: Vec::new(), more: false },
            ],
        ),
        ("have", vec![Message::Have { context, tips }]),
        ("run", vec![run_of(&plain, false)]),
        ("run-in-halves", vec![run_of(&plain[..1], false), run_of(&plain[1..], false)]),
        ("run-with-a-hole", vec![run_of(&plain[1..], false)]),
        ("run-stamped", vec![run_of(&log().1, false)]),
        ("control", vec![run_of(&control, false)]),
        ("withheld", vec![run_of(std::slice::from_ref(&large), true)]),
        (
            "fragments",
            vec![
                run_of(std::slice::from_ref(&large), true),
                Message::Fragment { piece, bytes: large.payload.slice(..1_000) },
                Message::Fragment { piece: Piece { offset: 1_000, ..piece }, bytes: large.payload.slice(1_000..) },
            ],
        ),
        ("want", vec![Message::Want(piece)]),
        ("ack", vec![Message::Ack { context, held: vec![(plain[0].header.log, 0), (large.header.log, 1 << 40)] }]),
        (
            "refused",
            vec![Message::Refused(Refused {
                context,
                log: plain[0].header.log,
                seq: 2,
                why: Refusal::NeedControl,
                heads: vec![EntryId::from_bytes([0xaa; 32])],
            })],
        ),
        ("retry", vec![Message::Retry { context, logs: vec![plain[0].header.log] }]),
        ("credit", vec![Message::Credit(4 << 20), Message::Credit(u64::MAX)]),
        ("heartbeat", vec![Message::Heartbeat { nonce: 1, clock: u64::MAX, reply: true }]),
        ("error", vec![Message::Error { code: 1, text: "why".into() }]),
        ("bye", vec![Message::Bye]),
        (
            "ephemeral",
            vec![Message::Ephemeral(Ephemeral {
                context,
                document: samples::document(1),
                sender: samples::replica(66),
                time: timestamp_at(Duration::from_secs(1)),
                epoch: Some(EpochId(Hash::from_bytes([0xbb; 32]))),
                payload: Bytes::from_static(b"sealed"),
                signature: Signature::from_bytes([0x51; 64]),
            })],
        ),
        ("gone", vec![Message::Gone { context, sender: samples::replica(66) }]),
    ];
    for (name, messages) in &messages {
        seed("frames", name, &Message::encode_frame(messages));
    }
    let mut later = Writer::new();
    later.u8(100);
    later.bytes(b"from a later version");
    seed("frames", "later", later.as_slice());
}

fn entries() {
    let (_, entries) = log();
    let mut record = LogRecord::begun(&entries[0], 3);
    for (at, entry) in entries.iter().enumerate() {
        seed("entry_header", &format!("header-{at}"), &entry.encoded);
        seed("entry_header", &format!("stored-{at}"), &entry.head_bytes());
        if let Some(record) = &mut record {
            if at > 0 {
                record.extend(entry);
            }
            seed("log_record", &format!("after-{at}"), &record.encode());
            if let Some(covered) = record.covered(entry.header.log) {
                let at = SnapshotAt { entry: covered.last.tip, len: 7 };
                let claim = Checkpoint {
                    previous: Some(entry.id),
                    documents: [(samples::document(1), at)].into(),
                    bad: vec![(entry.header.log, 1, entry.id)],
                    logs: [(entry.header.log, covered)].into(),
                };
                seed("checkpoint_op", "claim", &CheckpointOp::Claim(claim).encode());
            }
        }
    }
    seed("checkpoint_op", "attestation", &CheckpointOp::Attest(entries[0].id).encode());
    let control = SampleLog::new(1, samples::context(1), 1).control(&b"control"[..]);
    seed("entry_header", "control", &control.encoded);
    seed("log_record", "control", &LogRecord::begun(&control, 1).map(|record| record.encode()).unwrap_or_default());
}

/// What honest devices say, alone and one after the other.
fn control() {
    let honest = |call: &dyn Fn(&mut partita_group::Group, &mut partita_core::Turn<'_>)| {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let (mut group, _, beginning) = founded(&mut rng);
        let context = group.context();
        let mut founder = Author::new(group.device());
        assert!(
            say(&mut [&mut group, &mut GroupRelay::new()], context, &mut founder, Vec::new(), &beginning).is_some()
        );
        asked(&mut rng, |turn| call(&mut group, turn))
    };
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (group, ben, _) = founded(&mut rng);
    let stranger = partita_group::Group::card(&partita_testing::MemoryKeystore::default(), &mut rng);
    let Ok(stranger) = stranger else { panic!("memory is not full") };
    let all: Vec<(&str, Vec<Bytes>)> = vec![
        ("duties", honest(&|group, turn| drop(group_duties(group, turn)))),
        ("add", honest(&|group, turn| drop(group.add(turn, &stranger, Role::Write, History::FromNow)))),
        ("invite", honest(&|group, turn| drop(group.invite(turn, Terms::new(Role::Read))))),
        ("invite-device", honest(&|group, turn| drop(group.invite_device(turn)))),
        ("set-role", honest(&|group, turn| drop(group.set_role(turn, ben.member(), Role::Read)))),
        ("remove", honest(&|group, turn| drop(group.remove(turn, ben.member())))),
        ("remove-device", honest(&|group, turn| drop(group.remove_device(turn, ben.device())))),
        ("rotate", honest(&|group, turn| drop(group.rotate(turn)))),
        ("archive", archive(&stranger)),
        ("rotate-device-key", honest(&|group, turn| drop(group.rotate_device_key(turn)))),
        ("leave", honest(&|group, turn| drop(group.leave(turn)))),
        ("rename", honest(&|group, turn| drop(group.rename(turn, "another name")))),
    ];
    drop(group);
    let mut together = Vec::new();
    for (name, payloads) in &all {
        assert!(!payloads.is_empty(), "{name} says nothing");
        for who in 0..2 {
            let one: Vec<(u8, u8, &[u8])> = payloads.iter().map(|payload| (who, 0, &payload[..])).collect();
            seed("group_control", &format!("{name}-{who}"), &written(&one));
        }
        // All after the beginning alone: what members decide at the same time.
        together.extend(payloads.iter().map(|payload| (0, 1, &payload[..])));
    }
    together.truncate(16);
    seed("group_control", "at-the-same-time", &written(&together));

    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut device, mnemonic, mut second, beginning) = owned(&mut rng);
    let context = device.context();
    let (mut first, mut other) = (Author::new(device.device()), Author::new(second.device()));
    let began = say(&mut [&mut device, &mut second], context, &mut first, Vec::new(), &beginning[0]);
    let Some(began) = began else { panic!("the beginning is good") };
    seed("owner_control", "beginning-again", &written(&[(0, 0, &beginning[0])]));
    seed("owner_control", "beginning-by-others", &written(&[(1, 0, &beginning[0]), (2, 1, &beginning[0])]));
    let enrolled = asked(&mut rng, |turn| drop(second.duties(&context, turn)));
    assert!(!enrolled.is_empty(), "the second device has something to say");
    let mut story: Vec<(u8, u8, &[u8])> = Vec::new();
    let mut head = began;
    for payload in &enrolled {
        let said = say(&mut [&mut device, &mut second], context, &mut other, vec![head], payload);
        head = said.unwrap_or(head);
        story.push((1, 0, payload));
    }
    seed("owner_control", "enrolled", &written(&story));
    let shared = asked(&mut rng, |turn| drop(device.duties(&context, turn)));
    let after = |more: &[Bytes], who: u8, old: u8| {
        let more = more.iter().map(|payload| (who, old, &payload[..]));
        written(&story.iter().copied().chain(more).collect::<Vec<_>>())
    };
    seed("owner_control", "shared", &after(&shared, 0, 0));
    let revoked = asked(&mut rng, |turn| drop(device.revoke(turn, &mnemonic, second.device())));
    assert!(!revoked.is_empty(), "a known device can be revoked");
    seed("owner_control", "revoked", &after(&revoked, 0, 0));
    seed("owner_control", "revoked-at-the-same-time", &after(&revoked, 0, 1));
    seed("owner_control", "revoked-by-itself", &after(&revoked, 1, 0));
    let retired = asked(&mut rng, |turn| drop(second.retire(turn)));
    seed("owner_control", "retired", &after(&retired, 1, 0));
}

/// Somebody is let in who may read nothing older, somebody goes, and an epoch is begun for a snapshot without the first.
fn archive(stranger: &partita_group::Card) -> Vec<Bytes> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut group, ben, beginning) = founded(&mut rng);
    let context = group.context();
    let mut founder = Author::new(group.device());
    let mut head = say(&mut [&mut group, &mut GroupRelay::new()], context, &mut founder, Vec::new(), &beginning);
    let past = group.status().epoch.into_iter().collect();
    let mut all = Vec::new();
    for step in 0..3 {
        let said = asked_for(&mut rng, &past, |turn| match step {
            0 => drop(group.add(turn, stranger, Role::Write, History::FromNow)),
            1 => drop(group.remove(turn, ben.member())),
            _ => drop(group.duties(&context, turn)),
        });
        assert!(!said.is_empty(), "step {step} says nothing");
        for payload in said {
            head = say(&mut [&mut group], context, &mut founder, head.into_iter().collect(), &payload);
            all.push(payload);
        }
    }
    all
}

fn group_duties(
    group: &mut partita_group::Group,
    turn: &mut partita_core::Turn<'_>,
) -> Result<(), partita_group::GroupError> {
    group.rename(turn, "a name")
}

fn texts() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (device, mnemonic, ..) = owned(&mut rng);
    let Ok(request) = SingleOwner::request(&partita_testing::MemoryKeystore::default(), &mut rng) else {
        panic!("memory is not full")
    };
    seed("owner_texts", "mnemonic", mnemonic.phrase().as_bytes());
    let zero = Mnemonic::from_entropy(&partita_crypto::Secret::from_bytes([0; 32]));
    seed("owner_texts", "mnemonic-typed", zero.phrase().to_uppercase().replace(' ', "  \n").as_bytes());
    seed("owner_texts", "request", request.to_string().as_bytes());
    seed("owner_texts", "certificate", SingleOwner::certify(&mnemonic, &request).to_string().as_bytes());
    seed("owner_texts", "replica", device.device().to_string().as_bytes());
    seed("owner_texts", "context", device.context().to_string().as_bytes());

    let (mut group, card, beginning) = founded(&mut rng);
    let context = group.context();
    let mut founder = Author::new(group.device());
    say(&mut [&mut group, &mut GroupRelay::new()], context, &mut founder, Vec::new(), &beginning);
    seed("group_texts", "card", card.to_string().as_bytes());
    let mut invitation = None;
    asked(&mut rng, |turn| invitation = group.invite(turn, Terms::new(Role::Write)).ok());
    if let Some(invitation) = invitation {
        seed("group_texts", "invitation", invitation.text().as_bytes());
        seed("group_texts", "invitation-with-relay", invitation.at("wss://relay.example.org#abc").text().as_bytes());
    }
    let mut device = None;
    asked(&mut rng, |turn| device = group.invite_device(turn).ok());
    if let Some(device) = device {
        seed("group_texts", "invitation-of-a-device", device.text().as_bytes());
    }
}

/// Honest payloads, and what the libraries choked on before there was a validator (`docs/threat-model.md`).
fn payloads() {
    use yrs::{GetString as _, Map as _, Text as _, WriteTxn as _};
    for size in [0u8, 1, 9, 17, 31] {
        for mode in [0u8, 1, 4, 5, 8] {
            seed("automerge_payload", &format!("honest-{mode}-{size}"), &[mode, size]);
            seed("automerge_payload", &format!("changed-{mode}-{size}"), &[mode, size, 0, 12 + size, 1, 0, 40, size]);
        }
        for mode in [0u8, 1, 8] {
            seed("yrs_payload", &format!("honest-{mode}-{size}"), &[mode, size]);
            seed("yrs_payload", &format!("changed-{mode}-{size}"), &[mode, size, 0, 9, size, 0, 20, 1]);
        }
    }
    let mut doc = partita_yrs::Yrs::open(author());
    let done = partita_yrs::Yrs::transact(&mut doc, |tx| {
        let text = tx.get_or_insert_text("text");
        text.insert(tx, 0, "a text with 😀 and a link");
        text.format(tx, 2, 4, [("bold".into(), true.into())].into());
        text.remove_range(tx, 0, 2);
        let _ = text.get_string(tx);
        let map = tx.get_or_insert_map("map");
        map.insert(tx, "key", vec![1u8, 2, 3]);
        map.insert(tx, "key", yrs::Any::Array([yrs::Any::Null, yrs::Any::from("deep")].into()));
        Ok(())
    });
    assert!(done.is_ok());
    let update = doc.take_local(&Limits::default()).unwrap_or_default().unwrap_or_default();
    seed("yrs_payload", "rich-change", &[&[2, 0][..], &update].concat());
    seed("yrs_payload", "rich-import", &[&[3, 0][..], &update].concat());
    crasher("yrs_payload", "no-structs", &[3, 0, 1, 0, 1, 0, 0]);
    for (name, depth) in [("nested-values-200000", 200_000), ("nested-values-64", 64)] {
        let mut nested = vec![3, 0, 1, 1, 2, 0, 8, 1, 1, 0x74, 1];
        nested.extend([0x75, 1].repeat(depth));
        nested.extend([0x7f, 0]);
        crasher("yrs_payload", name, &nested);
    }
}

fn crasher(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crashers").join(target);
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(name), bytes));
    assert!(written.is_ok(), "{}: {written:?}", folder.display());
}

fn frontiers() {
    let input = |what: u8, write: &dyn Fn(&mut Writer)| {
        let mut out = Writer::new();
        out.u8(what);
        write(&mut out);
        out.finish()
    };
    let tip =
        |log, seq| Tip { log: partita_core::LogId::from_bytes([log; 16]), seq, head: EntryId::from_bytes([0xee; 32]) };
    let tips = [tip(1, 1), tip(2, 300), tip(3, u64::MAX)];
    seed("frontiers", "tip", &input(0, &|out| tips[1].encode(out)));
    seed("frontiers", "tips", &input(1, &|out| Tip::encode_all(&tips, out)));
    seed("frontiers", "no-tips", &input(1, &|out| Tip::encode_all(&[], out)));
    let listed = samples::signed(&samples::signing_key(1), &tips);
    seed("frontiers", "signed-tips", &input(6, &|out| SignedTip::encode_all(&listed, out)));
    let (log, entries) = log();
    if let (Some(stamp), Some(start)) = (&entries[0].header.stamp, &entries[0].header.start) {
        seed(
            "frontiers",
            "stamp",
            &input(2, &|out| {
                out.u8(1);
                stamp.encode(out);
            }),
        );
        seed("frontiers", "start", &input(3, &|out| start.encode(out)));
        let witnesses: Vec<Witness> = entries.iter().filter_map(|entry| Witness::of(entry, start)).collect();
        seed("frontiers", "witness", &input(4, &|out| witnesses[0].encode(out)));
        seed("frontiers", "witness-later", &input(4, &|out| witnesses[3].encode(out)));
    }
    assert_eq!(log.context(), Fleet::context(0).id);
    let mut log = SampleLog::new(1, samples::context(1), 1);
    let entries: Vec<_> = (0..3u8).map(|number| log.change(samples::document(1), vec![number])).collect();
    if let Some(start) = &entries[0].header.start {
        let mut witnesses: Vec<Witness> = entries.iter().filter_map(|entry| Witness::of(entry, start)).collect();
        witnesses.sort_unstable_by_key(Witness::tip);
        seed("frontiers", "witnesses", &input(5, &|out| Witness::encode_all(&witnesses, out)));
    }
}

/// Programs, damages and traces, by hand.
fn plain() {
    // Insert, use twice, box, box with changed bytes, garbage, bundles, facts, choice.
    seed("epochs", "ring", &[0, 1, 5, 0, 1, 6, 0, 2, 7, 1, 1, 9, 1, 3, 9, 1, 2, 9]);
    seed("epochs", "boxes", &[2, 1, 1, 37, 1, 1, 4, 1, 2, 0, 0, 30]);
    seed("epochs", "garbage", &[&[3, 80, 1][..], &[7; 80], &[3, 0, 1]].concat());
    seed("epochs", "bundles", &[4, 0, 0, 4, 5, 0b1110_0100, 4, 3, 0xff]);
    seed("epochs", "choice", &[5, 1, 0, 5, 2, 1, 5, 3, 1, 5, 4, 0x13, 6, 2, 0, 5, 5, 0x83, 6, 1, 0, 5, 6, 3, 6, 1, 0]);

    let traces = [
        (
            "sequential",
            r#"{"startContent":"äö","endContent":"xäö","txns":[{"patches":[[0,0,"x","2021-04-19T06:06:58.219Z"]]},{"patches":[[1,1,""],[1,0,"ä"]]}]}"#,
        ),
        (
            "concurrent",
            r#"{"kind":"concurrent","endContent":"ab","numAgents":3,"txns":[{"agent":0,"parents":[],"patches":[[0,0,"a"]]},{"agent":1,"parents":[],"patches":[[0,0,"b"]]},{"agent":0,"parents":[0,1],"patches":[[1,1,""]]},{"agent":2,"parents":[2],"patches":[[0,0,"c"]]}]}"#,
        ),
        (
            "forgets",
            r#"{"kind":"concurrent","endContent":"","numAgents":1,"txns":[{"agent":0,"parents":[],"patches":[]},{"agent":0,"parents":[],"patches":[]}]}"#,
        ),
    ];
    for (name, text) in traces {
        for how in [0u8, 1, 2] {
            seed("trace_file", &format!("{name}-{how}"), &[&[how], text.as_bytes()].concat());
        }
        let mut out = GzEncoder::new(vec![0], Compression::best());
        if std::io::Write::write_all(&mut out, text.as_bytes()).is_ok() {
            seed("trace_file", &format!("{name}-packed"), &out.finish().unwrap_or_default());
        }
    }
    seed("trace_file", "under-the-limit", &[3 + 4 * 15, b'{', b'}']);
    seed("trace_file", "over-the-limit", &[3 + 4 * 17, b'{', b'}']);

    seed("damaged_store", "whole", &[0]);
    seed("damaged_store", "whole-checked", &[3]);
    for how in 0..4u8 {
        for (name, what) in ["flip", "flip-2", "flip-3", "fill", "noise", "page", "cut", "longer"].iter().zip(0u8..) {
            seed("damaged_store", &format!("{name}-{how}"), &[how, what, 0, 0x20 + how, what, 0x10, 3]);
            seed("damaged_store", &format!("{name}-early-{how}"), &[how, what | 0xc0, 0, 0, 9 + how, 1, 3]);
        }
    }

    // See `two_sessions.rs` for what the numbers do.
    let stories: [(&str, &[u8]); 9] = [
        ("both-write", &[0x00, 1, 0x10, 2, 4, 0x41, 3, 0x51, 4, 4]),
        ("fragments", &[0xc0, 0, 0xf0, 9, 0x63, 0x63, 5, 6, 4]),
        ("cut-and-again", &[0x60, 0, 0x23, 5, 0x70, 0, 0x06, 0x63, 5, 0x16, 4]),
        ("held-commits", &[9, 0, 1, 0, 2, 0x63, 11, 6, 4, 10, 0x2b]),
        ("crashes", &[0, 1, 4, 11, 0, 2, 6, 4, 0x1b, 0x10, 3, 0x16, 4]),
        ("a-backup", &[0, 1, 4, 12, 0, 2, 0, 3, 4, 13, 0, 4, 6, 4, 13, 6, 0xee, 4]),
        ("stalled", &[7, 0, 1, 0xc0, 9, 0xce, 0xee, 8, 4, 0x17, 0x10, 1, 0x18]),
        ("a-stranger", &[0x0f, 0x0f, 3, 4, 0x2f, 2, 0, 1, 0x4f, 0, 0x6f, 1, 0, 9, 3, 0xaf, 3, 1, 2, 3, 0xef, 5]),
        (
            "a-stranger-repeats",
            &[0xc0, 0, 4, 0x1f, 0x5f, 0, 0x5f, 1, 0x5f, 2, 0x7f, 1, 0, 40, 1, 0x9f, 3, 0, 50, 1, 0, 60, 2, 4],
        ),
    ];
    for (name, program) in stories {
        seed("two_sessions", name, program);
    }
}
