//! Ids as people type them: by their first digits, as far as these are one's alone.

use std::fmt::Display;

use crate::error::CliError;

/// How many digits of an id are shown to people.
const SHORT: usize = 8;

/// An id for people.
pub(crate) fn short(id: impl Display) -> String {
    let mut id = id.to_string();
    id.truncate(SHORT);
    id
}

/// The one of these that begins so.
pub(crate) fn pick<T: Copy + Display>(
    what: &'static str,
    typed: &str,
    all: impl IntoIterator<Item = T>,
) -> Result<T, CliError> {
    let start = typed.trim().to_ascii_lowercase();
    let begins = |id: &T| !start.is_empty() && id.to_string().starts_with(&start);
    let found: Vec<T> = all.into_iter().filter(begins).collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err(CliError::NoSuch { what, typed: typed.into() }),
        _ => {
            let found = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ");
            Err(CliError::Ambiguous { what, typed: typed.into(), found })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_that_is_one_s_alone_is_enough() {
        assert_eq!(pick("number", "12", [123, 456]).unwrap(), 123);
        assert_eq!(pick("number", " 4", [123, 456]).unwrap(), 456);
    }

    #[test]
    fn a_beginning_that_several_have_names_them_all_and_nothing_is_no_beginning() {
        let several = pick("number", "1", [123, 145, 456]).unwrap_err().to_string();
        assert!(several.contains("123") && several.contains("145") && !several.contains("456"), "{several}");
        assert!(pick("number", "", [123]).is_err());
        assert!(pick("number", "9", [123]).is_err());
    }
}
