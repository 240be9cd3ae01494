//! What members try who want more than they have, and accidents that look like it. Each was possible once.

use partita_core::{EpochId, PartitionStrategy as _, ReplicaId, Verdict};

use super::{
    net::{Device, card_of, relay, settle},
    world::{World, invite_keys, keys_of, role_of},
};
use crate::{
    Action, GroupError, History, Membership, Policy, Role, Terms, Uses,
    card::Card,
    epochs::Maker,
    invite::Invite,
    op::{Epoch, Op, Scope, Share},
    role::MemberId,
};

fn pair(policy: Policy) -> (Device, Device) {
    let mut ada = Device::founder(1, policy);
    let mut ben = Device::added_by(&mut ada, 2, Role::Admin, History::All);
    settle(&mut [&mut ada, &mut ben]);
    (ada, ben)
}

fn invite(admin: &mut Device, terms: Terms) -> crate::Invitation {
    let invitation = admin.call(|group, turn| group.invite(turn, terms)).unwrap();
    admin.duties();
    invitation
}

fn joined(invitation: &crate::Invitation, seed: u64, by: &Device) -> Device {
    let mut device = Device::invited(invitation, seed);
    device.writing = false;
    device.pull(by);
    device.duties();
    device
}

fn role(world: &mut World, name: &str) -> Option<Role> {
    let member = world.member(name);
    role_of(&world.all(), &member)
}

#[test]
fn a_founder_who_was_removed_does_not_found_the_group_again() {
    for what in ["remove", "role"] {
        let mut world = World::founded(&["ada", "ben"]);
        let words = if what == "remove" { vec!["remove", "ben"] } else { vec!["role", "ben", "read"] };
        world.act("r", "ada", &words, &["g"]);
        let before = role(&mut world, "ben");
        world.act("again", "ben", &["create"], &["r"]);
        assert_eq!(role(&mut world, "ben"), before);
        assert_ne!(before, Some(Role::Admin));
    }
}

