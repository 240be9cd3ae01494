//! Texts that people hand to each other (requests, certificates, invitations): a prefix, then lower-case base32 (RFC 4648,
//! without padding) of the bytes and a checksum. Base32 survives telephones, and in upper case makes small QR codes.

use partita_crypto::hash;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const CHECKSUM: &str = "partita 2026 v1 text checksum";
const CHECKSUM_LEN: usize = 4;

/// Why a text is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// It begins differently. Look whether a request and a certificate were mixed up.
    #[error("the text should begin with {expected:?}")]
    Prefix {
        /// What it should begin with.
        expected: &'static str,
    },
    /// A character that such texts do not have.
    #[error("character {position} after the colon is none of a-z and 2-7: look for a typing error there")]
    Character {
        /// Its place after the prefix, counted from 1, white space left out.
        position: usize,
    },
    /// Characters are missing or doubled.
    #[error("{found} characters after the colon where there should be {expected}: look whether some were lost")]
    Length {
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// The text is longer than any of its sort.
    #[error("the text goes on for more than {most} characters: look whether something else was copied with it")]
    TooLong {
        /// The most that there may be.
        most: usize,
    },
    /// All characters are possible ones, but together they are not what was written.
    #[error("a character was mistyped: compare the text with the original, or copy it again")]
    Typo,
    /// Nothing was mistyped, and still it is not valid: whoever made it made it wrongly or dishonestly.
    #[error("nothing is mistyped, but the signature in it does not hold: do not use it, ask for a new one")]
    Signature,
}

/// The text of `body`.
pub fn write(prefix: &'static str, body: &[u8]) -> String {
    let mut text = String::with_capacity(prefix.len() + characters(body.len()));
    text.push_str(prefix);
    let checksum = checksum(prefix, body);
    let (mut bits, mut count) = (0u32, 0);
    for byte in body.iter().chain(&checksum) {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(digit(bits >> count));
        }
    }
    if count > 0 {
        text.push(digit(bits << (5 - count)));
    }
    text
}

/// The `N` bytes in a text. Upper case and white space (a mail program's line breaks) are fine.
///
/// # Errors
/// [`TextError`]: what looks wrong, for whoever typed or copied it.
pub fn read<const N: usize>(prefix: &'static str, text: &str) -> Result<[u8; N], TextError> {
    let body = read_body(prefix, text, |found| {
        let expected = characters(N);
        if found == expected { Ok(()) } else { Err(TextError::Length { found, expected }) }
    })?;
    body.try_into().map_err(|_| TextError::Typo)
}

/// The bytes in a text, at most `most`; the rest as in [`read`].
///
/// # Errors
/// [`TextError`].
pub fn read_up_to(prefix: &'static str, text: &str, most: usize) -> Result<Vec<u8>, TextError> {
    let most = characters(most);
    read_body(prefix, text, |found| if found <= most { Ok(()) } else { Err(TextError::TooLong { most }) })
}

fn read_body(
    prefix: &'static str,
    text: &str,
    length: impl FnOnce(usize) -> Result<(), TextError>,
) -> Result<Vec<u8>, TextError> {
    let text = text.trim();
    let matches = text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let digits = text.get(prefix.len()..).filter(|_| matches).ok_or(TextError::Prefix { expected: prefix })?;
    let digits: Vec<char> = digits.chars().filter(|digit| !digit.is_whitespace()).collect();

    let mut bytes = Vec::with_capacity(digits.len());
    let (mut bits, mut count) = (0u32, 0);
    for (at, digit) in digits.iter().enumerate() {
        let value = ALPHABET.iter().position(|known| char::from(*known) == digit.to_ascii_lowercase());
        let value = value.ok_or(TextError::Character { position: at + 1 })?;
        bits = (bits << 5 | value as u32) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    length(digits.len())?;
    let spare = bits & ((1 << count) - 1);
    let (body, found) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(TextError::Typo)?;
    if spare != 0 || count >= 5 || *found != checksum(prefix, body) {
        return Err(TextError::Typo);
    }
    let len = body.len();
    bytes.truncate(len);
    Ok(bytes)
}

fn digit(bits: u32) -> char {
    char::from(ALPHABET[(bits & 31) as usize])
}

fn characters(body: usize) -> usize {
    ((body + CHECKSUM_LEN) * 8).div_ceil(5)
}

/// Over the prefix too: a request under a certificate's prefix is a mix-up, not a certificate.
fn checksum(prefix: &str, body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let hash = hash(CHECKSUM, &[&[prefix.len() as u8], prefix.as_bytes(), body]);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}
