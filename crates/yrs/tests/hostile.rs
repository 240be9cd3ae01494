//! What hostile bytes must not do. The first ones are reproductions against yrs 0.28.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::*;
use partita_core::{Applied, CrdtDocument, CrdtError, CrdtType, DocumentType, Limits};
use partita_yrs::Yrs;
use yrs::{Array, ArrayPrelim, Map, MapPrelim, Text, WriteTxn};

fn malformed(result: Result<(), CrdtError>) -> bool {
    matches!(result, Err(CrdtError::Malformed(_)))
}

#[test]
fn five_bytes_that_name_a_client_without_structs_are_refused() {
    assert!(malformed(check_import(&[1, 0, 1, 0, 0])));
    let mut doc = open(1);
    insert(&mut doc, 0, "a");
    assert!(matches!(apply(&mut doc, &[1, 0, 1, 0, 0]), Err(CrdtError::Malformed(_))));
    assert_eq!(text(&doc), "a");
}

#[test]
fn values_nested_without_end_are_refused() {
    let nested = |depth: usize| {
        let mut bytes = vec![1, 1, 2, 0, 8, 1, 1, 0x74, 1];
        bytes.extend([0x75, 1].repeat(depth));
        bytes.extend([0x7f, 0]);
        bytes
    };
    assert_eq!(check_import(&nested(200_000)), Err(CrdtError::TooLarge("nesting")));
    assert_eq!(check_import(&nested(65)), Err(CrdtError::TooLarge("nesting")));
    assert_eq!(check_import(&nested(64)), Ok(()));
    assert!(apply(&mut open(1), &nested(64)).is_ok());
}

#[test]
fn json_nested_without_end_is_refused() {
    let embed = |json: String| {
        let mut bytes = vec![1, 1, 2, 0, 5, 1, 1, b't'];
        bytes.extend(var(json.len() as u64));
        bytes.extend(json.into_bytes());
        bytes.push(0);
        bytes
    };
    assert_eq!(check_import(&embed("[".repeat(100_000))), Err(CrdtError::TooLarge("nesting")));
    assert!(malformed(check_import(&embed("{".into()))));
    assert_eq!(check_import(&embed("{\"a\":\"[[[[\"}".into())), Ok(()));
}