#[test]
fn a_promotion_takes_nothing_from_what_was_done_before() {
    let (mut ada, mut ben) = pair(Policy::default());
    let mut cay = Device::added_by(&mut ben, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    let one = ben.signed(ben.witness(1).tip());
    for device in [&mut ada, &mut cay] {
        device.note(ben.replica, one);
    }
    let who = ben.member();
    for role in [Role::Read, Role::Write, Role::Relay, Role::Read] {
        ada.call(|group, turn| group.set_role(turn, who, role)).unwrap();
        settle(&mut [&mut ada, &mut ben, &mut cay]);
        assert_eq!(ada.role_of(&cay), Some(Role::Write), "whom ben had added while he could");
        let cap = ben.cap_at(&ada);
        assert!(cap.is_none() || cap == Some(1), "what ben had written: {cap:?}");
    }
}

#[test]
fn a_device_link_gives_no_keys_to_whoever_may_not_read() {
    let (mut ada, _) = pair(Policy::default());
    let mut rel = Device::added_by(&mut ada, 6, Role::Relay, History::All);
    // It promises itself reading.
    let (context, me) = (rel.context, rel.replica);
    let invite = Invite::sign(&context, &me, &invite_keys("x"), Some(rel.member()), Terms::new(Role::Read));
    rel.say(&[Op::Invite(Box::new(invite))]);
    ada.pull(&rel);
    ada.duties();
    let epoch = ada.epoch();
    let announced = &ada.strategy.state.epochs.announced[&epoch];
    assert!(ada.strategy.state.recipients(announced).ids.iter().all(|id| *id != invite_keys("x").id()));
    let shared = ada.strategy.state.epochs.shares_to(&epoch, &invite_keys("x").id()).count();
    assert_eq!(shared, 0);
}

#[test]
fn a_newcomer_with_two_devices_is_confirmed_once() {
    let (mut ada, mut ben) = pair(Policy::default());
    let invitation = invite(&mut ada, Terms::new(Role::Write));
    let mut cay = joined(&invitation, 3, &ada);
    // While it waits it adds devices, below and above its own id.
    let mut further: Vec<Device> = (70..76).map(|seed| cay.further(seed)).collect();
    let mut everybody: Vec<&mut Device> = further.iter_mut().collect();
    everybody.extend([&mut ada, &mut ben, &mut cay]);
    assert!(settle(&mut everybody) < 12);
    assert_eq!(ada.role_of(&cay), Some(Role::Write));
    assert_eq!(ada.strategy.members().iter().find(|one| one.id == cay.member()).unwrap().devices.len(), 7);
}

#[test]
fn a_device_link_that_was_revoked_or_used_twice_is_confirmed_by_nobody_by_itself() {
    let (mut ada, mut ben) = pair(Policy::default());
    let link = ben.call(|group, turn| group.invite_device(turn)).unwrap();
    ben.duties();
    ada.pull(&ben);
    // A thief accepts while ben revokes, and says that ben leaves.
    let mut thief = joined(&link, 66, &ada);
    thief.say(&[Op::Leave(Vec::new())]);
    ben.call(|group, turn| group.revoke_invitation(turn, link.id())).unwrap();
    ada.pull(&thief);
    settle(&mut [&mut ada, &mut ben]);
    assert_eq!(ada.strategy.state.view().role(&thief.replica), None);
    assert_eq!(ada.role_of(&ben), Some(Role::Admin));
    let epoch = ben.epoch();
    assert!(!thief.holds(&epoch));
    // Two accept at once.
    let link = ben.call(|group, turn| group.invite_device(turn)).unwrap();
    settle(&mut [&mut ada, &mut ben]);
    let (tablet, thief) = (joined(&link, 7, &ben), joined(&link, 67, &ben));
    ada.pull(&tablet);
    ada.pull(&thief);
    settle(&mut [&mut ada, &mut ben]);
    for device in [&tablet, &thief] {
        assert_eq!(ben.strategy.state.view().role(&device.replica), None);
    }
    let (yes, no) = (tablet.replica, thief.replica);
    ben.call(|group, turn| group.confirm(turn, yes)).unwrap();
    ben.call(|group, turn| group.refuse(turn, no)).unwrap();
    settle(&mut [&mut ada, &mut ben]);
    assert_eq!(ada.strategy.state.view().role(&yes), Some(Role::Admin));
    assert_eq!(ada.strategy.state.view().role(&no), None);
}

#[test]
fn who_was_removed_does_not_write_on_under_a_right_that_is_void() {
    let (mut ada, mut ben) = pair(Policy::default());
    let mut eve = Device::added_by(&mut ada, 66, Role::Admin, History::All);
    settle(&mut [&mut ada, &mut ben, &mut eve]);
    let (who, them) = (ben.member(), eve.member());
    ada.call(|group, turn| group.remove(turn, who)).unwrap();
    eve.pull(&ada);
    // She has heard of ben's removal and not of her own, which is on its way.
    ada.call(|group, turn| group.remove(turn, them)).unwrap();
    let card = card_of(&ben);
    eve.call(|group, turn| group.add(turn, &card, Role::Write, History::All)).unwrap();
    ben.pull(&eve);
    ada.pull(&eve);
    let epoch = EpochId::default();
    assert_eq!(ben.verdict_at(&ada, epoch), Verdict::Accept, "by what the log names");
    let knows = |id: &partita_core::EntryId| ben.graph.contains(id);
    let cap = ada.strategy.standing(&ada.context).cap(&ben.replica, &ben.data_log(), knows);
    assert_eq!(cap, Some(0), "and still it counts for nothing");
}

#[test]
fn what_a_demoted_admin_boxed_to_others_is_closed() {
    let (mut ada, mut ben) = pair(Policy::default());
    let link = invite(&mut ben, Terms::new(Role::Write));
    settle(&mut [&mut ada, &mut ben]);
    let before = ada.epoch();
    let mut eve = Device::invited(&link, 66);
    eve.pull(&ada);
    assert!(eve.holds(&before));
    // Without an epoch of its own: the next writer begins one.
    let set = crate::op::SetRole { member: ben.member(), role: Role::Write, caps: Vec::new() };
    ada.say(&[Op::SetRole(set)]);
    let after = ada.epoch();
    eve.pull(&ada);
    assert!(after != before && !eve.holds(&after));
}

#[test]
fn thousands_who_added_each_other_cost_no_stack_and_little_time() {
    let mut world = World::founded(&["p0"]);
    let mut last = "g".to_owned();
    for n in 0..1500 {
        let (actor, who, label) = (format!("p{n}"), format!("p{}", n + 1), format!("a{n}"));
        world.act(&label, &actor, &["add", &who, "admin"], &[&last]);
        last = label;
    }
    world.act("x", "p1500", &["remove", "p1499"], &[&last]);
    world.act("y", "p1499", &["remove", "p1500"], &[&last]);
    assert_eq!((role(&mut world, "p1499"), role(&mut world, "p1500")), (Some(Role::Admin), None));
}

#[test]
fn layers_of_admins_who_add_each_other_are_ranked_at_once() {
    let mut world = World::founded(&["a0", "b0"]);
    let mut last = ["g".to_owned(), "g".to_owned()];
    for layer in 0..40 {
        let mut next = Vec::new();
        for by in ["a", "b"] {
            let actor = format!("{by}{layer}");
            let heads: Vec<&str> = last.iter().map(String::as_str).collect();
            for who in ["a", "b"] {
                let (label, who) = (format!("{by}{who}{layer}"), format!("{who}{}", layer + 1));
                world.act(&label, &actor, &["add", &who, "admin"], &heads);
                next.push(label);
            }
        }
        last = [next[1].clone(), next[3].clone()];
    }
    let heads: Vec<&str> = last.iter().map(String::as_str).collect();
    world.act("x", "a40", &["remove", "b40"], &heads);
    world.act("y", "b40", &["remove", "a40"], &heads);
    let roles = [role(&mut world, "a40"), role(&mut world, "b40")];
    assert_eq!(roles.iter().filter(|role| role.is_some()).count(), 1);
}

#[test]
fn an_invitation_is_ended_by_whoever_may_and_by_nobody_who_had_not_seen_it() {
    let mut world = World::founded(&["ada"]);
    world.act("r", "ada", &["add", "rel", "relay"], &[]);
    world.act("i", "ada", &["invite", "x", "write"], &[]);
    world.act("early", "rel", &["revoke", "x"], &["r"]);
    world.act("late", "rel", &["revoke", "x"], &["i"]);
    assert_eq!(world.all().view().invites.len(), 1);
    world.act("end", "ada", &["revoke", "x"], &[]);
    assert!(world.all().view().invites.is_empty());
}

#[test]
fn nobody_makes_anothers_invitation_its_own() {
    let mut world = World::founded(&["ada"]);
    world.act("r", "ada", &["add", "rea", "read"], &[]);
    world.act("i", "ada", &["invite", "x", "write", "many"], &[]);
    // The key is public; and whoever joined by the link has even its secret.
    let (context, rea) = (world.genesis.context().unwrap().id, world.device("rea"));
    let ada = world.device("ada");
    let copied = Invite::sign(&context, &ada, &invite_keys("x"), Some(MemberId(rea)), Terms::new(Role::Read));
    world.say("copied", "rea", &["r"], vec![Op::Invite(Box::new(copied))]);
    world.act("own", "rea", &["invite-device", "x"], &["r"]);
    world.act("revoke", "rea", &["revoke", "x"], &["i"]);
    world.act("j", "dan", &["accept", "x"], &["i", "revoke"]);
    world.act("c", "ada", &["decide", "x", "dan", "yes"], &["j"]);
    assert_eq!(role(&mut world, "dan"), Some(Role::Write));
    let member = world.member("rea");
    assert_eq!(world.all().view().members[&member].devices.len(), 1);
}

#[test]
fn what_others_claim_of_a_device_is_nothing_to_it() {
    let mut world = World::founded(&["ada", "ben"]);
    world.act("c", "ada", &["add", "cay", "admin"], &[]);
    world.act("d", "cay", &["add", "dan", "write"], &["c"]);
    // Eve, whom nobody knows, says that cay's device is ben's and leaves with it; ben's op says the same of his own accord.
    let stray = Card::new(&keys_of("cay"), Some(world.member("ben")));
    world.say("claim", "eve", &["d"], vec![Op::AddDevice(stray)]);
    world.act("leave", "eve", &["leave"], &["claim"]);
    world.act("gone", "ada", &["remove", "ben"], &["c"]);
    assert_eq!(role(&mut world, "cay"), Some(Role::Admin));
    assert_eq!(role(&mut world, "dan"), Some(Role::Write));
}

#[test]
fn who_joined_by_a_link_is_junior_to_whoever_was_there() {
    let mut world = World::founded(&["ada"]);
    world.act("b", "ada", &["add", "ben", "admin"], &[]);
    world.act("i", "ada", &["invite", "x", "admin"], &[]);
    world.act("j", "eve", &["accept", "x"], &["i"]);
    world.act("c", "ada", &["decide", "x", "eve", "yes"], &["j"]);
    world.act("r1", "ben", &["remove", "eve"], &["c"]);
    world.act("r2", "eve", &["remove", "ben"], &["c"]);
    assert_eq!(role(&mut world, "ben"), Some(Role::Admin));
    assert_eq!(role(&mut world, "eve"), None);
}

#[test]
fn a_stolen_phone_does_not_take_out_the_laptop_with_old_parents() {
    let mut world = World::founded(&["ada"]);
    world.act("p", "ada", &["add-device", "ada.2"], &[]);
    world.act("w", "ada", &["add", "ben", "write"], &[]);
    world.act("stolen", "ada", &["remove-device", "ada.2"], &[]);
    world.act("revenge", "ada.2", &["remove-device", "ada"], &["p"]);
    let state = world.all();
    let (laptop, phone) = (world.device("ada"), world.device("ada.2"));
    assert_eq!((state.view().role(&laptop), state.view().role(&phone)), (Some(Role::Admin), None));
}

#[test]
fn nobody_is_safe_from_removal_by_having_much() {
    let (mut ada, mut ben) = pair(Policy::default());
    let who = ben.member();
    for n in 0..3000u32 {
        let mut log = [1; 16];
        log[..4].copy_from_slice(&n.to_be_bytes());
        let tip =
            partita_core::Tip { log: partita_core::LogId::from_bytes(log), seq: 1, head: partita_core::EntryId::NONE };
        ada.note(ben.replica, ben.signed(tip));
    }
    for seed in 100..180 {
        let further = Card::new(&super::world::keys_of(&format!("further {seed}")), Some(who));
        ben.say(&[Op::AddDevice(further)]);
    }
    ada.pull(&ben);
    let devices = ada.strategy.members().iter().find(|member| member.id == who).unwrap().devices.len();
    assert_eq!(devices, 65, "as many as a member may have");
    ada.call(|group, turn| group.remove(turn, who)).unwrap();
    assert_eq!(ada.role_of(&ben), None);
}

/// Every epoch has a box for each device. One that was taken out and came back counts again.
#[test]
fn taking_devices_out_and_back_in_makes_no_room_for_more() {
    let mut world = World::founded(&["ada"]);
    let further = |range: std::ops::Range<u32>| range.map(|n| format!("ada.{n}")).collect::<Vec<_>>();
    for name in further(0..64) {
        world.act(&name, "ada", &["add-device", &name], &[]);
    }
    for name in further(0..8) {
        world.act(&format!("out {name}"), "ada", &["remove-device", &name], &[]);
        world.act(&format!("again {name}"), "ada", &["add-device", &name], &[]);
    }
    for name in further(64..72) {
        world.act(&name, "ada", &["add-device", &name], &[]);
    }
    let member = world.member("ada");
    assert_eq!(world.all().view().members[&member].devices.len(), 65);
}

#[test]
fn empty_epochs_and_those_of_people_without_the_right_make_nobody_complain() {
    let (mut ada, mut ben) = pair(Policy::default());
    let mut rea = Device::added_by(&mut ada, 5, Role::Read, History::All);
    settle(&mut [&mut ada, &mut ben, &mut rea]);
    let empty = || Op::Epoch(Epoch { scope: Scope::Live, commitment: Default::default(), boxes: Default::default() });
    let full = Op::Epoch(Epoch { scope: Scope::Live, commitment: Default::default(), boxes: vec![1; 3 * 80].into() });
    rea.say(&[empty(), full, empty()]);
    ben.say(&[empty(), empty()]);
    ada.pull(&rea);
    ada.pull(&ben);
    ada.writing = false;
    assert_eq!(ada.duties(), 0);
}

#[test]
fn garbage_from_many_devices_of_one_member_keeps_no_key_from_anybody() {
    let (mut ada, mut ben) = pair(Policy::default());
    let mut eve = Device::added_by(&mut ada, 66, Role::Write, History::All);
    let invitation = invite(&mut ada, Terms::new(Role::Write));
    settle(&mut [&mut ada, &mut ben, &mut eve]);
    let epoch = ada.epoch();
    settle(&mut [&mut ada, &mut ben, &mut eve]);
    let cay = Device::invited(&invitation, 3);
    let (to, key) = (cay.replica, cay.strategy.keys.boxes.public());
    let link = (invitation.id(), invite_keys("x").boxes.public());
    let mut further: Vec<Device> = (70..76).map(|seed| eve.further(seed)).collect();
    for device in &mut further {
        device.pull(&eve);
        let maker = Maker { context: *ada.context.as_bytes(), device: device.replica };
        let wrong = partita_crypto::EpochSecret::random(&mut device.rng);
        for recipient in [(to, key), link] {
            let share = Share::create(&mut device.rng, maker, recipient, &[(epoch, &wrong)]).unwrap();
            device.say(&[Op::Share(share)]);
        }
        eve.pull(device);
    }
    settle(&mut [&mut ada, &mut ben, &mut eve]);
    let mut cay = cay;
    cay.writing = false;
    cay.pull(&eve);
    cay.duties();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    assert!(cay.holds(&epoch));
}

#[test]
fn a_role_is_given_to_nobody_whom_nobody_has_confirmed() {
    let (mut ada, mut ben) = pair(Policy { confirm_by_hand: true, ..Policy::default() });
    let link = invite(&mut ada, Terms::new(Role::Read));
    settle(&mut [&mut ada, &mut ben]);
    let mut eve = joined(&link, 77, &ada);
    ada.pull(&eve);
    let who = eve.member();
    let set = ada.call(|group, turn| group.set_role(turn, who, Role::Write));
    assert_eq!(set, Err(GroupError::Unconfirmed(who)));
    // Said all the same it gives no right that others do not see: not at the relay either, which asks the same.
    ada.say(&[Op::SetRole(crate::op::SetRole { member: who, role: Role::Write, caps: Vec::new() })]);
    eve.pull(&ada);
    let state = &ada.strategy.state;
    assert_eq!(state.resolver().role_of(crate::resolve::Point::All, &eve.replica), Some(Role::Read));
    assert_eq!(ada.role_of(&eve), Some(Role::Read));
    assert_eq!(eve.verdict_at(&ada, EpochId::default()), Verdict::Excluded(partita_core::Refusal::Denied));
    ada.call(|group, turn| group.confirm(turn, eve.replica)).unwrap();
    ada.call(|group, turn| group.set_role(turn, who, Role::Write)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut eve]);
    assert_eq!(ben.role_of(&eve), Some(Role::Write));
}

