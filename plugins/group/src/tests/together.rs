//! Honest people at the same time: what settles.

use partita_core::{EpochId, PartitionStrategy as _, Verdict};
use rand_chacha::rand_core::Rng as _;

use super::{
    net::{Device, card_of, invite, pair, reads, remove, settle},
    world::rng,
};
use crate::{Action, Group, GroupError, GroupEvent, History, Membership, Policy, Role, Terms, op::Op};

#[test]
fn who_is_added_while_another_rotates_gets_the_new_key_too() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    ben.call(|group, turn| group.rotate(turn)).unwrap();
    let rotated = ben.epoch();
    assert!(!cay.holds(&rotated));
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    assert!(cay.holds(&rotated));
}

#[test]
fn a_rotation_that_has_not_seen_a_removal_is_not_written_under() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    remove(&mut ada, &cay);
    // Deeper than the removal's own epoch, and with the removed as a recipient.
    for _ in 0..3 {
        ben.call(|group, turn| group.rotate(turn)).unwrap();
    }
    let stale = ben.strategy.epoch(&ben.context).unwrap().unwrap();
    cay.pull(&ben);
    assert!(cay.holds(&stale));
    settle(&mut [&mut ada, &mut ben]);
    cay.pull(&ben);
    let (by_ada, by_ben) = (ada.epoch(), ben.epoch());
    assert!(by_ada == by_ben && by_ada != stale && !cay.holds(&by_ada));
}

#[test]
fn two_removals_at_once_lead_to_an_epoch_that_neither_of_the_removed_gets() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    let mut dan = Device::added_by(&mut ada, 4, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay, &mut dan]);
    remove(&mut ada, &cay);
    remove(&mut ben, &dan);
    settle(&mut [&mut ada, &mut ben]);
    let epoch = ada.epoch();
    settle(&mut [&mut ada, &mut ben]);
    assert_eq!(ben.epoch(), epoch);
    for gone in [&mut cay, &mut dan] {
        gone.pull(&ada);
        gone.duties();
        assert!(!gone.holds(&epoch) && !reads(gone, &mut ada, epoch));
    }
}

#[test]
fn who_is_removed_and_added_again_writes_and_reads_on() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    let first = ada.epoch();
    remove(&mut ada, &cay);
    let between = ada.epoch();
    cay.pull(&ada);
    assert_eq!(cay.strategy.epoch(&cay.context).unwrap_err().to_string(), GroupError::Removed.to_string());
    assert!(ada.strategy.standing(&ada.context).has_lost(&cay.replica));
    let card = card_of(&cay);
    ada.call(|group, turn| group.add(turn, &card, Role::Write, History::All)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    assert!(cay.holds(&first) && cay.holds(&between));
    let epoch = cay.epoch();
    assert_eq!(cay.verdict_at(&ada, epoch), Verdict::Accept);
    let standing = ada.strategy.standing(&ada.context);
    assert!(!standing.has_lost(&cay.replica) && standing.has_loss(&cay.replica));
    assert_eq!(standing.cap(&cay.replica, &cay.data_log(), |_| false), Some(0), "its old log counts no further");
    assert_eq!(standing.cap(&cay.replica, &cay.data_log(), |_| true), None, "a log begun in knowledge of it does");
}

#[test]
fn of_a_demotion_and_a_promotion_at_once_the_demotion_holds() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    let who = cay.member();
    ada.call(|group, turn| group.set_role(turn, who, Role::Read)).unwrap();
    ben.call(|group, turn| group.set_role(turn, who, Role::Admin)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    for device in [&ada, &ben, &cay] {
        assert_eq!(device.role_of(&cay), Some(Role::Read));
    }
    ada.call(|group, turn| group.set_role(turn, who, Role::Write)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    assert_eq!(ben.role_of(&cay), Some(Role::Write), "and whoever knows of both decides anew");
}

#[test]
fn the_last_admin_stays_until_it_names_another() {
    let mut ada = Device::founder(1, Policy::default());
    let mut ben = Device::added_by(&mut ada, 2, Role::Write, History::All);
    let (me, other) = (ada.member(), ben.member());
    let last = GroupError::LastAdmin;
    assert!(last.to_string().contains("make another member an admin first"));
    assert_eq!(ada.call(|group, turn| group.leave(turn)), Err(last.clone()));
    assert_eq!(ada.call(|group, turn| group.remove(turn, me)), Err(last.clone()));
    assert_eq!(ada.call(|group, turn| group.set_role(turn, me, Role::Write)), Err(last.clone()));
    let device = ada.replica;
    assert_eq!(ada.call(|group, turn| group.remove_device(turn, device)), Err(last));
    ada.call(|group, turn| group.set_role(turn, other, Role::Admin)).unwrap();
    ada.call(|group, turn| group.leave(turn)).unwrap();
    settle(&mut [&mut ada, &mut ben]);
    assert_eq!((ben.role_of(&ada), ben.role_of(&ben)), (None, Some(Role::Admin)));
    // What it wrote before counts; its departure is no reason to refuse what it still brings.
    let tip = ada.view_tip();
    assert_eq!(ben.strategy.standing(&ben.context).cap(&ada.replica, &tip.log, |_| false), Some(tip.seq));
    let epoch = ben.epoch();
    ada.pull(&ben);
    assert!(!ada.holds(&epoch));
}

#[test]
fn two_admins_who_leave_at_once_leave_the_senior_behind() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    ada.call(|group, turn| group.leave(turn)).unwrap();
    ben.call(|group, turn| group.leave(turn)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    for device in [&ada, &ben, &cay] {
        assert_eq!(device.role_of(&ada), Some(Role::Admin));
        assert_eq!(device.role_of(&ben), None);
    }
}

/// Who built on it before can show it to others, and vouch itself.
#[test]
fn what_somebody_vouched_for_stays_proved_when_the_vouch_counts_no_more() {
    let (mut ada, mut ben) = pair();
    let cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben]);
    let witness = super::world::witness(ada.context, &cay.strategy.keys.signing, 3);
    remove(&mut ada, &cay);
    settle(&mut [&mut ada, &mut ben]);
    // Beside his own removal.
    ben.say(&[Op::Vouch(vec![witness.clone()])]);
    assert!(ben.strategy.standing(&ben.context).vouches.contains_key(&witness.tip()));
    remove(&mut ada, &ben);
    ada.pull(&ben);
    let standing = ada.strategy.standing(&ada.context);
    assert!(!standing.vouches.contains_key(&witness.tip()));
    assert_eq!(standing.signature(&witness.tip()), Some(witness.signature()));
}

