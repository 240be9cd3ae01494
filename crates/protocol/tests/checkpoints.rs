//! Whose word a checkpoint needs. What snapshots hold is the engine's to compare.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    rc::Rc,
};

use partita_core::{
    Checkpoint, CheckpointOp, Covered, DocumentId, EntryHeader, EntryId, LogId, LogStart, ReplicaId, SignedTip, Tip,
};
use partita_protocol::{Appended, NodeConfig, message::Message, reads};
use partita_testing::{
    fleet::{Fleet, Member},
    samples,
    strategy::OpenStrategy,
};

/// Two authors.
const ONE: u8 = 1;
const OTHER: u8 = 2;

/// A node of an author, to which some are authors no more, and for some of whom nobody waits.
fn author(fleet: &mut Fleet, number: u8, gone: &[u8], dormant: &[u8]) -> Member {
    author_with(fleet, NodeConfig::default(), number, gone, dormant)
}

fn author_with(fleet: &mut Fleet, config: NodeConfig, number: u8, gone: &[u8], dormant: &[u8]) -> Member {
    let ids = |numbers: &[u8]| -> Vec<ReplicaId> { numbers.iter().copied().map(samples::replica).collect() };
    let strategy = OpenStrategy::new().with_authors(ids(&[ONE, OTHER])).without_word_of(&ids(gone), &ids(dormant));
    let maker = Box::new(move || Box::new(strategy.clone()) as Box<dyn partita_core::PartitionStrategy>);
    let member = fleet.add_with(config, samples::signing_key(number), maker);
    fleet.open(member, 0);
    member
}

/// Writes an entry and claims a checkpoint of it that no document needs a snapshot for.
fn claim(fleet: &mut Fleet, member: Member) -> EntryId {
    fleet.write(member, 1, b"covered");
    claim_what_is_there(fleet, member, Vec::new())
}

fn claim_what_is_there(fleet: &mut Fleet, member: Member, bad: Vec<(LogId, u64, EntryId)>) -> EntryId {
    let context = Fleet::context(0).id;
    fleet.with(member, |node, now| {
        let plan = node.plan_checkpoint(&context, 1, 0).unwrap();
        node.begin_checkpoint(&plan).unwrap();
        node.claim_checkpoint(now, &plan, BTreeMap::new(), bad).unwrap()
    })
}

/// What a node relies on, and for whose word each claim waits there.
fn seen_by(fleet: &mut Fleet, member: Member) -> (Vec<EntryId>, Vec<(EntryId, Vec<ReplicaId>)>) {
    let context = Fleet::context(0).id;
    let node = fleet.node(member);
    let status = node.context_status().into_iter().find(|status| status.info.id == context).unwrap();
    let waits = status.claims.into_iter().map(|claim| (claim.claim, claim.lacks)).collect();
    (node.checkpoint(&context).claims(), waits)
}

#[test]
fn a_claim_waits_for_every_author_but_those_who_are_dormant() {
    for dormant in [&[][..], &[OTHER]] {
        let mut fleet = Fleet::new(1);
        let one = author(&mut fleet, ONE, &[], dormant);
        let claim = claim(&mut fleet, one);
        fleet.run();
        let (relied_upon, waits) = seen_by(&mut fleet, one);
        if dormant.is_empty() {
            assert_eq!((relied_upon, waits), (vec![], vec![(claim, vec![samples::replica(OTHER)])]));
        } else {
            assert_eq!((relied_upon, waits), (vec![claim], vec![]));
        }
    }
}

/// A thief's device claims what it likes. One that comes back and knows of the theft relies on it only once it compared.
#[test]
fn the_word_of_one_who_lost_its_right_does_not_stand_for_those_who_are_dormant() {
    let mut fleet = Fleet::new(2);
    let thief = author(&mut fleet, ONE, &[], &[OTHER]);
    let claim = claim(&mut fleet, thief);
    let back = author(&mut fleet, OTHER, &[ONE], &[OTHER]);
    fleet.connect(thief, back);
    fleet.run();
    assert_eq!(seen_by(&mut fleet, thief).0, [claim]);
    assert_eq!(seen_by(&mut fleet, back), (vec![], vec![(claim, vec![samples::replica(OTHER)])]));
}

