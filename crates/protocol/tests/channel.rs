//! Who is at the other end is proved, and nobody in between can change, reorder or repeat anything.

use std::sync::Arc;

use partita_core::{Bytes, ReplicaId};
use partita_protocol::channel::{
    Authenticated, ChannelError, Handshake, LocalIdentity, MAX_FRAME, MAX_HANDSHAKE_FRAME,
};
use partita_testing::samples;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

fn identity(seed: u8) -> LocalIdentity {
    LocalIdentity { key: Arc::new(samples::signing_key(seed)), incarnation: samples::incarnation(seed) }
}

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// A handshake of replica 1, who dials, and replica 2; the frames pass through `tamper`, which gets their number.
fn meet(
    pinned: Option<ReplicaId>,
    mut tamper: impl FnMut(usize, Bytes) -> Bytes,
) -> Result<[Authenticated; 2], (usize, ChannelError)> {
    let (mut dialer, first) = Handshake::dial(identity(1), pinned, &mut rng(1)).unwrap();
    let mut acceptor = Handshake::accept(identity(2), &mut rng(2)).unwrap();
    let (mut dialed, mut accepted) = (None, None);
    let mut frame = first;
    for number in 0..5 {
        let side = if number % 2 == 0 { &mut acceptor } else { &mut dialer };
        let step = side.receive(&tamper(number, frame.clone())).map_err(|error| (number, error))?;
        if let Some(done) = step.done {
            *if number % 2 == 0 { &mut accepted } else { &mut dialed } = Some(*done);
        }
        if let Some(next) = step.send.first() {
            frame = next.clone();
        }
    }
    Ok([dialed.unwrap(), accepted.unwrap()])
}

fn channel() -> [Authenticated; 2] {
    meet(Some(samples::replica(2)), |_, frame| frame).unwrap()
}

#[test]
fn both_sides_know_whom_they_talk_to() {
    let [dialed, accepted] = channel();
    assert_eq!(dialed.remote, samples::signing_key(2).verifying_key());
    assert_eq!(accepted.remote, samples::signing_key(1).verifying_key());
    assert_eq!(dialed.handshake, accepted.handshake);
    assert_eq!(dialed.incarnation, samples::incarnation(2));
    assert!(dialed.pinned && dialed.dialled && !accepted.pinned && !accepted.dialled);
}

#[test]
fn frames_of_every_size_pass() {
    let [mut dialed, mut accepted] = channel();
    for len in [0, 1, 65_518, 65_519, 65_520, 200_000, 2_000_000] {
        let plain = samples::noise(len as u64, len);
        let sealed = dialed.sealer.seal(&plain).unwrap();
        assert_eq!(accepted.opener.open(&sealed).unwrap(), plain);
    }
    let too_large = vec![0; MAX_FRAME];
    assert_eq!(dialed.sealer.seal(&too_large), Err(ChannelError::TooLarge(MAX_FRAME)));
    // What was not sent does not count: the channel goes on.
    let sealed = dialed.sealer.seal(b"still here").unwrap();
    assert_eq!(accepted.opener.open(&sealed).unwrap(), &b"still here"[..]);
}

#[test]
fn a_wrong_remote_is_refused_before_it_learns_who_dials() {
    let pinned = Some(samples::replica(3));
    let (frames, error) = meet(pinned, |_, frame| frame).unwrap_err();
    assert_eq!(frames, 1, "the third frame, which says who dials, was not sent");
    assert!(matches!(error, ChannelError::WrongRemote { .. }));
}

#[test]
fn a_device_does_not_talk_to_itself() {
    let (mut dialer, first) = Handshake::dial(identity(1), None, &mut rng(1)).unwrap();
    let mut acceptor = Handshake::accept(identity(1), &mut rng(2)).unwrap();
    let second = acceptor.receive(&first).unwrap().send.remove(0);
    assert_eq!(dialer.receive(&second).unwrap_err(), ChannelError::Ourselves);
    assert_eq!(dialer.receive(&second).unwrap_err(), ChannelError::Unexpected);
}

