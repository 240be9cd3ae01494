//! A right that was lost and given again: what is written from then on counts, in new logs; what was written between does
//! not, in whatever order a node hears of it.

use std::{ops::ControlFlow, sync::Arc};

use partita_core::{Entry, EntryId, EntryKind, Key, LogId, Refusal, Stamp, Store as _, Tip};
use partita_protocol::{
    NodeConfig, Notice,
    message::{Message, Run},
    reads,
};
use partita_testing::{
    fleet::{Fleet, LinkId, Member},
    samples::{self, SampleLog},
    strategy::OpenStrategy,
};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

const DEVICE: u8 = 77;

/// Writes so many changes, and says where they lie.
fn write(fleet: &mut Fleet, writer: Member, count: u8) -> Vec<Tip> {
    let written = (0..count).map(|n| fleet.write(writer, 1, [n; 50]));
    written.map(|written| Tip { log: written.log, seq: written.seq, head: written.id }).collect()
}

fn seq(fleet: &mut Fleet, member: Member, log: &LogId) -> u64 {
    fleet.held(member).iter().find(|held| held.log == *log).map_or(0, |held| held.seq)
}

fn restart(fleet: &mut Fleet, member: Member) {
    fleet.crash(member);
    fleet.start(member);
}

/// Appends a control entry on a node that writes nothing else.
fn control(fleet: &mut Fleet, member: Member, payload: partita_core::Bytes) -> EntryId {
    fleet.control(member, payload);
    let (context, replica) = (Fleet::context(0).id, fleet.id(member));
    fleet.node(member).logs_of(&context, &replica)[0].head
}

/// A device that lost its right when it had written so far, with somebody who took that right and knows nothing else.
struct Scene {
    fleet: Fleet,
    owner: Member,
    device: Member,
    /// What the device wrote in its first log before it heard of the loss: three of five count.
    first: Vec<Tip>,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut fleet = Fleet::new(seed);
        let (owner, device) = (fleet.replica(), fleet.replica());
        let first = write(&mut fleet, device, 5);
        fleet.run();
        Self { fleet, owner, device, first }
    }

    fn lose(&mut self) -> EntryId {
        let loss = self.fleet.loss(self.device, &[self.first[2]]);
        control(&mut self.fleet, self.owner, loss)
    }

    fn readmit(&mut self) -> EntryId {
        let readmission = OpenStrategy::readmit(self.fleet.id(self.device));
        control(&mut self.fleet, self.owner, readmission)
    }

    fn meet(&mut self, one: Member, other: Member) -> LinkId {
        let link = self.fleet.connect(one, other);
        self.fleet.run();
        link
    }
}

/// The device goes on in two logs, the second begun after a restart, before it hears that it lost its right and has it
/// again. One hears of all that first, one has had its entries first.
#[test]
fn who_is_readmitted_writes_on_in_a_new_log_and_what_it_wrote_between_does_not_count() {
    let mut scene = Scene::new(1);
    let (owner, device) = (scene.owner, scene.device);
    restart(&mut scene.fleet, device);
    let between = write(&mut scene.fleet, device, 2);
    let (early, late) = (scene.fleet.replica(), scene.fleet.replica());
    let link = scene.meet(late, device);
    scene.fleet.cut(link);
    assert_eq!(seq(&mut scene.fleet, late, &between[1].log), 2);
    scene.lose();
    scene.readmit();
    let link = scene.meet(early, owner);
    scene.fleet.cut(link);

    let link = scene.meet(device, owner);
    scene.fleet.cut(link);
    let again = write(&mut scene.fleet, device, 2);
    let logs = [scene.first[0].log, between[0].log, again[0].log];
    assert!(logs[2] != logs[0] && logs[2] != logs[1]);
    for (one, other) in [(early, device), (late, device), (late, owner)] {
        scene.meet(one, other);
    }
    for member in [owner, device, early, late] {
        assert_eq!(logs.map(|log| seq(&mut scene.fleet, member, &log)), [3, 0, 2], "{member}");
    }
    for member in [owner, device, early, late] {
        restart(&mut scene.fleet, member);
        assert_eq!(logs.map(|log| seq(&mut scene.fleet, member, &log)), [3, 0, 2], "{member} after a restart");
    }
    // The third entry of the first log came inside a run: who has it can serve it, because the loss names it.
    let only_late = scene.fleet.replica();
    scene.meet(only_late, late);
    assert_eq!(logs.map(|log| seq(&mut scene.fleet, only_late, &log)), [3, 0, 2]);
    let newcomer = scene.fleet.replica();
    let later = write(&mut scene.fleet, device, 1);
    for (one, other) in [(newcomer, owner), (owner, device), (early, device), (late, early)] {
        scene.meet(one, other);
    }
    assert_eq!(seq(&mut scene.fleet, newcomer, &later[0].log), 1);
    assert!(scene.fleet.agree(&[owner, device, early, late, newcomer]));
}

