//! The three primitives that `snow` asks for, over the same crates as everything else (Noise, section 12).
//!
//! snow's traits hand over slices whose lengths it has checked; nothing here relies on it, so nothing can panic.

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use sha2::{Digest as _, Sha256};
use snow::Error;
use snow::types::{Cipher, Dh, Hash, Random};

use crate::Secret;
use crate::dh::{x25519, x25519_public};

const TAG_LEN: usize = 16;

/// DH function "25519" (Noise, section 12.1), which also refuses points of low order.
pub(super) struct Curve25519 {
    secret: Secret<32>,
    public: [u8; 32],
}

impl Default for Curve25519 {
    fn default() -> Self {
        Self { secret: Secret::from_bytes([0; 32]), public: [0; 32] }
    }
}

impl Curve25519 {
    fn take(&mut self, secret: Secret<32>) {
        self.public = x25519_public(&secret);
        self.secret = secret;
    }
}

impl Dh for Curve25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        if let Ok(bytes) = <[u8; 32]>::try_from(privkey) {
            self.take(Secret::from_bytes(bytes));
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        rng.try_fill_bytes(bytes.as_mut_slice())?;
        self.take(Secret::from_bytes(*bytes));
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.expose()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        // snow's buffers have room for the longest curve: the key is what stands first.
        let public = pubkey.first_chunk::<32>().ok_or(Error::Dh)?;
        let shared = x25519(&self.secret, public).map_err(|_| Error::Dh)?;
        out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(shared.expose());
        Ok(())
    }
}

/// Cipher functions "ChaChaPoly" (Noise, section 12.3): 32 bits of zeros and the counter, little-endian, as nonce.
pub(super) struct ChaChaPoly(ChaCha20Poly1305);

impl Default for ChaChaPoly {
    fn default() -> Self {
        // snow uses a cipher only after it has set its key.
        Self(ChaCha20Poly1305::new(&[0; 32].into()))
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = ChaCha20Poly1305::new(key.into());
    }

    /// Returns 0 and writes nothing if it cannot seal; the callers here treat that as a failure.
    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let len = plaintext.len();
        let Some((body, tag_out)) = out.get_mut(..len + TAG_LEN).and_then(|out| out.split_at_mut_checked(len)) else {
            return 0;
        };
        body.copy_from_slice(plaintext);
        match self.0.encrypt_inout_detached(&counter_nonce(nonce), authtext, (&mut *body).into()) {
            Ok(tag) => {
                tag_out.copy_from_slice(&tag);
                len + TAG_LEN
            }
            Err(_) => {
                body.fill(0);
                0
            }
        }
    }

    fn decrypt(&self, nonce: u64, authtext: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let (sealed, tag) = ciphertext.split_last_chunk::<TAG_LEN>().ok_or(Error::Decrypt)?;
        let body = out.get_mut(..sealed.len()).ok_or(Error::Decrypt)?;
        body.copy_from_slice(sealed);
        self.0
            .decrypt_inout_detached(&counter_nonce(nonce), authtext, body.into(), &Tag::from(*tag))
            .map_err(|_| Error::Decrypt)?;
        Ok(sealed.len())
    }
}

fn counter_nonce(counter: u64) -> Nonce {
    let [a, b, c, d, e, f, g, h] = counter.to_le_bytes();
    Nonce::from([0, 0, 0, 0, a, b, c, d, e, f, g, h])
}

/// Hash function "SHA256" (Noise, section 12.5). HMAC and HKDF over it are snow's own, as Noise defines them.
#[derive(Default)]
pub(super) struct Sha256Hash(Sha256);

impl Hash for Sha256Hash {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Sha256::default();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let digest = self.0.finalize_reset();
        if let Some(out) = out.get_mut(..32) {
            out.copy_from_slice(&digest);
        }
    }
}
