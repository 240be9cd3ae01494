//! Who can read what: what the rules promise, beside what was found by trying.

use serde::Serialize;

use crate::table::table;

/// What came out of the group's story.
#[derive(Debug, Serialize)]
pub(crate) struct Rights {
    /// Whether every cell is as the rules promise, and the relay refused the one who was removed.
    pub(crate) ok: bool,
    pub(crate) refused: bool,
    pub(crate) seconds: f64,
    pub(crate) columns: Vec<String>,
    pub(crate) members: Vec<Row>,
}

/// One member, and what it can read of each column.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) member: String,
    /// How it came to be where it is.
    pub(crate) role: String,
    pub(crate) cells: Vec<Cell>,
}

/// What of something a member can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Found {
    All,
    /// Never promised.
    Some,
    None,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cell {
    pub(crate) found: Found,
    pub(crate) promised: bool,
}

impl Found {
    /// How much of these words is in what was read.
    pub(crate) fn of(words: &[String], read: &str) -> Self {
        match words.iter().filter(|word| read.contains(word.as_str())).count() {
            0 => Self::None,
            count if count == words.len() => Self::All,
            _ => Self::Some,
        }
    }
}

impl Cell {
    fn is_kept(self) -> bool {
        self.found == if self.promised { Found::All } else { Found::None }
    }

    fn text(self) -> String {
        let found = match self.found {
            Found::All => "reads it",
            Found::Some => "reads some of it",
            Found::None => "-",
        };
        if self.is_kept() { found.to_owned() } else { format!("{found}: WRONG") }
    }
}

impl Rights {
    pub(crate) fn new(refused: bool, seconds: f64, columns: &[&str], members: Vec<Row>) -> Self {
        let ok = refused && members.iter().flat_map(|row| &row.cells).all(|cell| cell.is_kept());
        Self { ok, refused, seconds, columns: columns.iter().map(|column| (*column).to_owned()).collect(), members }
    }

    /// The table, as plain text.
    pub(crate) fn table(&self) -> String {
        let head = ["member", ""].map(str::to_owned).into_iter().chain(self.columns.iter().cloned());
        let rows = self.members.iter().map(|row| {
            let who = [format!("{} {}", row.name, crate::group::short(&row.member)), row.role.clone()];
            who.into_iter().chain(row.cells.iter().map(|cell| cell.text())).collect()
        });
        table(&std::iter::once(head.collect()).chain(rows).collect::<Vec<Vec<String>>>(), &[])
    }

    pub(crate) fn verdict(&self) -> String {
        if !self.refused {
            "THE RELAY DID NOT REFUSE WHOM THE GROUP REMOVED.".into()
        } else if self.ok {
            format!("Everybody reads what the rules promise, and nothing else, in {:.1} s.", self.seconds)
        } else {
            "SOMEBODY READS WHAT IT MAY NOT, OR DOES NOT READ WHAT IT MAY.".into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(found: Found, promised: bool) -> Rights {
        let row = Row { name: "A", member: "aa".into(), role: "admin".into(), cells: vec![Cell { found, promised }] };
        Rights::new(true, 1.0, &["before"], vec![row])
    }

    #[test]
    fn a_cell_that_is_not_as_promised_spoils_the_result_and_is_seen_in_the_table() {
        for (found, promised, ok) in [
            (Found::All, true, true),
            (Found::None, false, true),
            (Found::All, false, false),
            (Found::None, true, false),
            (Found::Some, true, false),
            (Found::Some, false, false),
        ] {
            let rights = rights(found, promised);
            assert_eq!(rights.ok, ok, "{found:?}, {promised}");
            assert_eq!(rights.table().contains("WRONG"), !ok, "{}", rights.table());
        }
    }

    #[test]
    fn a_relay_that_lets_the_removed_in_spoils_the_result() {
        assert!(!Rights::new(false, 1.0, &[], Vec::new()).ok);
    }

    #[test]
    fn words_that_are_missing_are_noticed() {
        let words = ["one ".to_owned(), "two ".to_owned()];
        assert_eq!(Found::of(&words, "two one "), Found::All);
        assert_eq!(Found::of(&words, "one "), Found::Some);
        assert_eq!(Found::of(&words, "three "), Found::None);
    }
}