#[test]
fn a_device_writes_on_in_the_same_open_and_is_told() {
    for counted in [2, 4] {
        // In one case its log is cut back, in the other nothing of it is.
        let mut scene = Scene::new(2);
        let (owner, device) = (scene.owner, scene.device);
        scene.meet(device, owner);
        let loss = scene.fleet.loss(device, &[scene.first[counted]]);
        control(&mut scene.fleet, owner, loss);
        scene.fleet.run();
        assert!(scene.fleet.try_write(device, 1, b"without the right").is_err());
        let is_of = |notice: &Notice| matches!(notice, Notice::NewLog(_));
        assert_eq!(scene.fleet.notices(device).iter().filter(|notice| is_of(notice)).count(), 1);
        scene.readmit();
        scene.fleet.run();
        let notices = scene.fleet.notices(device);
        assert_eq!(notices.iter().filter(|notice| matches!(notice, Notice::ControlChanged(_))).count(), 1);
        assert!(!notices.iter().any(is_of));
        let own = scene.fleet.node(device).own_log(&Fleet::context(0).id).unwrap();
        let again = write(&mut scene.fleet, device, 2);
        scene.fleet.run();
        assert!(again[1].log == own && own != scene.first[0].log);
        assert_eq!(seq(&mut scene.fleet, owner, &own), 2);
        assert_eq!(seq(&mut scene.fleet, owner, &scene.first[0].log), counted as u64 + 1);
        assert!(scene.fleet.agree(&[owner, device]));
    }
}

/// A right may be lost and given again many times: each time counts for itself.
#[test]
fn each_loss_is_lifted_for_itself() {
    let mut scene = Scene::new(3);
    let (owner, device) = (scene.owner, scene.device);
    let link = scene.meet(device, owner);
    scene.lose();
    scene.readmit();
    scene.fleet.run();
    let second = write(&mut scene.fleet, device, 3);
    scene.fleet.run();
    scene.fleet.cut(link);
    write(&mut scene.fleet, device, 2); // it has not heard of the second loss
    let loss = scene.fleet.loss(device, &[scene.first[2], second[2]]);
    control(&mut scene.fleet, owner, loss);
    let link = scene.meet(device, owner);
    assert_eq!(seq(&mut scene.fleet, device, &second[0].log), 3);
    assert!(scene.fleet.try_write(device, 1, b"the first readmission is spent").is_err());
    scene.readmit();
    scene.fleet.run();
    let third = write(&mut scene.fleet, device, 1);
    scene.fleet.run();
    let logs = [scene.first[0].log, second[0].log, third[0].log];
    let newcomer = scene.fleet.replica();
    scene.meet(newcomer, owner);
    for member in [owner, device, newcomer] {
        assert_eq!(logs.map(|log| seq(&mut scene.fleet, member, &log)), [3, 3, 1], "{member}");
    }
    assert!(scene.fleet.is_up(link));
}

/// The new log rests on what counts of the older ones, also while those are still being cut: nobody will ever hold more.
#[test]
fn a_log_that_is_begun_while_others_are_being_cut_waits_for_none_of_what_is_cut() {
    let mut scene = Scene::new(4);
    let (owner, device) = (scene.owner, scene.device);
    restart(&mut scene.fleet, device);
    let between = write(&mut scene.fleet, device, 2);
    scene.lose();
    scene.readmit();
    scene.fleet.hold_commits(device);
    scene.meet(device, owner);
    let again = write(&mut scene.fleet, device, 2);
    scene.fleet.release(device);
    scene.fleet.run();
    let newcomer = scene.fleet.replica();
    scene.meet(newcomer, owner);
    let logs = [scene.first[0].log, between[0].log, again[0].log];
    for member in [owner, device, newcomer] {
        assert_eq!(logs.map(|log| seq(&mut scene.fleet, member, &log)), [3, 0, 2], "{member}");
    }
    assert!(scene.fleet.agree(&[owner, device, newcomer]));
}