#[test]
fn every_bit_of_a_handshake_matters() {
    for target in 0..5 {
        let mut len = 0;
        meet(None, |number, frame| {
            if number == target {
                len = frame.len();
            }
            frame
        })
        .unwrap();
        for at in (0..len).step_by(7) {
            let changed = meet(None, |number, frame| {
                let mut frame = frame.to_vec();
                if number == target {
                    frame[at] ^= 1;
                }
                frame.into()
            });
            assert!(changed.is_err(), "byte {at} of frame {target}");
        }
        for cut in [0, 1, len - 1] {
            let cut =
                meet(None, |number, frame| if number == target { frame.slice(..cut.min(frame.len())) } else { frame });
            assert!(cut.is_err());
        }
    }
}

#[test]
fn a_signature_cannot_be_reflected() {
    // The dialer gets its own kind of frame back: nothing of it proves the other side.
    let (mut dialer, first) = Handshake::dial(identity(1), None, &mut rng(1)).unwrap();
    let mut acceptor = Handshake::accept(identity(2), &mut rng(2)).unwrap();
    let second = acceptor.receive(&first).unwrap().send.remove(0);
    let third = dialer.receive(&second).unwrap().send.remove(0);
    let signature = acceptor.receive(&third).unwrap().send.remove(0);
    let last = dialer.receive(&signature).unwrap().send.remove(0);
    assert!(acceptor.receive(&signature).is_err());
    assert!(dialer.receive(&last).is_err());
}

#[test]
fn one_in_the_middle_without_a_key_gets_nowhere() {
    // It runs a handshake with each side and passes the signatures on.
    let (mut dialer, first) = Handshake::dial(identity(1), None, &mut rng(1)).unwrap();
    let mut towards_dialer = Handshake::accept(identity(2), &mut rng(3)).unwrap();
    let (mut towards_acceptor, other) = Handshake::dial(identity(1), None, &mut rng(4)).unwrap();
    let mut acceptor = Handshake::accept(identity(2), &mut rng(2)).unwrap();
    let second = towards_dialer.receive(&first).unwrap().send.remove(0);
    dialer.receive(&second).unwrap();
    let answer = acceptor.receive(&other).unwrap().send.remove(0);
    let third = towards_acceptor.receive(&answer).unwrap().send.remove(0);
    let real = acceptor.receive(&third).unwrap().send.remove(0);
    assert!(dialer.receive(&real).is_err(), "it belongs to another channel");
}

#[test]
fn what_comes_before_the_remote_is_known_is_small() {
    let mut acceptor = Handshake::accept(identity(2), &mut rng(2)).unwrap();
    let large = vec![0; MAX_HANDSHAKE_FRAME + 1];
    assert_eq!(acceptor.receive(&large).unwrap_err(), ChannelError::TooLarge(MAX_HANDSHAKE_FRAME));
}

#[test]
fn frames_that_are_changed_left_out_repeated_moved_or_cut_end_the_channel() {
    let frames = |dialed: &mut Authenticated| -> Vec<Bytes> {
        (0..3u8).map(|n| dialed.sealer.seal(&[n; 100]).unwrap()).collect()
    };
    let [mut dialed, mut accepted] = channel();
    let sent = frames(&mut dialed);
    assert!(accepted.opener.open(&sent[1]).is_err(), "left out");

    let [mut dialed, mut accepted] = channel();
    let sent = frames(&mut dialed);
    accepted.opener.open(&sent[0]).unwrap();
    assert!(accepted.opener.open(&sent[0]).is_err(), "repeated");

    let [mut dialed, mut accepted] = channel();
    let sent = frames(&mut dialed);
    assert!(dialed.opener.open(&sent[0]).is_err(), "reflected");
    let mut changed = sent[0].to_vec();
    changed[50] ^= 1;
    assert!(accepted.opener.open(&changed).is_err(), "changed");

    // The records of one frame, the other way round; and a frame without its last record.
    let [mut dialed, mut accepted] = channel();
    let long = dialed.sealer.seal(&vec![7; 130_000]).unwrap();
    let (one, rest) = long.split_at(65_537);
    assert!(accepted.opener.open(&[rest, one].concat()).is_err(), "moved");

    let [mut dialed, mut accepted] = channel();
    let long = dialed.sealer.seal(&vec![7; 130_000]).unwrap();
    // A frame that is cut between two records would pass as a shorter one.
    assert!(accepted.opener.open(&long[..65_537]).is_err(), "cut between two records");
    assert!(accepted.opener.open(&[]).is_err(), "empty");
}
