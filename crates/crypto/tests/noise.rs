//! A channel that carries records in order, and notices everything else.

#![allow(clippy::unwrap_used)]

mod support;

use partita_crypto::{
    MAX_RECORD, MAX_RECORD_PLAIN, NoiseError, NoiseHandshake, NoiseReceiver, NoiseSender, RECORD_OVERHEAD,
};
use support::rng;

fn start(prologues: [&[u8]; 2]) -> (NoiseHandshake, NoiseHandshake) {
    let [a, b] = prologues;
    (NoiseHandshake::initiator(a, &mut rng(1)).unwrap(), NoiseHandshake::responder(b, &mut rng(2)).unwrap())
}

fn finished() -> (NoiseHandshake, NoiseHandshake) {
    let (mut a, mut b) = start([b"partita", b"partita"]);
    assert_eq!(b.read(&a.write(b"one").unwrap()).unwrap(), b"one");
    assert_eq!(a.read(&b.write(b"two").unwrap()).unwrap(), b"two");
    assert!(!a.is_finished() && !b.is_finished());
    assert_eq!(b.read(&a.write(&[3; 1000]).unwrap()).unwrap(), [3; 1000]);
    assert!(a.is_finished() && b.is_finished());
    (a, b)
}

fn channel() -> (NoiseSender, NoiseReceiver) {
    let (a, b) = finished();
    (a.into_transport().unwrap().0, b.into_transport().unwrap().1)
}

fn seal(sender: &mut NoiseSender, plain: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    sender.seal(plain, &mut record).unwrap();
    record
}

#[test]
fn both_sides_agree_on_a_hash_that_no_other_handshake_has() {
    let (a, b) = finished();
    assert_eq!(a.hash(), b.hash());
    let hash = a.hash();
    let (_, _, from_transport) = a.into_transport().unwrap();
    assert_eq!(from_transport, hash);

    let mut other = NoiseHandshake::initiator(b"partita", &mut rng(9)).unwrap();
    let mut same = NoiseHandshake::initiator(b"partita", &mut rng(9)).unwrap();
    let message = other.write(b"").unwrap();
    assert_ne!(message[..32], start([b"partita", b""]).0.write(b"").unwrap()[..32]);
    assert_eq!(same.write(b"").unwrap(), message, "the same randomness gives the same run");
}

#[test]
fn records_pass_both_ways_from_different_threads() {
    let (a, b) = finished();
    let (mut a_out, mut a_in, _) = a.into_transport().unwrap();
    let (mut b_out, mut b_in, _) = b.into_transport().unwrap();
    let (to_b, at_b) = std::sync::mpsc::channel::<Vec<u8>>();
    let (to_a, at_a) = std::sync::mpsc::channel::<Vec<u8>>();
    std::thread::scope(|scope| {
        scope.spawn(move || (0..100_u8).for_each(|n| to_b.send(seal(&mut a_out, &[n; 100])).unwrap()));
        scope.spawn(move || (0..100_u8).for_each(|n| to_a.send(seal(&mut b_out, &[n; 50])).unwrap()));
        scope.spawn(move || {
            for n in 0..100_u8 {
                let mut plain = Vec::new();
                a_in.open(&at_a.recv().unwrap(), &mut plain).unwrap();
                assert_eq!(plain, [n; 50]);
            }
        });
        scope.spawn(move || {
            for n in 0..100_u8 {
                let mut plain = Vec::new();
                b_in.open(&at_b.recv().unwrap(), &mut plain).unwrap();
                assert_eq!(plain, [n; 100]);
            }
        });
    });
}

#[test]
fn sealing_and_opening_append() {
    let (mut sender, mut receiver) = channel();
    let mut wire = b"length prefix".to_vec();
    sender.seal(b"plain", &mut wire).unwrap();
    let mut plain = b"before ".to_vec();
    receiver.open(&wire[13..], &mut plain).unwrap();
    assert_eq!(plain, b"before plain");
}

