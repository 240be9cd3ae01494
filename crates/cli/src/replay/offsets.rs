//! Positions in scalar values, and as UTF-16 counts them.

use crate::trace::Patch;

/// Where the characters of a text are that take two UTF-16 code units. Most texts have few or none, so this costs little
/// beside the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offsets {
    /// In scalar values, rising.
    wide: Vec<usize>,
}

impl Offsets {
    pub(crate) fn of(text: &str) -> Self {
        Self { wide: wide(text).collect() }
    }

    /// How many code units lie before a position.
    pub(crate) fn units(&self, position: usize) -> usize {
        position + self.wide.partition_point(|wide| *wide < position)
    }

    /// How many scalar values a text of so many code units has.
    pub(crate) fn scalars(&self, units: usize) -> usize {
        units.saturating_sub(self.wide.len())
    }

    /// Follows a patch that lies inside of the text.
    pub(crate) fn splice(&mut self, patch: &Patch) {
        let from = self.wide.partition_point(|wide| *wide < patch.position);
        let to = self.wide.partition_point(|wide| *wide < patch.position + patch.deleted);
        if from < self.wide.len() {
            let inserted = patch.inserted.chars().count();
            for wide in self.wide.iter_mut().skip(to) {
                *wide = *wide - patch.deleted + inserted;
            }
        }
        self.wide.splice(from..to, wide(&patch.inserted).map(|wide| patch.position + wide));
    }
}

fn wide(text: &str) -> impl Iterator<Item = usize> {
    text.chars().enumerate().filter(|(_, char)| char.len_utf16() == 2).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_followed() {
        let mut text: Vec<char> = "a😀b😀😀c".chars().collect();
        let mut offsets = Offsets::of(&text.iter().collect::<String>());
        for (position, deleted, inserted) in [(1, 0, "x😀"), (0, 3, ""), (2, 2, "é"), (3, 1, "😀😀"), (5, 0, "z")]
        {
            let patch = Patch { position, deleted, inserted: inserted.to_owned() };
            text.splice(position..position + deleted, inserted.chars());
            offsets.splice(&patch);
            let now: String = text.iter().collect();
            assert_eq!(offsets, Offsets::of(&now));
            assert_eq!(offsets.units(text.len()), now.encode_utf16().count());
            assert_eq!(offsets.scalars(now.encode_utf16().count()), text.len());
        }
    }
}