/// Somebody's phone was stolen, and an admin removed her until she came by with her laptop.
#[test]
fn who_is_let_in_again_does_not_bring_back_the_device_for_which_it_was_removed() {
    let (mut ada, _) = pair(Policy::default());
    let mut eve = Device::added_by(&mut ada, 66, Role::Write, History::All);
    let mut phone = eve.further(67);
    settle(&mut [&mut ada, &mut eve, &mut phone]);
    let (who, laptop) = (eve.member(), card_of(&eve));
    ada.call(|group, turn| group.remove(turn, who)).unwrap();
    ada.call(|group, turn| group.add(turn, &laptop, Role::Write, History::All)).unwrap();
    settle(&mut [&mut ada, &mut eve]);
    phone.pull(&ada);
    for device in [&ada, &eve, &phone] {
        let state = &device.strategy.state;
        assert_eq!(state.view().role(&phone.replica), None);
        assert_eq!(state.resolver().role_of(crate::resolve::Point::All, &phone.replica), None);
        let members = device.strategy.members();
        assert_eq!(members.iter().find(|member| member.id == who).unwrap().devices, [eve.replica]);
    }
    assert_eq!(phone.strategy.status().why_not, Some(GroupError::Removed));
    let epoch = ada.epoch();
    eve.pull(&ada);
    phone.pull(&ada);
    assert!(eve.holds(&epoch) && !phone.holds(&epoch));
    // Once she has it again she says so.
    let card = card_of(&phone);
    eve.call(|group, turn| group.add_device(turn, &card)).unwrap();
    settle(&mut [&mut ada, &mut eve, &mut phone]);
    assert_eq!(phone.strategy.role(), Some(Role::Write));
    assert!(phone.holds(&epoch));
}