#[test]
fn a_record_holds_65519_bytes_and_not_one_more() {
    let (mut sender, mut receiver) = channel();
    assert_eq!((MAX_RECORD, MAX_RECORD_PLAIN), (65_535, 65_519));
    let record = seal(&mut sender, &vec![1; MAX_RECORD_PLAIN]);
    assert_eq!(record.len(), MAX_RECORD);
    let mut out = b"kept".to_vec();
    assert_eq!(sender.seal(&vec![1; MAX_RECORD_PLAIN + 1], &mut out), Err(NoiseError::TooLong));
    assert_eq!(out, b"kept");

    let mut plain = Vec::new();
    receiver.open(&record, &mut plain).unwrap();
    assert_eq!(plain.len(), MAX_RECORD_PLAIN);
    receiver.open(&seal(&mut sender, b""), &mut plain).unwrap();
    assert_eq!(plain.len(), MAX_RECORD_PLAIN, "an empty record is one too");
    assert_eq!(receiver.open(&vec![0; MAX_RECORD + 1], &mut plain), Err(NoiseError::TooLong));
}

#[test]
fn a_replayed_a_reordered_and_a_lost_record_end_the_channel() {
    let (mut sender, mut receiver) = channel();
    let records: Vec<_> = (0..3_u8).map(|n| seal(&mut sender, &[n])).collect();
    let mut plain = Vec::new();
    receiver.open(&records[0], &mut plain).unwrap();
    assert_eq!(receiver.open(&records[0], &mut plain), Err(NoiseError::Refused), "replayed");
    assert_eq!(receiver.open(&records[1], &mut plain), Err(NoiseError::Broken), "nothing counts after a failure");
    assert_eq!(plain, [0]);

    let (mut sender, mut receiver) = channel();
    let _first = seal(&mut sender, b"first");
    assert_eq!(receiver.open(&seal(&mut sender, b"second"), &mut plain), Err(NoiseError::Refused), "lost or reordered");
}

#[test]
fn a_record_sent_back_to_its_sender_does_not_open() {
    let (a, _b) = finished();
    let (mut a_out, mut a_in, _) = a.into_transport().unwrap();
    assert_eq!(a_in.open(&seal(&mut a_out, b"plain"), &mut Vec::new()), Err(NoiseError::Refused));
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_record_is_noticed() {
    let record = seal(&mut channel().0, b"plain");
    for bit in 0..record.len() * 8 {
        let mut changed = record.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let mut out = b"kept".to_vec();
        assert_eq!(channel().1.open(&changed, &mut out), Err(NoiseError::Refused), "bit {bit}");
        assert_eq!(out, b"kept");
    }
    for len in 0..record.len() {
        assert_eq!(channel().1.open(&record[..len], &mut Vec::new()), Err(NoiseError::Refused), "{len} bytes");
    }
    assert_eq!(record.len(), 5 + RECORD_OVERHEAD);
}

#[test]
fn a_changed_handshake_message_ends_the_handshake_before_any_record() {
    for (which, cut) in [(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)] {
        let (mut a, mut b) = start([b"p", b"p"]);
        let mut failed = false;
        for index in 0..3 {
            let (from, to) = if index % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let mut message = from.write(b"payload").unwrap();
            if index == which {
                if cut { message.truncate(20) } else { message[0] ^= 1 }
            }
            if let Err(error) = to.read(&message) {
                assert_eq!(error, NoiseError::Refused);
                failed = true;
                break;
            }
        }
        assert!(failed, "message {which}, cut: {cut}");
    }
}

#[test]
fn different_prologues_do_not_meet() {
    let (mut a, mut b) = start([b"version 1", b"version 2"]);
    b.read(&a.write(b"").unwrap()).unwrap();
    assert_eq!(a.read(&b.write(b"").unwrap()), Err(NoiseError::Refused));
}

#[test]
fn a_low_order_ephemeral_key_is_refused() {
    let (_, mut b) = start([b"", b""]);
    // The first message is the bare key and a payload in the clear.
    b.read(&[0; 32]).unwrap();
    assert_eq!(b.write(b""), Err(NoiseError::Refused));
}

#[test]
fn out_of_turn_too_early_and_too_long_are_told_apart() {
    let (mut a, mut b) = start([b"", b""]);
    assert_eq!(b.write(b""), Err(NoiseError::OutOfTurn));
    assert_eq!(a.read(&[0; 32]), Err(NoiseError::OutOfTurn));
    assert_eq!(a.write(&vec![0; MAX_RECORD]), Err(NoiseError::TooLong));
    assert_eq!(b.read(&vec![0; MAX_RECORD + 1]), Err(NoiseError::TooLong));
    assert_eq!(a.into_transport().map(|_| ()), Err(NoiseError::OutOfTurn));
    let (mut a, _) = finished();
    assert_eq!(a.write(b""), Err(NoiseError::OutOfTurn));
}
