//! Key epochs: boxes of any bytes open for nobody, what was boxed opens for its reader alone, one id keeps one secret,
//! and who knows the same epochs writes under the same one.

use std::collections::BTreeMap;

use partita_crypto::{
    BoxBinding, BoxSecretKey, EPOCH_BOX_LEN, EpochError, EpochFacts, EpochId, EpochKeys, EpochSecret, Hash, Secret,
    choose_epoch, open_epoch, open_epochs, payload_key, seal_epoch, seal_epochs,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

fn id(number: u8) -> EpochId {
    EpochId(Hash::from_bytes([number % 8; 32]))
}

fn secret(number: u8) -> EpochSecret {
    EpochSecret(Secret::from_bytes([number; 32]))
}

fn binding(key: &BoxSecretKey, number: u8) -> BoxBinding {
    BoxBinding { context: [number; 32], sender: [2; 32], recipient: [3; 32], recipient_key: key.public() }
}

/// One input: a sequence of operations, each with its arguments.
pub fn run(data: &[u8]) {
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let readers = [BoxSecretKey::generate(&mut rng), BoxSecretKey::generate(&mut rng)];
    let (mut keys, mut model): (EpochKeys, BTreeMap<EpochId, u8>) = (EpochKeys::new(), BTreeMap::new());
    let mut facts: Vec<EpochFacts> = Vec::new();
    let mut rest = data;
    for _ in 0..32 {
        let [op, a, b, after @ ..] = rest else { break };
        rest = after;
        match op % 7 {
            0 => {
                let new = keys.insert(id(*a), secret(*b));
                assert_eq!(new, !model.contains_key(&id(*a)));
                model.entry(id(*a)).or_insert(*b);
            }
            1 => {
                // Through the cache, twice.
                let (context, author) = ([*b; 32], [b.wrapping_mul(3); 32]);
                for _ in 0..2 {
                    let found = keys.payload_key(&id(*a), &context, &author);
                    let expected = model.get(&id(*a)).map(|number| payload_key(&secret(*number), &context, &author));
                    assert_eq!(found.is_some(), expected.is_some());
                    if let (Some(found), Some(expected)) = (found, expected) {
                        let Ok(sealed) = found.seal(&mut rng, b"header", b"payload") else { panic!("it seals") };
                        assert_eq!(expected.open(b"header", &sealed).as_deref(), Ok(&b"payload"[..]));
                        assert!(expected.open(b"other", &sealed).is_err());
                    }
                }
            }
            2 => {
                let (reader, other) = (&readers[usize::from(a & 1)], &readers[usize::from(!a & 1)]);
                let (bound, secret) = (binding(reader, *b), secret(*a));
                let Ok(sealed) = seal_epoch(&mut rng, &secret, &reader.public(), &bound, b"op") else {
                    panic!("it boxes")
                };
                let commitment = secret.commitment();
                assert_eq!(open_epoch(reader, &bound, b"op", &commitment, &sealed), Ok(secret));
                assert_eq!(open_epoch(other, &bound, b"op", &commitment, &sealed), Err(EpochError::OtherKey));
                let moved = binding(reader, b.wrapping_add(1));
                assert!(open_epoch(reader, &moved, b"op", &commitment, &sealed).is_err());
                // Changed bytes: a place and a value for each.
                let (changes, after) = rest.split_at(rest.len().min(usize::from(*op) / 32 * 2));
                rest = after;
                let mut changed = sealed.clone();
                for [place, value] in changes.as_chunks::<2>().0 {
                    changed[usize::from(*place) % EPOCH_BOX_LEN] ^= value;
                }
                if changed != sealed {
                    assert!(open_epoch(reader, &bound, b"op", &commitment, &changed).is_err());
                }
            }
            3 => {
                let (sealed, after) = rest.split_at(rest.len().min(usize::from(*a)));
                rest = after;
                let bound = binding(&readers[0], *b);
                assert!(open_epoch(&readers[0], &bound, b"op", &secret(*b).commitment(), sealed).is_err());
                assert!(open_epochs(&readers[0], &bound, b"op", &[None], sealed).is_err());
            }
            4 => {
                let secrets: Vec<EpochSecret> = (0..a % 6).map(secret).collect();
                let (bound, all) = (binding(&readers[0], *b), secrets.iter().collect::<Vec<_>>());
                let Ok(sealed) = seal_epochs(&mut rng, &all, &readers[0].public(), &bound, b"op") else {
                    panic!("it boxes")
                };
                // A commitment that is not known, or another's, gives no secret.
                let commitments: Vec<Option<Hash>> = (0..a % 6)
                    .map(|number| match b >> (number % 4 * 2) & 3 {
                        0 => None,
                        1 => Some(secret(number ^ 0x80).commitment()),
                        _ => Some(secret(number).commitment()),
                    })
                    .collect();
                let Ok(opened) = open_epochs(&readers[0], &bound, b"op", &commitments, &sealed) else {
                    panic!("it opens")
                };
                for ((opened, commitment), secret) in opened.iter().zip(&commitments).zip(&secrets) {
                    let fits = commitment.is_some_and(|commitment| secret.check(&commitment));
                    assert_eq!(opened.as_ref(), fits.then_some(secret));
                }
                let fewer = &commitments[..commitments.len().saturating_sub(1)];
                if fewer.len() < commitments.len() {
                    assert_eq!(open_epochs(&readers[0], &bound, b"op", fewer, &sealed), Err(EpochError::Length));
                }
            }
            5 => facts.push(EpochFacts {
                id: id(*a),
                depth: u64::from(*b) % 4,
                held: b & 0x10 == 0,
                rightful: b & 0x20 == 0,
                recipients_current: b & 0x40 == 0,
                covers_all_losses: b & 0x80 == 0,
            }),
            _ => {
                let chosen = choose_epoch(&facts);
                let turn = usize::from(*a) % facts.len().max(1);
                facts.rotate_left(turn);
                assert_eq!(choose_epoch(&facts), chosen, "whatever order they came in");
                let writable: Vec<&EpochFacts> = facts.iter().filter(|epoch| epoch.writable()).collect();
                let deepest = writable.iter().map(|epoch| epoch.depth).max();
                let expected = writable.iter().filter(|epoch| Some(epoch.depth) == deepest).map(|epoch| epoch.id).min();
                assert_eq!(chosen, expected);
            }
        }
    }
    assert_eq!(keys.len(), model.len());
    for (id, found) in keys.iter() {
        assert_eq!(model.get(id).map(|number| secret(*number)).as_ref(), Some(found));
    }
}