/// It may not have relied upon the claim that this one goes on from.
#[test]
fn whoever_compares_a_claim_is_told_of_all_bad_entries_under_it() {
    let mut fleet = Fleet::new(3);
    let (one, back) = (author(&mut fleet, ONE, &[], &[OTHER]), author(&mut fleet, OTHER, &[ONE], &[OTHER]));
    fleet.connect(one, back);
    let Appended { log, seq, id, .. } = fleet.write(one, 1, b"bad bytes");
    fleet.run();
    let bad = vec![(log, seq, id)];
    let first = claim_what_is_there(&mut fleet, one, bad.clone());
    fleet.run();
    assert_eq!(seen_by(&mut fleet, one).0, [first]);
    let second = claim(&mut fleet, one);
    fleet.run();
    let context = Fleet::context(0).id;
    assert_eq!(fleet.node(back).checkpoint_check(&context, &second).unwrap().bad, bad);
}

/// Nobody compares what a claim says of entries that it does not cover, so it must not be heard of later either.
#[test]
fn what_a_claim_calls_bad_beyond_what_it_covers_is_not_heard() {
    let mut fleet = Fleet::new(4);
    let (one, back) = (author(&mut fleet, ONE, &[], &[OTHER]), author(&mut fleet, OTHER, &[ONE], &[OTHER]));
    fleet.connect(one, back);
    let Appended { log, seq, .. } = fleet.write(one, 1, b"good");
    fleet.run();
    claim_what_is_there(&mut fleet, one, vec![(log, seq + 1, EntryId::from_bytes([9; 32]))]);
    fleet.run();
    let second = claim(&mut fleet, one);
    fleet.run();
    let context = Fleet::context(0).id;
    let check = fleet.node(back).checkpoint_check(&context, &second).unwrap();
    assert_eq!((check.bad.len(), check.contradicts_base()), (0, false));
}

/// What two checkpoints say of a document that were made side by side is in neither's snapshot alone.
#[test]
fn documents_of_several_snapshots_are_all_written_anew_however_little_room_there_is() {
    let mut fleet = Fleet::new(5);
    let (one, other) = (author(&mut fleet, ONE, &[], &[OTHER]), author(&mut fleet, OTHER, &[], &[ONE]));
    let context = Fleet::context(0).id;
    let documents: Vec<_> = (1..=5).map(samples::document).collect();
    let mut claims = Vec::new();
    for member in [one, other] {
        fleet.write(member, 1, b"covered");
        let claim = fleet.with(member, |node, now| {
            let plan = node.plan_checkpoint(&context, 1, 0).unwrap();
            node.begin_checkpoint(&plan).unwrap();
            let write = |document: &DocumentId| {
                let at = node.write_snapshot(now, context, *document, b"a snapshot", &BTreeSet::new()).unwrap();
                (*document, at)
            };
            let written = documents.iter().map(write).collect();
            node.claim_checkpoint(now, &plan, written, Vec::new()).unwrap()
        });
        claims.push(claim);
        fleet.run();
    }
    fleet.connect(one, other);
    fleet.run();
    fleet.with(one, |node, now| {
        let check = node.checkpoint_check(&context, &claims[1]).unwrap();
        node.attest_checkpoint(now, &check);
    });
    fleet.run();
    fleet.write(one, 1, b"more");
    let node = fleet.node(one);
    assert_eq!(node.checkpoint(&context).claims().len(), 2);
    let plan = node.plan_checkpoint(&context, 1, u32::MAX).unwrap();
    assert!(documents.iter().all(|document| plan.again.contains(document)), "{:?}", plan.again);
}