#[test]
fn an_admin_without_a_device_is_none() {
    let (ada, mut ben) = pair(Policy::default());
    let lost = ada.replica;
    ben.call(|group, turn| group.remove_device(turn, lost)).unwrap();
    assert_eq!(ben.call(|group, turn| group.leave(turn)), Err(GroupError::LastAdmin));
    settle(&mut [&mut ben]);
}

#[test]
fn who_is_removed_does_not_come_again_by_the_link_by_which_it_came() {
    let (mut ada, mut ben) = pair(Policy::default());
    let invitation = invite(&mut ada, Terms::new(Role::Write).uses(Uses::Many));
    let mut eve = joined(&invitation, 66, &ada);
    settle(&mut [&mut ada, &mut ben, &mut eve]);
    let who = eve.member();
    ada.call(|group, turn| group.remove(turn, who)).unwrap();
    assert!(ada.strategy.invitations().is_empty());
    let mut node = relay(ada.context);
    node.pull(&ada);
    let session = partita_core::Transcript { handshake: [1; 32], prover_dialled: true, remote_pinned: false };
    let info = partita_core::ContextInfo { id: ada.context, kind: ada.strategy.kinds()[0].clone() };
    let key = eve.strategy.keys.signing.verifying_key();
    let shown = node.strategy.auth().verify(super::net::at(0), &session, &key, &info, &eve.proof(&session));
    assert!(shown.is_err());
}

