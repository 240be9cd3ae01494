//! The owner's secret on paper: 24 English words for 32 bytes of entropy (BIP-39, without its passphrase and seed).
//!
//! People mistype. Every error says what is wrong and what to do, and none repeats a word: errors end up in logs, and
//! 23 right words beside a wrong one are almost the secret.

use std::fmt;

use bip39::Language;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::Secret;

/// How many words there are.
pub const WORDS: usize = 24;

/// 32 secret bytes that can be written down. Zeroized when dropped; prints nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Mnemonic(Secret<32>);

impl Mnemonic {
    /// The words of 32 random bytes.
    pub fn from_entropy(entropy: &Secret<32>) -> Self {
        Self(entropy.clone())
    }

    /// Reads words that somebody typed. Upper case and any white space between words are fine.
    ///
    /// # Errors
    ///
    /// See [`MnemonicError`].
    pub fn parse(phrase: &str) -> Result<Self, MnemonicError> {
        let found = phrase.split_whitespace().count();
        if found != WORDS {
            return Err(MnemonicError::WordCount { found });
        }
        let mut lower = Zeroizing::new(String::with_capacity(phrase.len()));
        lower.push_str(phrase);
        lower.make_ascii_lowercase();

        let parsed = bip39::Mnemonic::parse_in_normalized(Language::English, &lower).map_err(|error| match error {
            bip39::Error::UnknownWord(index) => MnemonicError::UnknownWord { position: index + 1 },
            bip39::Error::BadWordCount(found) => MnemonicError::WordCount { found },
            _ => MnemonicError::Checksum,
        })?;
        // 24 words are 256 bits of entropy and 8 of checksum; the array has room for both.
        let (mut bytes, _) = parsed.to_entropy_array();
        let entropy = bytes.first_chunk::<32>().copied().map(Secret::from_bytes);
        bytes.zeroize();
        entropy.map(Self).ok_or(MnemonicError::Checksum)
    }

    /// The 32 bytes.
    pub fn entropy(&self) -> Secret<32> {
        self.0.clone()
    }

    /// The words in lower case, one space between them. Show them, do not store them.
    pub fn phrase(&self) -> Zeroizing<String> {
        let list = Language::English.word_list();
        // The longest English word has 8 letters: no reallocation leaves a copy behind.
        let mut phrase = Zeroizing::new(String::with_capacity(WORDS * 9));
        for word in self.indices().iter().filter_map(|index| list.get(*index)) {
            if !phrase.is_empty() {
                phrase.push(' ');
            }
            phrase.push_str(word);
        }
        phrase
    }

    /// BIP-39, "Generating the mnemonic": the entropy, then the first 8 bits of its SHA-256, cut into groups of 11 bits.
    fn indices(&self) -> Zeroizing<[usize; WORDS]> {
        let checksum: [u8; 32] = Sha256::digest(self.0.expose()).into();
        let mut indices = Zeroizing::new([0; WORDS]);
        let bits = self
            .0
            .expose()
            .iter()
            .chain(checksum.first())
            .flat_map(|byte| (0..8).rev().map(move |shift| usize::from(byte >> shift & 1)));
        for (position, bit) in bits.enumerate() {
            if let Some(index) = indices.get_mut(position / 11) {
                *index = *index << 1 | bit;
            }
        }
        indices
    }
}

impl fmt::Debug for Mnemonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mnemonic(..)")
    }
}

/// Why typed words are no mnemonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MnemonicError {
    /// A word was left out, typed twice or split.
    #[error("{found} words where there should be 24: look for a word that is missing, doubled or split")]
    WordCount {
        /// How many words were typed.
        found: usize,
    },
    /// A word that is not in the list.
    #[error("word {position} is not in the English word list: check how it is spelled")]
    UnknownWord {
        /// Its place, counted from 1.
        position: usize,
    },
    /// Every word is in the list, but together they are not a mnemonic.
    #[error("the words do not fit together: look for two that are swapped, or one that stands for another")]
    Checksum,
}