/// A member can claim what nobody will ever hold, and nobody can say that it does not hold.
#[test]
fn a_claim_of_what_nobody_holds_keeps_nobody_from_making_others() {
    let mut fleet = Fleet::new(6);
    let liar = author(&mut fleet, ONE, &[], &[]);
    let context = Fleet::context(0).id;
    for nonce in [[1; 16], [2; 16]] {
        let start = LogStart { replica: samples::replica(ONE), nonce, tips: Vec::new() };
        let log = LogId::derive(&context, &start.replica, &nonce);
        let head = EntryId::from_bytes([3; 32]);
        let signature = EntryHeader::sign(&head, &samples::signing_key(ONE));
        let last = SignedTip { tip: Tip { log, seq: 1 << 62, head }, signature };
        let time = Default::default();
        let covered = Covered { start, last, heads: Vec::new(), knew: Vec::new(), epoch: None, time };
        let claim = Checkpoint { previous: None, logs: [(log, covered)].into(), ..Checkpoint::default() };
        fleet.control(liar, CheckpointOp::Claim(claim).encode());
    }
    let other = author(&mut fleet, OTHER, &[], &[]);
    fleet.connect(liar, other);
    fleet.run();
    assert_eq!(seen_by(&mut fleet, other).1.len(), 2, "both wait for a word that nobody can give");
    fleet.write(other, 1, b"to be covered");
    fleet.run();
    assert!(fleet.node(other).plan_checkpoint(&context, 1, 0).is_some());
}

/// What a node says when it is asked to cover everything that it holds.
fn covered_by(fleet: &mut Fleet, member: Member) -> BTreeMap<LogId, Covered> {
    let context = Fleet::context(0).id;
    fleet.node(member).plan_checkpoint(&context, 1, 0).unwrap().cover
}

fn claim_of(logs: BTreeMap<LogId, Covered>) -> partita_core::Bytes {
    CheckpointOp::Claim(Checkpoint { logs, ..Checkpoint::default() }).encode()
}

/// An author signs an entry, not its number: a claim can say that the entry is another one, and so that the log goes further.
#[test]
fn no_claim_makes_a_log_longer_than_its_author_wrote_it() {
    let mut fleet = Fleet::new(7);
    let liar = author(&mut fleet, ONE, &[OTHER], &[]);
    let other = author(&mut fleet, OTHER, &[OTHER], &[]);
    for _ in 0..5 {
        fleet.write(other, 1, b"durable");
    }
    fleet.connect(liar, other);
    fleet.run();
    let mut logs = covered_by(&mut fleet, liar);
    let honest = logs.clone();
    logs.values_mut().for_each(|covered| covered.last.tip.seq = 1_000_000);
    fleet.control(liar, claim_of(logs));
    fleet.run();
    for member in [liar, other] {
        assert_eq!(seen_by(&mut fleet, member).0, [], "its author's word would do");
        assert_eq!(fleet.held(member).iter().map(|tip| tip.seq).max(), Some(5));
    }
    fleet.control(liar, claim_of(honest));
    fleet.run();
    assert_eq!(seen_by(&mut fleet, other).0.len(), 1, "an honest one is relied upon");
}

/// Whoever covers a log knows who writes it. A claim that leaves that out would be compared in part by whom it leaves out.
#[test]
fn a_claim_that_knows_less_than_what_it_covers_is_one_that_nobody_attests() {
    for lies_about_knowledge in [false, true] {
        let mut fleet = Fleet::new(8);
        let (liar, other) = (author(&mut fleet, ONE, &[], &[]), author(&mut fleet, OTHER, &[], &[]));
        fleet.control(other, b"what the log rests on".to_vec().into());
        fleet.write(other, 1, b"durable");
        let mut logs = covered_by(&mut fleet, other);
        if lies_about_knowledge {
            logs.values_mut().for_each(|covered| covered.knew.clear());
        }
        fleet.control(liar, claim_of(logs));
        fleet.connect(liar, other);
        fleet.run();
        let context = Fleet::context(0).id;
        let claimed = seen_by(&mut fleet, other).1[0].0;
        let check = fleet.node(other).checkpoint_check(&context, &claimed).unwrap();
        assert!(check.impossible, "lies about what the log knew: {lies_about_knowledge}");
        fleet.write(other, 1, b"as much again");
        let honest = claim(&mut fleet, other);
        fleet.run();
        assert!(!fleet.node(liar).checkpoint_check(&context, &honest).unwrap().impossible);
    }
}