#[test]
fn a_void_addition_brands_nobody() {
    let (mut ada, _) = pair(Policy::default());
    let mut rel = Device::added_by(&mut ada, 6, Role::Relay, History::All);
    let invitation = invite(&mut ada, Terms::new(Role::Write));
    rel.pull(&ada);
    let mut cay = Device::invited(&invitation, 3);
    let card = card_of(&cay);
    rel.say(&[Op::Add(crate::op::Add { card, role: Role::Write, history: History::All })]);
    ada.pull(&rel);
    cay.pull(&ada);
    cay.writing = false;
    assert_eq!(cay.duties(), 1);
    settle(&mut [&mut ada, &mut cay]);
    assert_eq!(ada.role_of(&cay), Some(Role::Write));
}

#[test]
fn who_accepts_late_is_refused_and_who_accepted_in_time_is_confirmed_late() {
    let (mut ada, _) = pair(Policy::default());
    let invitation = invite(&mut ada, Terms::new(Role::Write).uses(Uses::Many).expires(1_000_050));
    let mut node = relay(ada.context);
    node.pull(&ada);
    let (mut timely, mut late) = (Device::invited(&invitation, 3), Device::invited(&invitation, 4));
    (timely.now, late.now) = (super::net::at(40), super::net::at(60));
    for device in [&mut timely, &mut late] {
        device.writing = false;
        for said in node.entries.clone() {
            device.give(&said);
        }
        device.duties();
    }
    ada.now = super::net::at(100);
    ada.pull(&timely);
    ada.pull(&late);
    settle(&mut [&mut ada]);
    assert_eq!((ada.role_of(&timely), ada.role_of(&late)), (Some(Role::Write), None));
    let refused = |item: &crate::HistoryItem| item.action == Action::Refused { device: late.replica };
    assert!(ada.strategy.history().iter().any(refused));
}

