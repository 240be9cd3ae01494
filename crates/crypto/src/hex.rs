//! Public bytes as lower-case hexadecimal, for `Debug` and `Display` only.

use std::fmt;

/// Writes `bytes` without a temporary string. Never call it with anything secret.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