/// Each takes the room of all that it stands for, and can wait for ever.
#[test]
fn of_very_many_claims_of_one_author_some_are_looked_at() {
    let mut fleet = Fleet::new(9);
    let liar = author(&mut fleet, ONE, &[], &[]);
    fleet.write(liar, 1, b"covered");
    let logs = covered_by(&mut fleet, liar);
    for seq in 100..300 {
        let mut logs = logs.clone();
        logs.values_mut().for_each(|covered| covered.last.tip.seq = seq);
        fleet.control(liar, claim_of(logs));
    }
    let other = author(&mut fleet, OTHER, &[], &[]);
    fleet.connect(liar, other);
    fleet.run();
    assert_eq!(seen_by(&mut fleet, other).1.len(), 64);
    fleet.write(other, 2, b"to be covered");
    fleet.run();
    let context = Fleet::context(0).id;
    assert!(fleet.node(other).plan_checkpoint(&context, 1, 0).is_some(), "and others make theirs");
}

/// Each says only what is new, and takes the room of all that it stands for.
#[test]
fn of_large_claims_of_one_author_fewer_are_looked_at_and_the_latest_always_is() {
    let mut fleet = Fleet::new(19);
    let liar = author(&mut fleet, ONE, &[], &[]);
    let context = Fleet::context(0).id;
    let id = |n: u16| EntryId::from_bytes(std::array::from_fn(|at| n.to_be_bytes().get(at).copied().unwrap_or(1)));
    let ids: Vec<EntryId> = (0..4_000).map(id).collect();
    let mut previous = None;
    for nonce in 1..=24 {
        let mut logs = never_seen(nonce, Vec::new());
        for covered in logs.values_mut() {
            (covered.heads, covered.knew) = (ids.clone(), ids.clone());
        }
        let claim = Checkpoint { previous, logs, ..Checkpoint::default() };
        fleet.control(liar, CheckpointOp::Claim(claim).encode());
        previous = fleet.node(liar).logs_of(&context, &samples::replica(ONE)).first().map(|tip| tip.head);
    }
    // The last one takes 24 times 256,000 bytes, the one before it 23 times as many: six have room in 32 MiB.
    let (_, waits) = seen_by(&mut fleet, liar);
    assert_eq!(waits.len(), 6);
    assert!(waits.iter().any(|(claim, _)| Some(*claim) == previous));
    // Another author's have room of their own.
    let other = author(&mut fleet, OTHER, &[], &[]);
    fleet.connect(liar, other);
    fleet.run();
    fleet.write(other, 1, b"to be covered");
    let honest = claim(&mut fleet, other);
    fleet.run();
    for member in [liar, other] {
        let (_, waits) = seen_by(&mut fleet, member);
        assert_eq!(waits.len(), 7);
        assert!(waits.iter().any(|(claim, _)| *claim == honest));
    }
}

/// With its control log pruned a context could never be opened again, and the node with it.
#[test]
fn a_claim_that_covers_control_entries_is_relied_upon_by_nobody() {
    let mut fleet = Fleet::new(10);
    let liar = author(&mut fleet, ONE, &[OTHER], &[]);
    let other = author(&mut fleet, OTHER, &[OTHER], &[]);
    let context = Fleet::context(0).id;
    fleet.write(liar, 1, b"covered");
    let first = claim(&mut fleet, liar);
    fleet.connect(liar, other);
    fleet.run();
    assert_eq!(seen_by(&mut fleet, other).0, [first]);
    let view = partita_core::Store::read(fleet.store(liar)).unwrap();
    let mut begins = None;
    view.arrivals(&context, 0, &mut |stored| {
        let entry = reads::entry(&stored).unwrap();
        begins = begins.take().or_else(|| {
            entry.header.start.clone().filter(|_| entry.header.kind.is_control()).map(|start| (entry.header.log, start))
        });
        ControlFlow::Continue(())
    })
    .unwrap();
    drop(view);
    let (control, start) = begins.unwrap();
    let seq = fleet.held(liar).iter().find(|tip| tip.log == control).unwrap().seq;
    let last = SignedTip {
        tip: Tip { log: control, seq, head: first },
        signature: EntryHeader::sign(&first, &samples::signing_key(ONE)),
    };
    let covered = Covered { start, last, heads: Vec::new(), knew: Vec::new(), epoch: None, time: Default::default() };
    let claim = Checkpoint { previous: Some(first), logs: [(control, covered)].into(), ..Checkpoint::default() };
    fleet.control(liar, CheckpointOp::Claim(claim).encode());
    fleet.run();
    for member in [liar, other] {
        assert_eq!(seen_by(&mut fleet, member).0, [first]);
        fleet.crash(member);
        fleet.start(member);
        fleet.run();
        assert_eq!(fleet.node(member).failure(), None);
        assert_eq!(seen_by(&mut fleet, member).0, [first]);
    }
}

