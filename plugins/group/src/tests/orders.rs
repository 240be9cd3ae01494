//! Whatever people do, and in whatever order it comes, everybody believes the same.

use partita_core::EntryId;
use rand_chacha::{ChaCha8Rng, rand_core::Rng as _};

use super::world::{World, rng, role_of, state_bytes};
use crate::{
    op::{Op, SetRole},
    role::Role,
};

const PEOPLE: [&str; 5] = ["ada", "ben", "cay", "dan", "eve"];

fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    (rng.next_u64() % n as u64) as usize
}

/// A group of two founders in which anybody does anything: honest people, removed ones, strangers; each having seen
/// what it likes.
fn tangle(seed: u64, ops: usize) -> World {
    // Half of them with invitations.
    let with_invitations = seed % 2 == 1;
    let mut rng = rng(seed);
    let mut world = World::founded(&PEOPLE[..2]);
    let mut labels = vec!["g".to_owned()];
    let mut spoke: Vec<&str> = vec!["ada"];
    for nth in 0..ops {
        let actor = PEOPLE[below(&mut rng, 4)];
        let who = PEOPLE[below(&mut rng, PEOPLE.len())];
        let role = ["relay", "read", "write", "admin"][below(&mut rng, 4)];
        let invitation = ["x", "y"][below(&mut rng, 2)];
        let joiner = ["ada", "dan", "eve", "fay"][below(&mut rng, 4)];
        let yes = ["yes", "no"][below(&mut rng, 2)];
        let (mut actor, device) = (actor, format!("{actor}.2"));
        let words: Vec<&str> = match below(&mut rng, if with_invitations { 22 } else { 12 }) {
            12..=13 => vec!["invite", invitation, role],
            14 => vec!["invite", invitation, role, "many"],
            15 => vec!["invite-device", invitation],
            16..=18 => {
                actor = joiner;
                vec!["accept", invitation]
            }
            19..=20 => vec!["decide", invitation, joiner, yes],
            21 => vec!["revoke", invitation],
            0..=2 => vec!["add", who, if below(&mut rng, 2) == 0 { "admin" } else { role }],
            3..=6 => vec!["remove", who],
            7..=8 => vec!["role", who, role],
            9 => vec!["leave"],
            10 => {
                vec!["add-device", &device]
            }
            _ => vec!["remove-device", who],
        };
        let mut after: Vec<String> = Vec::new();
        for _ in 0..=below(&mut rng, 2) {
            after.push(labels[below(&mut rng, labels.len())].clone());
        }
        if !spoke.contains(&actor) {
            spoke.push(actor);
        }
        let label = format!("op{nth}");
        let after: Vec<&str> = after.iter().map(String::as_str).collect();
        world.act(&label, actor, &words, &after);
        labels.push(label);
    }
    world
}

#[test]
#[expect(clippy::disallowed_methods, reason = "whoever runs the test says how long")]
fn every_causal_order_of_up_to_seven_ops_ends_in_the_same_bytes() {
    // 600 tangles of each size in the tests; PARTITA_TANGLES says otherwise.
    let sets: u64 = std::env::var("PARTITA_TANGLES").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let (mut orders, mut rings) = (0usize, 0usize);
    for ops in 1..=7 {
        for seed in 0..sets {
            let world = tangle(seed * 11 + ops as u64, ops);
            let first = world.all();
            let bytes = state_bytes(&first);
            rings += usize::from(ops == 7 && !first.view().losses.is_empty());
            let all = world.orders();
            for order in &all {
                let state = world.heard(order);
                assert_eq!(
                    state_bytes(&state),
                    bytes,
                    "seed {seed}, {ops} ops, order {order:?}: a replica believes something else"
                );
            }
            orders += all.len();
        }
    }
    println!("{orders} orders of {} sets", 7 * sets);
    assert!(orders > 7 * sets as usize * 2 && rings as u64 > sets / 4, "{orders} orders, {rings} with losses");
}

