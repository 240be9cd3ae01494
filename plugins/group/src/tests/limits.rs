//! Many of something: what one member can write costs the others little, and leaves them room.

use super::world::{World, invite_keys, role_of};
use crate::{
    Role, Terms,
    invite::{Invite, InviteKeys},
    op::{Op, RemoveDevice, Scope},
    role::MemberId,
    state::State,
};

/// A replica that hears all of this and is asked once.
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is promised")]
fn heard_within(world: &World, time: std::time::Duration) -> State {
    let began = std::time::Instant::now();
    let mut state = State::new(world.genesis.context().unwrap().id);
    for said in &world.said {
        state.insert(&said.entry()).unwrap();
    }
    let _ = state.view();
    let took = began.elapsed();
    assert!(took < time, "{took:?}");
    state
}

/// Each leave would cut off every other, 16 million times: the lowest role could keep everybody busy for good.
#[test]
fn who_leaves_in_hundreds_of_logs_at_once_just_leaves() {
    let mut world = World::founded(&["ada"]);
    world.act("p", "ada", &["add", "pat", "relay"], &[]);
    for n in 0..250 {
        let leaves = (0..16).map(|_| Op::Leave(Vec::new())).collect();
        world.say_apart(&format!("l{n}"), "pat", &["p"], leaves);
    }
    let state = heard_within(&world, std::time::Duration::from_secs(30));
    let (ada, pat) = (world.member("ada"), world.member("pat"));
    assert_eq!((role_of(&state, &ada), role_of(&state, &pat)), (Some(Role::Admin), None));
    let counts = |label: &str| {
        let held = state.ledger.get(&world.id(label)).unwrap();
        let counting = held.ops().iter().enumerate().filter(|(index, op)| state.resolver().op_counts(held, *index, op));
        counting.count()
    };
    assert_eq!((counts("l0"), counts("l249")), (1, 1), "each of them, and once");
}

#[test]
fn two_devices_of_a_member_that_take_each_other_out_hundreds_of_times_cost_little() {
    let mut world = World::founded(&["ada"]);
    world.act("p", "ada", &["add", "pat", "relay"], &[]);
    world.act("d", "pat", &["add-device", "pat.2"], &["p"]);
    let (first, second) = (world.device("pat"), world.device("pat.2"));
    for n in 0..40 {
        for (by, device) in [("pat", second), ("pat.2", first)] {
            let remove = || Op::RemoveDevice(RemoveDevice { device, caps: Vec::new() });
            world.say_apart(&format!("{by} {n}"), by, &["d"], (0..16).map(|_| remove()).collect());
        }
    }
    let state = heard_within(&world, std::time::Duration::from_secs(30));
    assert_eq!((state.view().role(&first), state.view().role(&second)), (Some(Role::Relay), None));
}

/// Every epoch has a box for each open link, and whoever reads makes links for its own devices: thousands, and nobody could
/// begin an epoch.
#[test]
fn a_member_has_no_more_links_for_devices_open_than_it_may_have_devices() {
    for at_once in [false, true] {
        let mut world = World::founded(&["ada"]);
        world.act("r", "ada", &["add", "rea", "read"], &[]);
        let (context, rea) = (world.genesis.context().unwrap().id, world.device("rea"));
        for n in 0..100u8 {
            let keys = InviteKeys::of(partita_crypto::Secret::from_bytes([n; 32]));
            let made = Invite::sign(&context, &rea, &keys, Some(MemberId(rea)), Terms::new(Role::Read));
            let (label, ops) = (format!("i{n}"), vec![Op::Invite(Box::new(made))]);
            if at_once {
                world.say_apart(&label, "rea", &["r"], ops);
            } else {
                world.say(&label, "rea", &["r"], ops);
            }
        }
        let state = world.all();
        assert_eq!(state.view().invites.len(), 64);
        assert_eq!(state.view().recipients(&Scope::Live).len(), 2 + 64);
        if at_once {
            let backwards: Vec<usize> = [0, 1].into_iter().chain((2..world.said.len()).rev()).collect();
            let other = world.heard(&backwards);
            assert_eq!(other.view().invites, state.view().invites, "whichever were heard of first");
        }
    }
}

#[test]
fn devices_that_were_added_at_the_same_time_get_no_more_keys_than_a_member_may_have_devices() {
    let mut world = World::founded(&["ada"]);
    world.act("r", "ada", &["add", "rea", "read"], &[]);
    for n in 0..100 {
        let card = world.card(&format!("rea.{n}"));
        world.say_apart(&format!("d{n}"), "rea", &["r"], vec![Op::AddDevice(card)]);
    }
    let (state, first) = (world.all(), world.device("rea"));
    assert_eq!(state.view().members[&MemberId(first)].devices.len(), 101);
    let backwards: Vec<usize> = [0, 1].into_iter().chain((2..world.said.len()).rev()).collect();
    for state in [&state, &world.heard(&backwards)] {
        let recipients = state.view().recipients(&Scope::Live);
        assert_eq!(recipients.len(), 1 + 65);
        assert!(recipients.iter().any(|(device, _)| *device == first));
        assert_eq!(recipients, world.all().view().recipients(&Scope::Live));
    }
}

#[test]
fn a_device_that_is_in_already_uses_up_no_link() {
    let mut world = World::founded(&["ada"]);
    world.act("r", "ada", &["add", "rea", "read"], &[]);
    world.act("d", "rea", &["add-device", "rea.2"], &["r"]);
    world.act("i", "rea", &["invite-device", "x"], &[]);
    world.act("again", "rea.2", &["accept", "x"], &["i"]);
    assert!(world.all().view().invites.contains_key(&invite_keys("x").id()));
    world.act("j", "rea.3", &["accept", "x"], &["i"]);
    let (state, joined) = (world.all(), world.device("rea.3"));
    assert_eq!(state.view().role(&joined), Some(Role::Read));
    assert!(state.view().invites.is_empty());
}

#[test]
fn the_devices_of_somebody_who_was_removed_take_no_room_when_it_comes_back() {
    let mut world = World::founded(&["ada"]);
    world.act("b", "ada", &["add", "ben", "write"], &[]);
    for n in 0..64 {
        world.act(&format!("d{n}"), "ben", &["add-device", &format!("ben.{n}")], &["b"]);
    }
    world.act("r", "ada", &["remove", "ben"], &["d63"]);
    world.act("a", "ada", &["add", "ben", "write"], &[]);
    world.act("n", "ben", &["add-device", "ben.64"], &["a"]);
    let (member, new) = (world.member("ben"), world.device("ben.64"));
    let state = world.all();
    assert_eq!(state.view().members[&member].devices.len(), 2);
    assert_eq!(state.view().role(&new), Some(Role::Write));
}