/// Of all that one author ever claimed whoever begins with nothing needs the last.
#[test]
fn a_newcomer_relies_on_the_last_of_many_checkpoints_of_one_author() {
    let mut fleet = Fleet::new(11);
    let writer = author(&mut fleet, ONE, &[OTHER], &[]);
    let mut last = None;
    for _ in 0..70 {
        fleet.write(writer, 1, b"covered");
        let context = Fleet::context(0).id;
        // Each stands for the one before it, whose snapshot nobody has any more.
        last = Some(fleet.with(writer, |node, now| {
            let plan = node.plan_checkpoint(&context, 1, 0).unwrap();
            node.begin_checkpoint(&plan).unwrap();
            let document = samples::document(1);
            let at = node.write_snapshot(now, context, document, b"snapshot", &BTreeSet::new()).unwrap();
            node.claim_checkpoint(now, &plan, [(document, at)].into(), Vec::new()).unwrap()
        }));
        fleet.run();
    }
    let newcomer = author(&mut fleet, OTHER, &[OTHER], &[]);
    fleet.connect(writer, newcomer);
    fleet.run();
    assert_eq!(seen_by(&mut fleet, newcomer).0, [last.unwrap()]);
    assert!(fleet.agree(&[writer, newcomer]));
}

/// Two of whom only the first one's word is needed, and who hold the same.
fn liar_and_other(seed: u64, write: impl FnOnce(&mut Fleet, Member, Member)) -> (Fleet, Member, Member) {
    let mut fleet = Fleet::new(seed);
    let liar = author(&mut fleet, ONE, &[OTHER], &[]);
    let other = author(&mut fleet, OTHER, &[OTHER], &[]);
    write(&mut fleet, liar, other);
    fleet.connect(liar, other);
    fleet.run();
    (fleet, liar, other)
}

/// Writes the first entries of one log, and one of another that goes on from it.
fn write_two_logs(fleet: &mut Fleet, member: Member, first: u8) {
    for n in 0..first {
        fleet.write(member, 1, [n; 1000]);
    }
    fleet.crash(member);
    fleet.start(member);
    fleet.write(member, 1, b"in the next log");
}

/// Those logs among them that go on from another.
fn going_on(mut logs: BTreeMap<LogId, Covered>) -> BTreeMap<LogId, Covered> {
    logs.retain(|_, covered| !covered.start.tips.is_empty());
    logs
}

/// What the first author says of a log of its own that nobody has ever seen.
fn never_seen(nonce: u8, tips: Vec<Tip>) -> BTreeMap<LogId, Covered> {
    let start = LogStart { replica: samples::replica(ONE), nonce: [nonce; 16], tips };
    let log = LogId::derive(&Fleet::context(0).id, &start.replica, &start.nonce);
    let head = EntryId::from_bytes([nonce; 32]);
    let signature = EntryHeader::sign(&head, &samples::signing_key(ONE));
    let last = SignedTip { tip: Tip { log, seq: 1, head }, signature };
    let covered = Covered { start, last, heads: Vec::new(), knew: Vec::new(), epoch: None, time: Default::default() };
    [(log, covered)].into()
}

/// What a log's first entry names drops out of the frontier: a claim must not say that it names less than it does.
#[test]
fn a_claim_that_lets_a_log_begin_otherwise_is_relied_upon_by_nobody_who_holds_it() {
    let (mut fleet, liar, other) = liar_and_other(12, |fleet, _, other| write_two_logs(fleet, other, 1));
    let honest = covered_by(&mut fleet, liar);
    let mut logs = honest.clone();
    assert_eq!((logs.len(), going_on(logs.clone()).len()), (2, 1));
    logs.values_mut().for_each(|covered| covered.start.tips.clear());
    fleet.control(liar, claim_of(logs));
    fleet.run();
    for member in [liar, other] {
        assert_eq!(seen_by(&mut fleet, member).0, []);
    }
    fleet.control(liar, claim_of(honest));
    fleet.run();
    assert_eq!(seen_by(&mut fleet, other).0.len(), 1, "an honest one is relied upon");
}

