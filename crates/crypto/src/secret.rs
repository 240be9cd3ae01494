//! Bytes that must not leak: through memory, logs or timing.

use std::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// `N` secret bytes: zeroized when dropped, printed as `Secret(..)`, compared in constant time.
///
/// Zeroizing is best effort: a value that is moved may leave a copy on the stack, and memory may be swapped out.
/// Keep secrets where they are and hand out references.
#[derive(Clone)]
pub struct Secret<const N: usize>(Zeroizing<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Takes bytes that came from elsewhere. The caller's own copy is the caller's to erase.
    pub fn from_bytes(bytes: [u8; N]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Fresh bytes from `rng`.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; N]);
        rng.fill_bytes(bytes.as_mut_slice());
        Self(bytes)
    }

    /// The bytes themselves. Every call of this is a place for a reviewer to look at.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