#[test]
fn a_device_whose_keystore_is_older_than_its_store_gets_its_keys_again() {
    let (mut ada, mut ben) = pair(Policy::default());
    let old = ben.strategy.record.clone();
    for _ in 0..2 {
        ben.call(|group, turn| group.rotate_device_key(turn)).unwrap();
    }
    settle(&mut [&mut ada, &mut ben]);
    // The keystore of before: none of the keys that the group knows.
    old.save(&*ben.strategy.keystore).unwrap();
    let mut restored = Device::of(ben.restarted(), 2);
    restored.pull(&ben);
    settle(&mut [&mut ada, &mut restored]);
    ada.call(|group, turn| group.rotate(turn)).unwrap();
    let epoch = ada.epoch();
    settle(&mut [&mut ada, &mut restored]);
    assert!(restored.holds(&epoch));
    // And a device that is added again shows a key that it still has.
    let who = ben.member();
    ada.call(|group, turn| group.remove(turn, who)).unwrap();
    let card = card_of(&ben);
    ada.call(|group, turn| group.add(turn, &card, Role::Write, History::All)).unwrap();
    ben.pull(&ada);
    let epoch = ada.epoch();
    ben.pull(&ada);
    assert!(ben.holds(&epoch));
}

#[test]
fn many_heads_are_merged_by_whoever_writes() {
    let (mut ada, mut ben) = pair(Policy::default());
    let old = ben.graph.heads();
    for n in 0..400u16 {
        let mut twin = Device::of(ben.restarted(), 2);
        twin.pull(&ada);
        let mut said = twin.write_with(&old, crate::op::Payload::encode(&[Op::Merge]));
        // Each in a log of its own.
        let nonce = [n.to_be_bytes(); 8].concat().try_into().unwrap();
        said.header.log = partita_core::LogId::derive(&ada.context, &ben.replica, &nonce);
        said.id = said.header.id();
        ada.give(&said);
        if n % 100 == 0 {
            ben.give(&said);
        }
    }
    assert!(ada.graph.heads().len() > 300);
    ada.writing = false;
    assert!(ada.duties() <= 2);
    assert_eq!(ada.graph.heads().len(), 1);
    let waiting = ada.strategy.members().iter().any(|member| member.membership != Membership::Active);
    assert!(!waiting && ada.strategy.role() == Some(Role::Admin));
    let _: ReplicaId = ada.replica;
}

#[test]
fn who_leaves_with_anothers_name_takes_nothing_from_it() {
    let mut world = World::founded(&["ada", "ben"]);
    world.act("c", "ada", &["add", "cay", "write"], &[]);
    world.act("e", "ada", &["add", "eve", "relay"], &[]);
    let claim = Card::new(&keys_of("eve"), Some(world.member("ada")));
    world.say("gone", "eve", &["e"], vec![Op::AddDevice(claim), Op::Leave(Vec::new())]);
    let state = world.all();
    assert_eq!((role(&mut world, "ada"), role(&mut world, "cay")), (Some(Role::Admin), Some(Role::Write)));
    assert_eq!(role(&mut world, "eve"), None);
    let ada = world.device("ada");
    assert!(!state.standing().has_loss(&ada));
}

#[test]
fn a_card_that_is_shown_again_mutes_nobody() {
    let mut world = World::founded(&["ada", "ben"]);
    world.act("r", "ada", &["add", "rea", "relay"], &[]);
    world.act("d", "ben", &["add-device", "ben.2"], &["g"]);
    let first = Op::AddDevice(world.card("ben"));
    let context = world.genesis.context().unwrap().id;
    assert!(crate::op::Payload::decode(&context, &crate::op::Payload::encode(&[first])).is_err());
    let further = Op::AddDevice(world.card("ben.2"));
    world.say("again", "rea", &["r", "d"], vec![further]);
    let (state, tablet) = (world.all(), world.device("ben.2"));
    assert_eq!(state.view().role(&tablet), Some(Role::Admin));
    assert_eq!(
        state
            .standing()
            .cap(&tablet, &partita_core::LogId::default(), |id| world.closure(&[world.id("d")]).contains(id)),
        None
    );
}