/// Otherwise a member could hide what others wrote behind a log of its own, and control entries too.
#[test]
fn a_claim_that_lets_a_log_go_on_from_anothers_or_from_a_control_log_is_relied_upon_by_nobody() {
    let (mut fleet, liar, other) = liar_and_other(13, |fleet, liar, other| {
        fleet.control(liar, b"a control entry".to_vec().into());
        fleet.write(other, 1, b"somebody else's");
    });
    let context = Fleet::context(0).id;
    let honest = covered_by(&mut fleet, liar);
    let own_control = fleet.node(liar).logs_of(&context, &samples::replica(ONE))[0];
    let of_another = fleet.node(liar).logs_of(&context, &samples::replica(OTHER))[0];
    for (nonce, tip) in [(1, own_control), (2, of_another)] {
        fleet.control(liar, claim_of(never_seen(nonce, vec![tip])));
        fleet.run();
        for member in [liar, other] {
            assert_eq!(seen_by(&mut fleet, member).0, [], "from {tip:?}");
        }
    }
    fleet.control(liar, claim_of(honest));
    fleet.run();
    assert_eq!(seen_by(&mut fleet, other).0.len(), 1, "an honest one is relied upon");
}

/// What was relied upon is pruned, and cannot be compared with the store any more.
#[test]
fn a_claim_that_gives_what_was_covered_before_another_number_is_relied_upon_by_nobody() {
    for lengthens in [true, false] {
        let (mut fleet, liar, other) = liar_and_other(14, |fleet, _, other| {
            fleet.write(other, 1, b"first");
            fleet.write(other, 1, b"second");
        });
        let mut logs = covered_by(&mut fleet, liar);
        fleet.write(other, 1, b"third");
        fleet.run();
        let first = claim_what_is_there(&mut fleet, liar, Vec::new());
        fleet.run();
        assert_eq!(seen_by(&mut fleet, other).0, [first]);
        if lengthens {
            logs = fleet.node(liar).checkpoint(&Fleet::context(0).id).logs().clone();
        }
        // The third entry is the hundredth; or the second one is the third.
        logs.values_mut().for_each(|covered| covered.last.tip.seq = if lengthens { 100 } else { 3 });
        fleet.control(liar, claim_of(logs));
        fleet.run();
        for member in [liar, other] {
            assert_eq!(seen_by(&mut fleet, member).0, [first], "lengthens: {lengthens}");
            assert_eq!(fleet.held(member).iter().map(|tip| tip.seq).max(), Some(3));
        }
    }
}

/// A newcomer has nothing but the claim.
#[test]
fn a_claim_is_relied_upon_by_whoever_begins_with_nothing_if_it_covers_what_its_logs_go_on_from() {
    // Once as far as the next log says, and once less far.
    for covers_all in [true, false] {
        let mut fleet = Fleet::new(15);
        let writer = author(&mut fleet, ONE, &[OTHER], &[]);
        fleet.write(writer, 1, b"first");
        let before = covered_by(&mut fleet, writer);
        write_two_logs(&mut fleet, writer, 1);
        let mut logs = covered_by(&mut fleet, writer);
        assert_eq!(logs.len(), 2);
        if !covers_all {
            logs.extend(before);
        }
        fleet.control(writer, claim_of(logs));
        fleet.run();
        let newcomer = author(&mut fleet, OTHER, &[OTHER], &[]);
        fleet.connect(writer, newcomer);
        fleet.run();
        let (relied_upon, waits) = seen_by(&mut fleet, newcomer);
        if covers_all {
            assert_eq!(relied_upon.len(), 1);
            assert!(fleet.agree(&[writer, newcomer]));
        } else {
            assert_eq!(relied_upon, [], "the second entry of the first log would be hidden");
            assert!(matches!(&waits[..], [(_, lacks)] if lacks.is_empty()), "it waits for nobody's word: {waits:?}");
        }
    }
}

