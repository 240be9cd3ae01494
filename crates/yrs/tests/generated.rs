//! Updates that no editor would write: well-formed structs that hang on each other at random.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::*;
use partita_core::{Applied, CrdtDocument, CrdtType, DocumentType};
use partita_testing::crdt_laws::agrees;
use partita_yrs::Yrs;

/// One update of `client`, whose structs start at `clock`; `ends` are the clocks that others have written.
fn generate(random: &mut impl FnMut(usize) -> usize, client: u64, clock: u32, ends: &[(u64, u32)]) -> (Vec<u8>, u32) {
    let structs = 1 + random(4);
    let mut bytes = [vec![1], var(structs as u64), var(client), var(u64::from(clock))].concat();
    let mut at = clock;
    for _ in 0..structs {
        let known: Vec<(u64, u32)> =
            ends.iter().map(|&(id, end)| (id, if id == client { at } else { end })).filter(|end| end.1 > 0).collect();
        let id = |random: &mut dyn FnMut(usize) -> usize| {
            let (client, end) = known[random(known.len())];
            [var(client), var(random(end as usize) as u64)].concat()
        };
        let (kind, content, length) = match random(8) {
            0 => (1u8, vec![2], 2),
            1 => (3, vec![1, 0], 1),
            2 => (5, vec![1, b'1'], 1),
            3 => (6, vec![1, b'b', 4, b't', b'r', b'u', b'e'], 1),
            4 => (7, vec![random(3) as u8], 1),
            5 => (8, vec![2, 126, 127], 2),
            _ => (4, vec![3, b'a', b'b', b'c'], 3),
        };
        let links = if known.is_empty() { 0 } else { [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4][random(16)] };
        let key = u8::from(random(3) == 0) << 5;
        match links {
            1 => bytes.extend([vec![kind | 0x80], id(random)].concat()),
            2 => bytes.extend([vec![kind | 0x40], id(random)].concat()),
            3 => bytes.extend([vec![kind | 0xc0], id(random), id(random)].concat()),
            4 => bytes.extend([vec![kind | key, 0], id(random)].concat()),
            _ => bytes.extend([kind | key, 1, 1, b'r' + random(2) as u8]),
        }
        if (links == 0 || links == 4) && key != 0 {
            bytes.extend([1, b'k' + random(2) as u8]);
        }
        bytes.extend(content);
        at += length;
    }
    let (victim, end) = ends[random(ends.len())];
    let end = if victim == client { at } else { end };
    if end > 0 && random(2) == 0 {
        let start = random(end as usize) as u32;
        let length = 1 + random((end - start) as usize) as u64;
        bytes.extend([vec![1], var(victim), vec![1], var(u64::from(start)), var(length)].concat());
    } else {
        bytes.push(0);
    }
    (bytes, at)
}

#[test]
fn structs_that_hang_on_each_other_at_random_cause_no_panic_and_mean_the_same_in_any_order() {
    let rounds = std::env::var("PARTITA_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3_000);
    let (mut applied, mut unfit) = (0, 0);
    for round in 0..rounds {
        let mut random = random(round);
        let mut doc = open(9);
        let mut ends = [(2u64, 0u32), (3, 0), (4, 0)];
        let mut history = Vec::new();
        for _ in 0..12 {
            let which = random(3);
            let (update, end) = generate(&mut random, ends[which].0, ends[which].1, &ends);
            assert_eq!(Yrs.validate(&update, None, &Default::default()), Ok(()));
            let waiting = doc.pending();
            match apply(&mut doc, &update) {
                Ok(Applied::Done) if doc.pending() == waiting => {
                    applied += 1;
                    ends[which].1 = end;
                }
                Ok(_) => unfit += 1,
                Err(error) => panic!("round {round}: {error}"),
            }
            history.push((which as u8, update));
            if random(4) == 0 {
                insert(&mut doc, 0, "local");
                let _ = local(&mut doc);
            }
        }
        let loaded = Yrs.load(&doc.snapshot().unwrap(), seed(8)).expect("a snapshot can be loaded");
        if !loaded.same_history(&doc) {
            for (_, p) in &history {
                use yrs::updates::decoder::Decode;
                println!("{:?}", yrs::Update::decode_v1(p).unwrap());
            }
            for d in [&doc, loaded.as_any().downcast_ref().unwrap()] {
                println!("{} {:?}", d.pending(), Yrs::view(d, |tx| yrs::ReadTxn::snapshot(tx)));
                use yrs::updates::decoder::Decode;
                println!(
                    "{:?}",
                    yrs::Update::decode_v1(&Yrs::view(d, |tx| yrs::ReadTxn::encode_state_as_update_v1(
                        tx,
                        &Default::default()
                    )))
                );
            }
        }
        assert!(loaded.same_history(&doc), "round {round}");
        let picks: Vec<usize> = (0..12).map(|_| random(3)).collect();
        let reloads: Vec<bool> = (0..12).map(|_| random(3) == 0).collect();
        agrees(&Yrs, &history, picks.iter().map(|pick| move |count| pick % count), &reloads);
    }
    println!("{applied} applied, {unfit} fit nowhere");
    assert!(applied > rounds && unfit > rounds);
}