#[test]
fn a_refusal_takes_nothing_of_what_was_done_as_a_member_before() {
    let mut world = World::founded(&["ada"]);
    world.act("p", "ada", &["add", "pat", "admin"], &[]);
    world.act("c", "pat", &["add", "cay", "write"], &["p"]);
    world.act("l", "pat", &["leave"], &["c"]);
    world.act("i", "ada", &["invite", "x", "write"], &["l"]);
    world.act("j", "pat", &["accept", "x"], &["i"]);
    world.act("n", "ada", &["decide", "x", "pat", "no"], &["j"]);
    let (state, pat) = (world.all(), world.device("pat"));
    assert_eq!((role(&mut world, "pat"), role(&mut world, "cay")), (None, Some(Role::Write)));
    let log = state.ledger.get(&world.id("l")).unwrap().log;
    assert!(state.standing().cap(&pat, &log, |_| false) >= Some(2), "what it did until it left");
}

#[test]
fn leaving_again_and_again_costs_nothing() {
    let mut world = World::founded(&["ada"]);
    world.act("p", "ada", &["add", "pat", "write"], &[]);
    let leaves = || (0..16).map(|_| Op::Leave(Vec::new())).collect::<Vec<Op>>();
    for n in 0..6 {
        world.say(&format!("a{n}"), "ada", &[], leaves());
        world.say(&format!("l{n}"), "pat", &["p"], leaves());
    }
    assert_eq!(role(&mut world, "ada"), Some(Role::Admin));
    assert_eq!(role(&mut world, "pat"), None);
}

#[test]
fn an_inviter_who_was_removed_brings_no_link_back_with_it() {
    let (mut ada, mut ben) = pair(Policy::default());
    let link = invite(&mut ben, Terms::new(Role::Write));
    settle(&mut [&mut ada, &mut ben]);
    let (who, card) = (ben.member(), card_of(&ben));
    ada.call(|group, turn| group.remove(turn, who)).unwrap();
    ada.call(|group, turn| group.add(turn, &card, Role::Admin, History::All)).unwrap();
    settle(&mut [&mut ada, &mut ben]);
    assert!(ada.strategy.invitations().is_empty());
    assert_eq!(ada.epoch(), ben.epoch());
    let mut eve = Device::invited(&link, 66);
    eve.pull(&ada);
    assert!(!eve.holds(&ada.epoch()));
}

#[test]
fn what_others_repeat_of_an_acceptance_says_nothing_about_whoever_accepts() {
    let (mut ada, _) = pair(Policy::default());
    let mut rea = Device::added_by(&mut ada, 5, Role::Read, History::All);
    let invitation = invite(&mut ada, Terms::new(Role::Write).expires(1_000_050));
    let mut cay = Device::invited(&invitation, 3);
    cay.writing = false;
    cay.pull(&ada);
    cay.duties();
    // Somebody says it again, late, and shares what it likes with a link of its own under cay's card.
    rea.pull(&cay);
    let accept = cay.entries.last().unwrap().payload.clone();
    rea.now = super::net::at(90);
    rea.append(accept);
    let stray = crate::invite::Accept::sign(&rea.context, &invite_keys("y").signing, card_of(&cay));
    rea.say(&[Op::Accept(Box::new(stray))]);
    ada.pull(&rea);
    ada.now = super::net::at(95);
    settle(&mut [&mut ada, &mut cay]);
    assert_eq!(ada.role_of(&cay), Some(Role::Write));
    assert_eq!(ada.strategy.state.invitations_of(&cay.replica), [invitation.id()]);
}

/// Whoever may only read can write entries all the same: they count nowhere, and must not take the room of those that do.
#[test]
fn an_invitation_that_is_repeated_accepted_and_decided_again_and_again_takes_no_room() {
    let mut world = World::founded(&["ada"]);
    world.act("r", "ada", &["add", "rea", "read"], &[]);
    let (context, rea) = (world.genesis.context().unwrap().id, world.device("rea"));
    let (keys, card) = (invite_keys("x"), world.card("eve"));
    let made = Invite::sign(&context, &rea, &keys, None, Terms::new(Role::Write));
    let accepted = crate::invite::Accept::sign(&context, &keys.signing, card.clone());
    let decided = crate::op::Decide { invite: keys.id(), device: card.device(), admit: true };
    for n in 0..8 {
        let again = |op: Op| vec![op; 16];
        world.say(&format!("made {n}"), "rea", &["r"], again(Op::Invite(Box::new(made.clone()))));
        world.say(&format!("accepted {n}"), "rea", &[], again(Op::Accept(Box::new(accepted.clone()))));
    }
    for n in 0..8 {
        world.say(&format!("decided {n}"), "rea", &[], vec![Op::Decide(decided); 16]);
    }
    let state = world.all();
    let members = state.ledger.members.values();
    let admissions: usize = members.map(|about| about.admissions.len()).sum();
    let ops = state.ledger.ops.len();
    assert!(admissions <= ops, "{admissions} admissions of {ops} ops");
    assert_eq!(role(&mut world, "eve"), None);
}

