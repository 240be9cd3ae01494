//! Padding: relays see roughly how long a payload is, not exactly.
//!
//! Lengths are rounded up as PADMÉ does (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication
//! with PURBs", 2019, section 4): at most an eighth more, and few different lengths. The end is marked by a one bit, as in
//! ISO/IEC 7816-4.

const MARK: u8 = 0x80;

/// The padded bytes.
pub(crate) fn pad(plain: &[u8]) -> Vec<u8> {
    let len = padded_len(plain.len() + 1);
    let mut padded = Vec::with_capacity(len);
    padded.extend_from_slice(plain);
    padded.push(MARK);
    padded.resize(len, 0);
    padded
}

/// What was padded; `None` when this is not what [`pad`] makes.
pub(crate) fn unpad(mut padded: Vec<u8>) -> Option<Vec<u8>> {
    let end = padded.iter().rposition(|byte| *byte != 0)?;
    let is_canonical = padded.len() == padded_len(end + 1) && padded.get(end) == Some(&MARK);
    padded.truncate(end);
    is_canonical.then_some(padded)
}

/// The lowest bits are rounded away, as many as the logarithm leaves: a length of `e` bits keeps the first `log2(e) + 1`.
fn padded_len(len: usize) -> usize {
    let len = len.max(32);
    let exponent = len.ilog2();
    let mask = (1usize << (exponent - (exponent.ilog2() + 1))) - 1;
    len.saturating_add(mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_comes_off_again_and_adds_at_most_an_eighth() {
        for len in (0..2000).chain([4095, 4096, 65_537, 1_000_001]) {
            let plain = vec![MARK; len];
            let padded = pad(&plain);
            assert!(padded.len() <= 33.max(len + 1 + len / 8), "{len} became {}", padded.len());
            assert_eq!(unpad(padded), Some(plain));
        }
        let lengths: std::collections::BTreeSet<usize> = (0..4096).map(|len| pad(&vec![1; len]).len()).collect();
        assert!(lengths.len() < 100, "{} lengths", lengths.len());
    }

    #[test]
    fn what_is_not_padded_in_the_one_way_is_refused() {
        assert_eq!(unpad(Vec::new()), None);
        assert_eq!(unpad(vec![0; 32]), None);
        assert_eq!(unpad(vec![1; 32]), None);
        let mut longer = pad(b"abc");
        longer.push(0);
        assert_eq!(unpad(longer), None);
    }
}