/// A readmitted device does not vouch for what it wrote itself without the right.
#[test]
fn nobody_vouches_for_its_own_entries() {
    let mut fleet = Fleet::new(5);
    let owner = fleet.replica();
    let device = fleet.add(NodeConfig::default(), OpenStrategy::new().with_vouching(), 1);
    let written = write(&mut fleet, device, 5);
    let loss = fleet.loss(device, &[written[2]]);
    fleet.control(owner, loss);
    let readmission = OpenStrategy::readmit(fleet.id(device));
    fleet.control(owner, readmission);
    fleet.connect(device, owner);
    fleet.run();
    for member in [owner, device] {
        assert_eq!(seq(&mut fleet, member, &written[0].log), 3, "{member}");
    }
}

/// Anybody can write another's `Create` again. Whichever came first: what others have of the document stays in the list.
#[test]
fn a_document_that_somebody_created_again_is_still_known_when_that_one_is_cut_off() {
    for device_first in [false, true] {
        let mut fleet = Fleet::new(6);
        let (owner, device, reader) = (fleet.replica(), fleet.replica(), fleet.replica());
        let context = Fleet::context(0).id;
        let (both, devices) = (samples::document(1), samples::document(2));
        for (member, document) in [(owner, both), (device, both), (device, devices)] {
            let kind = EntryKind::Create(document);
            fleet.with(member, |node, now| node.append(now, context, kind, b"the same")).unwrap();
        }
        let order = if device_first { [device, owner] } else { [owner, device] };
        for member in order {
            fleet.connect(reader, member);
            fleet.run();
        }
        let loss = fleet.loss(device, &[]);
        fleet.control(owner, loss);
        fleet.run();
        let view = fleet.store(reader).read().unwrap();
        let mut created = Vec::new();
        reads::document_entries(&*view, &context, &both, 0, |arrival, _| {
            created.push(arrival);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(created.len(), 1, "the owner's, {device_first}");
        let known = |document| view.get(&Key::Document(context, document)).unwrap();
        assert_eq!(known(both).as_deref(), Some(&created[0].to_be_bytes()[..]), "{device_first}");
        assert_eq!(known(devices), None, "{device_first}");
    }
}

/// A node and a remote that plays a readmitted device, with the loss, the readmission, and what counts of a first log.
struct Played {
    fleet: Fleet,
    owner: Member,
    puppet: LinkId,
    loss: EntryId,
}

impl Played {
    fn new(counts: Vec<Tip>) -> Self {
        let counts = samples::signed(&samples::signing_key(DEVICE), &counts);
        let mut fleet = Fleet::new(6);
        let owner = fleet.replica();
        let loss = control(&mut fleet, owner, OpenStrategy::loss(samples::replica(DEVICE), counts));
        let puppet = fleet.puppet(owner, DEVICE);
        fleet.run();
        let open = fleet.said(puppet, 0).into_iter().find(|message| matches!(message, Message::Open(_))).unwrap();
        fleet.say(puppet, &[open]);
        Self { fleet, owner, puppet, loss }
    }

    fn readmit(&mut self) -> EntryId {
        control(&mut self.fleet, self.owner, OpenStrategy::readmit(samples::replica(DEVICE)))
    }

    fn offer(&mut self, entries: &[Arc<Entry>]) {
        self.fleet.say(self.puppet, &[run(entries)]);
    }

    fn refusals(&mut self) -> Vec<(LogId, u64, Refusal)> {
        let said = self.fleet.said(self.puppet, 0);
        let refused = said.into_iter().filter_map(|message| match message {
            Message::Refused(refused) => Some((refused.log, refused.seq, refused.why)),
            _ => None,
        });
        refused.collect()
    }

    fn quarantined(&mut self) -> u64 {
        self.fleet.node(self.owner).context_status()[0].quarantined
    }
}

fn run(entries: &[Arc<Entry>]) -> Message {
    Message::Entries(Run::of(entries.to_vec()).unwrap())
}

fn log(number: u8) -> SampleLog {
    SampleLog::new(DEVICE, Fleet::context(0).id, number)
}

fn knowing(heads: &[EntryId]) -> Stamp {
    Stamp { heads: heads.to_vec(), epoch: None }
}

fn changes(log: &mut SampleLog, count: u8) -> Vec<Arc<Entry>> {
    (0..count).map(|n| log.change(samples::document(1), vec![n])).collect()
}

#[test]
fn a_log_begun_before_the_loss_is_not_lifted_by_naming_the_readmission_later() {
    let mut old = log(1);
    let mut entries = changes(&mut old, 2);
    let mut played = Played::new(vec![Tip { log: old.id(), seq: 1, head: entries[0].id }]);
    let readmission = played.readmit();
    old.state(knowing(&[readmission]));
    entries.extend(changes(&mut old, 2));
    played.offer(&entries);
    assert_eq!(seq(&mut played.fleet, played.owner, &old.id()), 1);
    assert_eq!(played.quarantined(), 3);
    assert_eq!(played.refusals(), [(old.id(), 2, Refusal::Excluded)]);

    // Not even a log that was begun in knowledge of the loss alone: only the readmission lifts.
    let mut other = log(2);
    other.state(knowing(&[played.loss]));
    let mut entries = changes(&mut other, 1);
    other.state(knowing(&[readmission]));
    entries.extend(changes(&mut other, 1));
    played.offer(&entries);
    assert_eq!(seq(&mut played.fleet, played.owner, &other.id()), 0);

    let mut new = log(3);
    new.state(knowing(&[readmission]));
    let entries = changes(&mut new, 2);
    played.offer(&entries);
    assert_eq!(seq(&mut played.fleet, played.owner, &new.id()), 2);
}

/// What lifts may be older than the loss: then the log may name it before the loss is heard of, and in its first entry
/// alone that counts, whichever comes first.
#[test]
fn a_log_that_names_what_lifts_in_a_later_entry_alone_is_not_lifted_in_either_order() {
    let mut fleet = Fleet::new(7);
    let (owner, late) = (fleet.replica(), fleet.replica());
    let lifts = control(&mut fleet, owner, partita_core::Bytes::from_static(b"?"));
    let link = fleet.connect(owner, late);
    fleet.run();
    fleet.cut(link);
    let mut old = log(1);
    let mut entries = changes(&mut old, 2);
    old.state(knowing(&[lifts]));
    entries.extend(changes(&mut old, 2));
    let puppet = fleet.puppet(late, DEVICE);
    fleet.run();
    let open = fleet.said(puppet, 0).into_iter().find(|message| matches!(message, Message::Open(_))).unwrap();
    fleet.say(puppet, &[open, run(&entries)]);
    assert_eq!(seq(&mut fleet, late, &old.id()), 4);
    let named = Tip { log: old.id(), seq: 1, head: entries[0].id };
    let listed = samples::signed(&samples::signing_key(DEVICE), &[named]);
    fleet.control(owner, OpenStrategy::loss(samples::replica(DEVICE), listed));
    fleet.control(owner, OpenStrategy::lift(samples::replica(DEVICE), lifts));
    fleet.connect(owner, late);
    fleet.run();
    for member in [owner, late] {
        assert_eq!(seq(&mut fleet, member, &old.id()), 1, "{member}");
    }
}

#[test]
fn a_predecessor_that_may_yet_come_is_waited_for() {
    let mut played = Played::new(Vec::new());
    let readmission = played.readmit();
    let mut first = log(1);
    first.state(knowing(&[readmission]));
    let firsts = changes(&mut first, 2);
    let mut second = log(2).after(vec![first.tip().unwrap()]);
    second.state(knowing(&[readmission]));
    let seconds = changes(&mut second, 1);
    played.offer(&seconds);
    assert_eq!(seq(&mut played.fleet, played.owner, &second.id()), 0);
    assert_eq!(played.refusals(), [(second.id(), 1, Refusal::NeedPredecessor)]);
    played.offer(&firsts);
    played.offer(&seconds);
    assert_eq!(seq(&mut played.fleet, played.owner, &first.id()), 2);
    assert_eq!(seq(&mut played.fleet, played.owner, &second.id()), 1);
}

/// What was begun before a log that the loss concerns is concerned by it too: it is cut off, nobody serves it, and
/// whoever waited for it would wait for ever.
#[test]
fn a_predecessor_that_a_loss_cuts_off_is_not_waited_for_although_its_author_was_readmitted() {
    let mut first = log(1);
    changes(&mut first, 2);
    let mut second = log(2).after(vec![first.tip().unwrap()]);
    let seconds = changes(&mut second, 1);
    let mut played = Played::new(vec![second.tip().unwrap()]); // it lists the second alone
    played.readmit();
    played.offer(&seconds);
    assert_eq!(seq(&mut played.fleet, played.owner, &second.id()), 1);
}

/// A control log is never cut: one that is named and not here yet is on its way.
#[test]
fn a_control_log_of_one_who_lost_its_right_is_waited_for() {
    let mut first = log(1);
    let firsts = vec![first.control(&b"?"[..])];
    let mut second = log(2).after(vec![first.tip().unwrap()]);
    let seconds = vec![second.control(&b"?"[..])];
    let mut played = Played::new(Vec::new());
    played.offer(&seconds);
    assert_eq!(played.refusals(), [(second.id(), 1, Refusal::NeedPredecessor)]);
    played.offer(&firsts);
    played.offer(&seconds);
    assert_eq!(seq(&mut played.fleet, played.owner, &first.id()), 1);
    assert_eq!(seq(&mut played.fleet, played.owner, &second.id()), 1);
}

/// A strategy may find out late that a log was begun by a right: then what was kept apart counts, and can be served.
#[test]
fn what_was_kept_apart_counts_once_the_loss_is_lifted() {
    for restarted in [false, true] {
        let mut played = Played::new(Vec::new());
        let mut new = log(1);
        new.state(knowing(&[played.loss]));
        let entries = changes(&mut new, 3);
        played.offer(&entries);
        assert_eq!(played.quarantined(), 3);
        let (owner, loss) = (played.owner, played.loss);
        if restarted {
            restart(&mut played.fleet, owner);
        }
        played.fleet.control(owner, OpenStrategy::lift(samples::replica(DEVICE), loss));
        played.fleet.run();
        assert_eq!(seq(&mut played.fleet, owner, &new.id()), 3, "restarted: {restarted}");
        assert_eq!(played.quarantined(), 0);
        let reader = played.fleet.replica();
        played.fleet.connect(reader, owner);
        played.fleet.run();
        assert_eq!(seq(&mut played.fleet, reader, &new.id()), 3);
    }
}

/// Two who decide, two who write, and one who only listens; connections come and go. Whatever was lost, given again and
/// written by whom and heard by whom in what order: in the end all hold the same, and who may write does.
///
/// Nobody vouches here. A vouch may lift a log after a successor that rests on it was taken without it, and the frontier
/// then hides that it is missing: one of some thousand runs shows that.
#[test]
fn in_whatever_order_rights_come_and_go_all_come_to_the_same_end() {
    for seed in 0..100 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut below = move |most: u32| rng.next_u32() % most;
        let mut fleet = Fleet::new(seed);

        let members: Vec<Member> = (0..5).map(|_| fleet.replica()).collect();
        let (owners, writers) = ([members[0], members[1]], [members[2], members[3]]);
        let context = Fleet::context(0).id;
        let mut links: Vec<LinkId> = Vec::new();
        for _ in 0..60 {
            let (owner, writer) = (owners[below(2) as usize], writers[below(2) as usize]);
            let replica = fleet.id(writer);
            match below(12) {
                0..5 => {
                    let _ = fleet.try_write(writer, below(2) as u8, b"a change");
                }
                5 => {
                    let counts = fleet.node(owner).logs_of(&context, &replica);
                    let loss = fleet.loss(writer, &counts);
                    fleet.control(owner, loss);
                }
                6 | 7 => fleet.control(owner, OpenStrategy::readmit(replica)),
                8 => restart(&mut fleet, members[below(5) as usize]),
                9 | 10 => {
                    let (one, other) = (below(5) as usize, below(4) as usize + 1);
                    links.push(fleet.connect(members[one], members[(one + other) % 5]));
                    for _ in 0..below(40) {
                        fleet.step();
                    }
                }
                _ => {
                    if let Some(link) = links.pop() {
                        fleet.cut(link);
                    }
                }
            }
        }
        for (at, one) in members.iter().enumerate() {
            for other in &members[at + 1..] {
                fleet.connect(*one, *other);
                fleet.run();
            }
        }
        assert!(fleet.agree(&members), "seed {seed}");
        for writer in writers {
            let replica = fleet.id(writer);
            fleet.control(owners[0], OpenStrategy::readmit(replica));
            fleet.run();
            let written = write(&mut fleet, writer, 1);
            fleet.run();
            assert_eq!(seq(&mut fleet, members[4], &written[0].log), written[0].seq, "seed {seed}");
        }
        let newcomer = fleet.replica();
        fleet.connect(newcomer, members[4]);
        fleet.run();
        assert!(fleet.agree(&[newcomer, members[4]]), "seed {seed}: a newcomer");
    }
}
