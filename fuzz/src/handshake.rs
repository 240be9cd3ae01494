//! A stranger's bytes, on both sides of the handshake and behind it.

use std::sync::Arc;

use partita_core::Incarnation;
use partita_crypto::{Secret, SigningKey};
use partita_protocol::channel::{Handshake, LocalIdentity};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

fn identity(seed: u8) -> LocalIdentity {
    let key = Arc::new(SigningKey::from_seed(&Secret::from_bytes([seed; 32])));
    LocalIdentity { key, incarnation: Incarnation::from_bytes([seed; 16]) }
}

/// One input.
pub fn run(data: &[u8]) {
    let [stage, frame @ ..] = data else { return };
    let (mut ours, mut theirs) = (ChaCha20Rng::from_seed([1; 32]), ChaCha20Rng::from_seed([2; 32]));
    let Ok((mut dialer, mut next)) = Handshake::dial(identity(1), None, &mut ours) else { return };
    let Ok(mut acceptor) = Handshake::accept(identity(2), &mut theirs) else { return };
    let (mut at_dialer, mut at_acceptor) = (None, None);
    for step in 0..5 {
        let to_acceptor = step % 2 == 0;
        let side = if to_acceptor { &mut acceptor } else { &mut dialer };
        if step == stage % 6 {
            // Instead of the honest frame; whatever it leads to, nothing may follow an error.
            if side.receive(frame).is_err() {
                assert!(side.receive(&next).is_err());
            }
            return;
        }
        let Ok(took) = side.receive(&next) else { panic!("an honest handshake") };
        let done = if to_acceptor { &mut at_acceptor } else { &mut at_dialer };
        *done = took.done;
        next = took.send.into_iter().next().unwrap_or_default();
    }
    let (Some(mut dialer), Some(mut acceptor)) = (at_dialer, at_acceptor) else { panic!("it stands on both sides") };
    assert!(dialer.opener.open(frame).is_err(), "nobody forges a record");
    if let Ok(sealed) = dialer.sealer.seal(frame) {
        assert_eq!(acceptor.opener.open(&sealed).as_deref(), Ok(frame));
    }
}

/// An input for each step of an honest handshake, with the frame that belongs there.
pub fn honest() -> Vec<(String, Vec<u8>)> {
    let (mut ours, mut theirs) = (ChaCha20Rng::from_seed([1; 32]), ChaCha20Rng::from_seed([2; 32]));
    let Ok((mut dialer, mut next)) = Handshake::dial(identity(1), None, &mut ours) else { return Vec::new() };
    let Ok(mut acceptor) = Handshake::accept(identity(2), &mut theirs) else { return Vec::new() };
    let mut inputs = vec![("behind".into(), b"\x05a record".to_vec())];
    for step in 0..5u8 {
        inputs.push((format!("step-{step}"), [&[step], &next[..]].concat()));
        let side = if step % 2 == 0 { &mut acceptor } else { &mut dialer };
        let Ok(took) = side.receive(&next) else { break };
        next = took.send.into_iter().next().unwrap_or_default();
    }
    inputs
}