/// Whether there is room for one more device rests on ops that are not decided when it is asked first.
#[test]
fn whether_a_device_has_room_does_not_rest_on_the_order_in_which_things_are_heard() {
    let mut world = World::founded(&["ada"]);
    world.act("m", "ada", &["add", "mal", "read"], &[]);
    for n in 0..63 {
        world.act(&format!("{n}"), "mal", &["add-device", &format!("mal.{n}")], &["m"]);
    }
    world.act("ready", "mal.1", &["rotate"], &["62"]);
    world.act("a", "mal.0", &["add-device", "mal.64"], &["62"]);
    world.act("b", "mal", &["add-device", "mal.65"], &["a"]);
    let device = world.device("mal.0");
    let lost = crate::op::RemoveDevice { device, caps: Vec::new() };
    world.say("l", "mal.1", &["62"], vec![Op::RemoveDevice(lost)]);
    let mut found = Vec::new();
    let (a, b, l) = (world.said.len() - 3, world.said.len() - 2, world.said.len() - 1);
    let before: Vec<usize> = (0..a).collect();
    for last in [[a, b, l], [l, a, b], [a, l, b]] {
        let order: Vec<usize> = before.iter().copied().chain(last).collect();
        let state = world.heard(&order);
        let member = world.member("mal");
        found.push(state.view().members[&member].devices.clone());
    }
    assert!(
        found.windows(2).all(|pair| pair[0] == pair[1]),
        "{:?}",
        found.iter().map(std::collections::BTreeMap::len).collect::<Vec<_>>()
    );
}

/// Whoever holds a single-use link that was refused makes another key.
#[test]
fn a_link_whose_use_was_refused_lets_nobody_else_in() {
    let (mut ada, mut ben) = pair(Policy { confirm_by_hand: true, ..Policy::default() });
    let link = invite(&mut ada, Terms::new(Role::Write));
    settle(&mut [&mut ada, &mut ben]);
    let mut fay = Device::invited(&link, 78);
    fay.writing = false;
    fay.pull(&ada);
    let eve = joined(&link, 77, &ada);
    ada.pull(&eve);
    ada.call(|group, turn| group.refuse(turn, eve.replica)).unwrap();
    fay.duties(); // under what it knew before
    ada.pull(&fay);
    settle(&mut [&mut ada, &mut ben]);
    assert_eq!(ada.role_of(&fay), None);
    assert!(ada.strategy.waiting().is_empty());
}

/// A refusal cannot say how far what somebody wrote counts. Where somebody else confirmed at the same time, it takes nothing away.
#[test]
fn who_was_confirmed_beside_a_refusal_is_in_until_it_is_removed() {
    let (mut ada, mut ben) = pair(Policy { confirm_by_hand: true, ..Policy::default() });
    let link = invite(&mut ada, Terms::new(Role::Write));
    settle(&mut [&mut ada, &mut ben]);
    let mut eve = joined(&link, 79, &ada);
    ada.pull(&eve);
    ben.pull(&eve);
    ada.call(|group, turn| group.confirm(turn, eve.replica)).unwrap();
    ben.call(|group, turn| group.refuse(turn, eve.replica)).unwrap();
    assert_eq!(ben.role_of(&eve), None, "while nobody else decided");
    settle(&mut [&mut ada, &mut ben, &mut eve]);
    for device in [&ada, &ben, &eve] {
        assert_eq!(device.role_of(&eve), Some(Role::Write));
    }
    let who = eve.member();
    ben.call(|group, turn| group.remove(turn, who)).unwrap();
    settle(&mut [&mut ada, &mut ben]);
    assert_eq!(ada.role_of(&eve), None);
    assert!(eve.cap_at(&ada).is_some(), "and what it wrote since counts as far as ben held it");
}

/// Which of two acceptances is meant is no matter of which one came first.
#[test]
fn who_accepts_two_links_is_the_same_to_all_whichever_they_heard_of_first() {
    let mut world = World::founded(&["ada"]);
    world.act("x", "ada", &["invite", "x", "write"], &[]);
    world.act("y", "ada", &["invite", "y", "write"], &["x"]);
    world.act("jx", "eve", &["accept", "x"], &["y"]);
    world.forget("eve");
    world.act("jy", "eve", &["accept", "y"], &["y"]);
    world.act("r", "ada", &["revoke", "x"], &["y"]);
    let member = world.member("eve");
    let mut found = Vec::new();
    for order in world.orders() {
        found.push(world.heard(&order).view().members.get(&member).map(|eve| (eve.membership, eve.invite)));
    }
    assert!(found.len() > 1);
    assert!(found.iter().all(|one| *one == Some((Membership::Pending, Some(invite_keys("y").id())))), "{found:?}");
}