#[test]
fn asking_in_between_changes_nothing() {
    for seed in 0..300 {
        let world = tangle(seed, 7);
        let quiet = world.all();
        let mut asked = crate::state::State::new(world.genesis.context().unwrap().id);
        for said in &world.said {
            asked.insert(&said.entry()).unwrap();
            let _ = state_bytes(&asked);
        }
        assert_eq!(state_bytes(&asked), state_bytes(&quiet), "seed {seed}");
    }
}

#[test]
fn what_was_heard_twice_counts_once() {
    for seed in 0..100 {
        let world = tangle(seed, 6);
        let mut state = world.all();
        let before = state_bytes(&state);
        for said in &world.said {
            assert_eq!(state.insert(&said.entry()).unwrap(), None);
        }
        assert_eq!(state_bytes(&state), before);
    }
}

#[test]
fn a_group_never_ends_up_without_an_admin() {
    for seed in 0..3000 {
        let world = tangle(seed, 7);
        let state = world.all();
        let admins = state.view().members.values().filter(|member| member.role == Some(crate::Role::Admin)).count();
        let story = |world: &World| -> Vec<String> {
            let told = world.said.iter().map(|said| {
                let at = |id: &EntryId| world.said.iter().position(|said| said.id == *id);
                let after: Vec<_> = said.parents.iter().filter_map(at).collect();
                let op = crate::op::Payload::decode(&world.genesis.context().unwrap().id, &said.payload).unwrap();
                format!("{} {:?} after {after:?}", world.names[&said.author], op.ops)
            });
            told.collect()
        };
        assert!(admins > 0, "seed {seed}: {:#?} {:?}", story(&world), world.names);
    }
}

/// A replica that hears these in any order they can come in believes the same.
fn same_in_every_order(world: &World) {
    let bytes = state_bytes(&world.all());
    let orders = world.orders();
    assert!(orders.len() > 1);
    for order in &orders {
        assert_eq!(state_bytes(&world.heard(order)), bytes, "order {order:?}: a replica believes something else");
    }
}

/// Two removals ended ada's first time in the group. One of them is undecided for long, and has nothing to say about what ada
/// does by the addition that knew of both.
#[test]
fn who_is_right_in_a_ring_does_not_rest_on_which_of_two_removals_was_heard_first() {
    let mut world = World::founded(&["cay", "ben", "ada", "dan"]);
    world.act("e1", "cay", &["remove", "ada"], &[]);
    world.act("e2", "dan", &["remove", "ada"], &["g"]);
    world.act("back", "dan", &["add", "ada", "admin"], &["e1"]);
    world.act("x", "ada", &["remove", "ben"], &["back"]);
    world.act("y1", "ben", &["remove", "ada"], &["g"]);
    world.act("y2", "ben", &["remove", "cay"], &[]);
    same_in_every_order(&world);
    let state = world.all();
    let roles = ["cay", "ben", "ada", "dan"].map(|name| role_of(&state, &world.member(name)));
    assert_eq!(roles, [None, Some(Role::Admin), None, Some(Role::Admin)]);
}

/// Tom was an admin, or not, as long as the demotion is undecided; and only a void op keeps it so.
#[test]
fn whether_an_admin_remains_does_not_rest_on_what_was_heard_first() {
    let mut world = World::founded(&["mia"]);
    world.act("a", "mia", &["add", "tom", "admin"], &[]);
    world.act("p", "mia", &["add-device", "mia.2"], &[]);
    world.act("r", "mia", &["add", "rel", "relay"], &[]);
    world.act("d", "mia", &["role", "tom", "write"], &[]);
    world.act("e", "mia", &["add", "fay", "admin"], &[]);
    let seen = world.closure(&[world.id("e")]);
    let (caps, mia) = (world.caps(&seen, "mia"), world.member("mia"));
    world.say("l", "mia.2", &["r"], vec![Op::Leave(caps)]);
    world.act("t", "tom", &["leave"], &["d", "l"]);
    let void = SetRole { member: mia, role: Role::Read, caps: Vec::new() };
    world.say("x", "rel", &["r"], vec![Op::SetRole(void)]);
    same_in_every_order(&world);
    let state = world.all();
    let roles = ["mia", "tom", "rel", "fay"].map(|name| role_of(&state, &world.member(name)));
    assert_eq!(roles, [None, None, Some(Role::Relay), Some(Role::Admin)]);
}