#[test]
fn a_claim_of_a_log_that_goes_on_from_what_is_not_covered_waits_until_that_is_here() {
    let mut fleet = Fleet::new(16);
    let writer = author(&mut fleet, ONE, &[OTHER], &[]);
    write_two_logs(&mut fleet, writer, 4);
    let logs = going_on(covered_by(&mut fleet, writer));
    assert_eq!(logs.len(), 1);
    fleet.control(writer, claim_of(logs));
    fleet.run();
    let relied_upon = seen_by(&mut fleet, writer).0;
    assert_eq!(relied_upon.len(), 1, "the first log is held here");
    // There is room for the claim, and not for the first log.
    let small = NodeConfig { max_context_bytes: 3_000, ..NodeConfig::default() };
    let newcomer = author_with(&mut fleet, small, OTHER, &[OTHER], &[]);
    fleet.connect(writer, newcomer);
    fleet.run();
    let (none, waits) = seen_by(&mut fleet, newcomer);
    assert_eq!((none.len(), waits.len()), (0, 1));
    fleet.with(newcomer, |node, now| node.set_max_context_bytes(now, 1 << 20));
    fleet.run();
    assert_eq!(seen_by(&mut fleet, newcomer).0, relied_upon);
    assert!(fleet.agree(&[writer, newcomer]));
}

/// What a loss cut off as a whole nobody will ever hold.
#[test]
fn a_claim_of_a_log_that_goes_on_from_what_was_cut_off_waits_for_nothing() {
    let (mut fleet, one, device) = liar_and_other(17, |fleet, _, device| write_two_logs(fleet, device, 2));
    let second = going_on(covered_by(&mut fleet, one));
    let counts: Vec<Tip> = second.values().map(|covered| covered.last.tip).collect();
    let loss = fleet.loss(device, &counts);
    fleet.control(one, loss);
    fleet.run();
    assert_eq!(covered_by(&mut fleet, one), second, "of the first log nothing is left");
    let claim = claim_what_is_there(&mut fleet, one, Vec::new());
    fleet.run();
    for member in [one, device] {
        assert_eq!(seen_by(&mut fleet, member).0, [claim]);
    }
}

/// The claim was taken once, and what it stands for is pruned: without it nobody could open the context again.
#[test]
fn a_checkpoint_is_relied_upon_again_also_when_a_later_strategy_refuses_its_claim() {
    let mut fleet = Fleet::new(18);
    let is_later = Rc::new(Cell::new(false));
    let version = is_later.clone();
    let maker = move || -> Box<dyn partita_core::PartitionStrategy> {
        let strategy = OpenStrategy::new().with_authors([samples::replica(ONE)]);
        Box::new(if version.get() { strategy.refusing(&[0xC5]) } else { strategy })
    };
    let member = fleet.add_with(NodeConfig::default(), samples::signing_key(ONE), Box::new(maker));
    fleet.open(member, 0);
    let claim = claim(&mut fleet, member);
    fleet.run();
    assert_eq!(seen_by(&mut fleet, member).0, [claim]);
    is_later.set(true);
    fleet.crash(member);
    fleet.start(member);
    assert_eq!(fleet.node(member).failure(), None);
    assert_eq!(seen_by(&mut fleet, member).0, [claim]);
}

/// Many may have a context of many logs, and each of them is told of each log.
#[test]
fn that_a_checkpoint_covers_many_logs_is_said_to_each_session_at_once() {
    let mut fleet = Fleet::new(20);
    let writer = author(&mut fleet, ONE, &[OTHER], &[]);
    for _ in 0..5 {
        fleet.write(writer, 1, b"a log of its own");
        fleet.crash(writer);
        fleet.start(writer);
    }
    let other = author(&mut fleet, OTHER, &[OTHER], &[]);
    let link = fleet.connect(writer, other);
    fleet.run();
    fleet.said(link, 0);
    let claim = claim(&mut fleet, writer);
    fleet.run();
    assert_eq!(seen_by(&mut fleet, other).0, [claim]);
    let said = fleet.said(link, 0);
    let at_once = said.iter().any(|message| matches!(message, Message::Ack { held, .. } if held.len() == 6));
    assert!(at_once, "{said:?}");
}