/// `count` structs by client 2: a root array in `t`, then each inside the one before.
fn nested_types(count: u32, start: u32, client: u64) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(var(u64::from(count)));
    bytes.extend(var(client));
    bytes.extend(var(u64::from(start)));
    for clock in start..start + count {
        bytes.push(7);
        if clock == 0 {
            bytes.extend([1, 1, b't']);
        } else {
            bytes.push(0);
            bytes.extend(var(client));
            bytes.extend(var(u64::from(clock - 1)));
        }
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

#[test]
fn types_nested_without_end_are_refused_in_one_payload() {
    assert_eq!(check_import(&nested_types(100_000, 0, 2)), Err(CrdtError::TooLarge("nesting")));
    assert_eq!(check_import(&nested_types(65, 0, 2)), Err(CrdtError::TooLarge("nesting")));
    assert_eq!(check_import(&nested_types(64, 0, 2)), Ok(()));
}

#[test]
fn types_nested_without_end_are_refused_over_many_payloads() {
    let mut doc = open(1);
    let mut unfit = 0;
    for part in 0..1_000 {
        assert_eq!(apply(&mut doc, &nested_types(50, part * 50, 2)), Ok(Applied::Done));
        if doc.pending() > 0 {
            unfit = part;
            break;
        }
    }
    assert_eq!(unfit, 20);
    // Nobody else has less room for it.
    let mut other = open(3);
    Yrs::transact(&mut other, |tx| {
        let outer = tx.get_or_insert_array("t").push_back(tx, ArrayPrelim::from(["x"]));
        outer.push_back(tx, MapPrelim::from([("k", 1)])).parse_done();
        Ok(())
    })
    .unwrap();
    assert_eq!(apply(&mut doc, &local(&mut other).unwrap()), Ok(Applied::Done));
    assert_eq!(doc.pending(), 1);
    let snapshot = doc.snapshot().unwrap();
    assert!(Yrs.load(&snapshot, seed(2)).unwrap().same_history(&doc));
    // What is there can be deleted from outside in, on the small stack of a test.
    assert_eq!(apply(&mut doc, &[0, 1, 2, 1, 0, 1]), Ok(Applied::Done));
    assert!(doc.snapshot().is_ok());
}

#[test]
fn many_types_beside_each_other_are_fine() {
    let mut doc = open(1);
    for _ in 0..20 {
        Yrs::transact(&mut doc, |tx| {
            let array = tx.get_or_insert_array("list");
            for _ in 0..200 {
                array.push_back(tx, MapPrelim::from([("k", 1)]));
            }
            Ok(())
        })
        .unwrap();
    }
    let payload = local(&mut doc).unwrap();
    assert_eq!(check(&payload, 1), Ok(()));
    assert_eq!(apply(&mut open(2), &payload), Ok(Applied::Done));
}

#[test]
fn clocks_and_clients_out_of_range_are_refused() {
    let text = |client: u64, clock: u64| {
        let mut bytes = vec![1, 1];
        bytes.extend(var(client));
        bytes.extend(var(clock));
        bytes.extend([4, 1, 1, b't', 1, b'a', 0]);
        bytes
    };
    assert_eq!(check_import(&text(2, 0)), Ok(()));
    for (client, clock) in [(1 << 53, 0), (u64::MAX, 0), (2, u64::from(u32::MAX)), (2, 1 << 31), (2, 1 << 40)] {
        assert!(malformed(check_import(&text(client, clock))), "{client} {clock}");
    }
    // Garbage structs and deletions that run over the end.
    let gc = |length: u64| [vec![1, 1, 2, 5, 0], var(length), vec![0]].concat();
    assert_eq!(check_import(&gc(10)), Ok(()));
    for length in [0, u64::from(u32::MAX), u64::from(u32::MAX) - 4, 1 << 31] {
        assert!(malformed(check_import(&gc(length))), "{length}");
    }
    let delete = |start: u64, length: u64| [vec![0, 1, 2, 1], var(start), var(length)].concat();
    assert_eq!(check_import(&delete(3, 4)), Ok(()));
    for (start, length) in [(3, 0), (3, u64::from(u32::MAX)), (u64::from(u32::MAX), 1)] {
        assert!(malformed(check_import(&delete(start, length))), "{start} {length}");
    }
}

#[test]
fn shapes_that_yrs_does_not_write_are_refused() {
    let shapes: &[(&str, &[u8])] = &[
        ("empty", &[]),
        ("trailing bytes", &[0, 0, 0]),
        ("long varint", &[0x80, 0, 0]),
        ("skip", &[1, 1, 2, 0, 10, 5, 0]),
        ("empty string", &[1, 1, 2, 0, 4, 1, 1, b't', 0, 0]),
        ("no values", &[1, 1, 2, 0, 8, 1, 1, b't', 0, 0]),
        ("nothing deleted", &[1, 1, 2, 0, 1, 1, 1, b't', 0, 0]),
        ("invalid UTF-8", &[1, 1, 2, 0, 4, 1, 1, b't', 1, 0xff, 0]),
        ("obsolete JSON", &[1, 1, 2, 0, 2, 1, 1, b't', 1, 1, b'1', 1, b'1', 0]),
        ("subdocument", &[1, 1, 2, 0, 9, 1, 1, b't', 1, b'g', 118, 0, 0]),
        ("weak link", &[1, 1, 2, 0, 7, 1, 1, b't', 7, 0, 0]),
        ("unknown type", &[1, 1, 2, 0, 7, 1, 1, b't', 15, 0]),
        ("unknown content", &[1, 1, 2, 0, 11, 1, 1, b't', 0]),
        ("unknown flag", &[1, 1, 2, 0, 0x14, 1, 1, b't', 1, b'a', 0]),
        ("unknown parent", &[1, 1, 2, 0, 4, 2, 1, b't', 1, b'a', 0]),
        ("own origin", &[1, 1, 2, 0, 0x84, 2, 0, 1, b'a', 0]),
        ("future origin", &[1, 1, 2, 0, 0x44, 2, 9, 1, b'a', 0]),
        ("inside itself", &[1, 1, 2, 0, 7, 0, 2, 0, 0, 0]),
        ("the same client twice", &[2, 1, 2, 0, 4, 1, 1, b't', 1, b'a', 1, 2, 0, 4, 1, 1, b't', 1, b'b', 0]),
        ("clients ascending", &[2, 1, 2, 0, 4, 1, 1, b't', 1, b'a', 1, 3, 0, 4, 1, 1, b't', 1, b'b', 0]),
        ("deletions overlap", &[0, 1, 2, 2, 0, 5, 3, 5]),
        ("deletions of a client twice", &[0, 2, 2, 1, 0, 5, 2, 1, 7, 1]),
        ("no deletions of a client", &[0, 1, 2, 0]),
        ("deletes its own future", &[1, 1, 2, 0, 4, 1, 1, b't', 1, b'a', 1, 2, 1, 0, 9]),
        ("more structs than bytes", &[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 2, 0]),
    ];
    for (name, bytes) in shapes {
        assert!(malformed(check_import(bytes)), "{name}");
        assert!(apply(&mut open(1), bytes).is_err(), "{name}");
    }
}

#[test]
fn what_is_over_a_limit_is_refused_by_its_name() {
    let mut doc = open(1);
    let payload = typed(&mut doc, 0, "hello");
    let mut limits = Limits::default();
    limits.payload_bytes = payload.len() - 1;
    assert_eq!(Yrs.validate(&payload, None, &limits), Err(CrdtError::TooLarge("payload")));
    limits = Limits::default();
    limits.operations = 0;
    assert_eq!(Yrs.validate(&payload, None, &limits), Err(CrdtError::TooLarge("number of operations")));
}

/// Writes "x" under somebody else's client id, at the clock where their next change goes.
fn forged(victim: u8, clock: u8) -> Vec<u8> {
    let mut bytes = vec![1, 1];
    bytes.extend(var(Yrs::client_id(seed(victim))));
    bytes.extend([clock, 4, 1, 4, b't', b'e', b'x', b't', 1, b'x', 0]);
    bytes
}

#[test]
fn a_change_in_anothers_name_is_refused_and_the_victim_goes_on() {
    let (mut victim, mut reader) = (open(1), open(3));
    let honest = typed(&mut victim, 0, "honest");
    let forgery = forged(1, 0);
    // It would do as the victim's own; from member 2 it is refused whichever comes first.
    assert_eq!(check(&forgery, 1), Ok(()));
    assert_eq!(check(&forgery, 2), Err(CrdtError::ForeignActor));
    assert_eq!(apply(&mut reader, &honest), Ok(Applied::Done));
    assert_eq!(check(&forgery, 2), Err(CrdtError::ForeignActor));
    assert_eq!(text(&reader), "honest");
    // Deletions of what others wrote are no forgery.
    let mut editor = open(2);
    apply(&mut editor, &honest).unwrap();
    remove(&mut editor, 0, 3);
    assert_eq!(check(&local(&mut editor).unwrap(), 2), Ok(()));
}

#[test]
fn an_author_who_writes_two_contents_for_one_clock_damages_only_himself() {
    let mut reader = open(3);
    let (mut one, mut other) = (open(2), open(2));
    let short = typed(&mut one, 0, "abc");
    let long = typed(&mut other, 0, "uvwxyz");
    assert_eq!(apply(&mut reader, &short), Ok(Applied::Done));
    assert_eq!(apply(&mut reader, &long), Ok(Applied::Known));
    assert_eq!(text(&reader), "abc");
    let honest = typed(&mut open(1), 0, "fine");
    assert_eq!(apply(&mut reader, &honest), Ok(Applied::Done));
    assert!(reader.snapshot().is_ok());
}

#[test]
fn what_contradicts_itself_fits_nowhere_whenever_it_comes() {
    let mut honest = open(1);
    let base = {
        Yrs::transact(&mut honest, |tx| {
            tx.get_or_insert_text("text").insert(tx, 0, "ab"); // clocks 0 and 1
            let map = tx.get_or_insert_map("map");
            map.insert(tx, "k", 1); // 2
            map.insert(tx, "l", 2); // 3
            tx.get_or_insert_text("other").insert(tx, 0, "c"); // 4
            Ok(())
        })
        .unwrap();
        local(&mut honest).unwrap()
    };
    let of = |clock: u8| [var(Yrs::client_id(seed(1))), vec![clock]].concat();
    let payload = |content: &[&[u8]]| {
        let head = [vec![1, 1], var(Yrs::client_id(seed(2))), vec![0]].concat();
        [head, content.concat(), vec![0]].concat()
    };
    let (left, right, both, letter) = (&[0x84][..], &[0x44][..], &[0xc4][..], &[1, b'x'][..]);
    let contradictions = [
        ("inside of a letter", payload(&[&[4, 0], &of(0), letter])),
        ("between two texts", payload(&[both, &of(0), &of(4), letter])),
        ("between two keys", payload(&[both, &of(2), &of(3), letter])),
        ("before a key's value", payload(&[right, &of(2), letter])),
        ("two values for a key", payload(&[left, &of(2), &[2, b'x', b'y']])),
    ];
    let fitting = [payload(&[both, &of(0), &of(1), letter]), payload(&[left, &of(2), letter])];
    for payload in fitting {
        let mut reader = open(3);
        assert_eq!(reader.apply(&[&base, &payload]), [Ok(Applied::Done), Ok(Applied::Done)]);
        assert_eq!(reader.pending(), 0);
    }
    for (name, payload) in contradictions {
        assert_eq!(check(&payload, 2), Ok(()), "{name}");
        let (mut early, mut late) = (open(3), open(4));
        assert_eq!(early.apply(&[&base, &payload]), [Ok(Applied::Done), Ok(Applied::Done)], "{name}");
        assert_eq!(late.apply(&[&payload, &base]), [Ok(Applied::Done), Ok(Applied::Done)], "{name}");
        for reader in [&mut early, &mut late] {
            assert_eq!((reader.pending(), text(reader).as_str()), (1, "ab"), "{name}");
        }
        assert!(early.same_history(&late), "{name}");
        assert!(Yrs.load(&early.snapshot().unwrap(), seed(5)).unwrap().same_history(&late), "{name}");
    }
}

#[test]
fn a_bad_payload_takes_no_others_with_it() {
    let (mut a, mut b) = (open(1), open(2));
    let first = typed(&mut a, 0, "a");
    let second = typed(&mut a, 1, "b");
    let outcomes = b.apply(&[&first, &[9, 9, 9], &second]);
    assert_eq!((&outcomes[0], outcomes[1].is_err(), &outcomes[2]), (&Ok(Applied::Done), true, &Ok(Applied::Done)));
    assert!(a.same_history(&b));
}

#[test]
fn damaged_snapshots_are_refused() {
    let mut a = open(1);
    insert(&mut a, 0, "hello");
    let snapshot = a.snapshot().unwrap();
    for cut in 0..snapshot.len() {
        assert!(Yrs.load(&snapshot[..cut], seed(2)).is_err(), "{cut}");
    }
    assert!(Yrs.load(&[snapshot, vec![0]].concat(), seed(2)).is_err());
}

/// A document with every kind of content, and payloads of three authors to mutate.
fn corpus() -> Vec<Vec<u8>> {
    let mut docs = [open(1), open(2), open(3)];
    let mut payloads = Vec::new();
    for step in 0..24u32 {
        let doc = &mut docs[(step % 3) as usize];
        Yrs::transact(doc, |tx| {
            let text = tx.get_or_insert_text("text");
            let map = tx.get_or_insert_map("map");
            let array = tx.get_or_insert_array("array");
            text.insert(tx, step / 3, "ab🦀");
            match step % 6 {
                0 => text.format(tx, 0, 2, yrs::types::Attrs::from([("b".into(), true.into())])),
                1 => text.remove_range(tx, 0, 2),
                2 => array.insert(tx, 0, ArrayPrelim::from(["a", "b"])).parse_done(),
                3 => map.insert(tx, "k", MapPrelim::from([("x", 1)])).parse_done(),
                4 => map.insert(tx, "k", yrs::any!({"a": [1, 2.5, null]})).parse_done(),
                _ => text.insert_embed(tx, 1, yrs::Any::from("e")).parse_done(),
            }
            Ok(())
        })
        .unwrap();
        let payload = local(doc).unwrap();
        for doc in &mut docs {
            apply(doc, &payload).unwrap();
        }
        payloads.push(payload);
    }
    payloads
}

/// Lets match arms of different types end alike.
trait Done: Sized {
    fn parse_done(self) {}
}
impl<T> Done for T {}

#[test]
fn what_the_validator_accepts_applies_to_any_document() {
    let corpus = corpus();
    let mut random = random(5);
    let (mut accepted, mut poisoned) = (0, Vec::new());
    for _ in 0..30_000 {
        let base = random(corpus.len());
        let mut mutant = corpus[base].clone();
        for _ in 0..1 + random(3) {
            let at = random(mutant.len());
            match random(4) {
                0 => mutant[at] = random(256) as u8,
                1 => mutant[at] = mutant[at].wrapping_add(1),
                2 => mutant.insert(at, random(256) as u8),
                _ => drop(mutant.remove(at)),
            }
            if mutant.is_empty() {
                break;
            }
        }
        if check_import(&mutant).is_err() {
            continue;
        }
        accepted += 1;
        let mut doc = open(9);
        for payload in &corpus[..base] {
            apply(&mut doc, payload).unwrap();
        }
        if let Err(CrdtError::Poisoned(why)) = apply(&mut doc, &mutant) {
            poisoned.push((why, mutant));
            continue;
        }
        for payload in &corpus[base..] {
            if let Err(CrdtError::Poisoned(why)) = apply(&mut doc, payload) {
                poisoned.push((why, mutant.clone()));
                break;
            }
        }
        if let Ok(snapshot) = doc.snapshot() {
            let loaded = Yrs.load(&snapshot, seed(8)).expect("a snapshot can be loaded");
            assert!(loaded.same_history(&doc));
        }
    }
    println!("{accepted} accepted, {} poisoned", poisoned.len());
    let panicked: Vec<_> = poisoned.iter().filter(|(why, _)| why.contains("panicked")).collect();
    assert!(panicked.is_empty(), "{:?}", &panicked[..panicked.len().min(3)]);
    assert!(accepted > 1_000);
}

/// A few bytes can say that two thousand million elements are gone.
#[test]
fn what_says_that_very_much_is_gone_takes_no_time_to_compare() {
    let most = var((1 << 31) - 2);
    // One client with one struct: deleted content at the beginning of a root type.
    let payload = [&[1, 1][..], &var(Yrs::client_id(seed(1))), &[0, 1, 1, 1, b't'], &most, &[0]].concat();
    check(&payload, 1).unwrap();
    let (mut one, mut other) = (open(2), open(3));
    apply(&mut one, &payload).unwrap();
    apply(&mut other, &payload).unwrap();
    assert!(one.same_history(&other) && one.extends(&other, &[]));
    assert_eq!(one.digest(), other.digest());
}