#[test]
fn a_device_that_starts_again_knows_what_it_knew() {
    let (mut ada, mut ben) = pair();
    let invitation = invite(&mut ada, Terms::new(Role::Write));
    let mut cay = Device::invited(&invitation, 3);
    cay.pull(&ada);
    cay.writing = false;
    cay.duties();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    for device in [&ada, &ben, &cay] {
        let again = device.restarted();
        assert_eq!(again.members(), device.strategy.members());
        assert_eq!(again.status(), device.strategy.status());
        assert_eq!(again.name().as_deref(), Some("garden"));
        assert_eq!(Group::all(&*device.strategy.keystore).unwrap(), [device.context]);
    }
}

#[test]
fn what_changed_is_told_once_and_who_did_it_stays_in_the_history() {
    let (mut ada, mut ben) = pair();
    ben.strategy.take_events();
    let cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    ben.pull(&ada);
    let joined = GroupEvent::Joined { member: cay.member(), role: Some(Role::Write), membership: Membership::Active };
    assert_eq!(ben.strategy.take_events(), [joined]);
    assert_eq!(ben.strategy.take_events(), []);
    remove(&mut ada, &cay);
    ada.call(|group, turn| group.rename(turn, "orchard")).unwrap();
    ben.pull(&ada);
    let events = ben.strategy.take_events();
    assert!(events.contains(&GroupEvent::Gone { member: cay.member() }), "{events:?}");
    assert!(events.contains(&GroupEvent::Renamed { name: Some("orchard".into()) }), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, GroupEvent::Rotated { epoch: Some(_) })), "{events:?}");
    let history = ben.strategy.history();
    let removal = history.iter().find(|item| item.action == Action::Removed { member: cay.member() }).unwrap();
    assert!(removal.counts && removal.device == ada.replica);
}

/// Everything is lost, doubled and reordered for a while; then it heals.
#[test]
fn after_any_weather_everybody_agrees_without_another_word() {
    for seed in 0..20 {
        let mut rng = rng(seed);
        let mut below = |n: usize| (rng.next_u64() % n as u64) as usize;
        let mut ada = Device::founder(1, Policy::default());
        let ben = Device::added_by(&mut ada, 2, Role::Admin, History::All);
        let cay = Device::added_by(&mut ada, 3, Role::Admin, History::All);
        let dan = Device::added_by(&mut ada, 4, Role::Write, History::All);
        let mut all = [ada, ben, cay, dan];
        for step in 0..14 {
            let (actor, other) = (below(4), below(4));
            let (who, role) = (all[other].member(), [Role::Read, Role::Write, Role::Admin][below(3)]);
            let device = &mut all[actor];
            // Whoever may not is told so, and nothing is written.
            match below(6) {
                0 => drop(device.call(|group, turn| group.rotate(turn))),
                1 | 2 => drop(device.call(|group, turn| group.set_role(turn, who, role))),
                3 => drop(device.call(|group, turn| group.remove(turn, who))),
                4 => drop(device.call(|group, turn| group.invite(turn, Terms::new(role)))),
                _ => {
                    device.writing = step % 2 == 0;
                    device.duties();
                }
            }
            // Some of it arrives, some twice, in pieces.
            let (from, to) = (below(4), below(4));
            if from != to {
                let entries = all[from].entries.clone();
                let keep = below(entries.len() + 1);
                for said in entries.iter().take(keep).chain(entries.iter().take(keep / 2)) {
                    let heads = &said.header.stamp.as_ref().unwrap().heads;
                    if all[to].graph.missing(heads).is_empty() {
                        all[to].give(said);
                    }
                }
            }
        }
        let mut everybody: Vec<&mut Device> = all.iter_mut().collect();
        settle(&mut everybody);
        let first = &all[0];
        for device in &all[1..] {
            assert_eq!(device.strategy.members(), first.strategy.members(), "seed {seed}");
            assert_eq!(
                device.strategy.standing(&device.context),
                first.strategy.standing(&first.context),
                "seed {seed}"
            );
        }
        // And whoever may write agrees on the key, which whoever was removed lacks.
        let writers: Vec<usize> = (0..4).filter(|at| all[*at].strategy.role().is_some_and(Role::writes)).collect();
        let epochs: Vec<EpochId> =
            writers.iter().map(|at| all[*at].strategy.epoch(&all[*at].context).unwrap().unwrap()).collect();
        assert!(epochs.windows(2).all(|two| two[0] == two[1]), "seed {seed}");
        for device in all.iter().filter(|device| device.strategy.role().is_none()) {
            assert!(!device.holds(&epochs[0]), "seed {seed}: a removed device holds the key");
        }
    }
}
