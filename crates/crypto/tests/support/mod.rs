//! What the tests share: seeded randomness, hexadecimal, vectors made by others.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use partita_crypto::rand_core::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

pub fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

pub fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
}

pub fn hex32(text: &str) -> [u8; 32] {
    hex(text).try_into().unwrap()
}

/// A JSON file of `shared/vectors`, which lies beside some directory above this crate.
pub fn vectors(name: &str) -> Option<serde_json::Value> {
    let found: Option<PathBuf> = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|above| above.join("shared/vectors").join(name))
        .find(|path| path.is_file());
    match found {
        Some(path) => Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()),
        None => {
            println!("skipped: {name} is in no shared/vectors above this crate");
            None
        }
    }
}
