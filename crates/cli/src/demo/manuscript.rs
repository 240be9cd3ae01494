//! The text that is typed: this repository's own README, divided among three replicas.

use super::wire::Word;

/// The most words that one replica types in one document; a longer text is typed in longer pieces.
const MOST_WORDS: usize = 300;

/// A text in paragraphs. Each replica types every third one, so that none could be made by one of them alone.
#[derive(Debug)]
pub(crate) struct Manuscript {
    paragraphs: Vec<String>,
    typists: usize,
}

impl Manuscript {
    pub(crate) fn new(text: &str, typists: usize) -> Self {
        Self { paragraphs: text.split_inclusive("\n\n").map(str::to_owned).collect(), typists }
    }

    /// How many parts the documents need.
    pub(crate) fn parts(&self) -> usize {
        self.paragraphs.len()
    }

    /// The bytes of the whole text.
    pub(crate) fn bytes(&self) -> usize {
        self.paragraphs.iter().map(String::len).sum()
    }

    /// Whether these parts are the whole text.
    pub(crate) fn is(&self, parts: &[String]) -> bool {
        self.paragraphs == parts
    }

    /// What one replica types, in order.
    pub(crate) fn words_of(&self, typist: usize) -> Vec<Word> {
        let mine = || self.paragraphs.iter().enumerate().skip(typist).step_by(self.typists);
        let bytes: usize = mine().map(|(_, paragraph)| paragraph.len()).sum();
        let least = bytes.div_ceil(MOST_WORDS);
        mine().flat_map(|(part, paragraph)| pieces(part, paragraph, least)).collect()
    }

    /// How many of a replica's words are in a document: typed in order, they are there in order or not at all.
    pub(crate) fn present(&self, words: &[Word], parts: &[String]) -> usize {
        let mut rest: Vec<&str> = parts.iter().map(String::as_str).collect();
        let is_there = |word: &&Word| match rest.get_mut(word.part) {
            Some(part) => part.strip_prefix(word.text.as_str()).map(|after| *part = after).is_some(),
            None => false,
        };
        words.iter().take_while(is_there).count()
    }
}

/// A paragraph in words with the space after them, several together until they have enough bytes.
fn pieces(part: usize, paragraph: &str, least: usize) -> Vec<Word> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    for word in paragraph.split_inclusive([' ', '\n']) {
        text.push_str(word);
        if text.len() >= least {
            pieces.push(Word { part, text: std::mem::take(&mut text) });
        }
    }
    if !text.is_empty() {
        pieces.push(Word { part, text });
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# One\n\nTwo words and | a table |\n\nDreißig Ö\n\nfour\n";

    #[test]
    fn together_the_typists_type_the_whole_text() {
        let manuscript = Manuscript::new(TEXT, 3);
        let mut parts = vec![String::new(); manuscript.parts()];
        for word in (0..3).flat_map(|typist| manuscript.words_of(typist)) {
            parts[word.part].push_str(&word.text);
        }
        assert!(manuscript.is(&parts));
        assert_eq!(parts.concat(), TEXT);
    }

    #[test]
    fn a_missing_word_is_noticed_even_when_later_ones_are_there() {
        let manuscript = Manuscript::new(TEXT, 1);
        let words = manuscript.words_of(0);
        let mut parts = vec![String::new(); manuscript.parts()];
        for (number, word) in words.iter().enumerate() {
            if number != 2 {
                parts[word.part].push_str(&word.text);
            }
        }
        assert_eq!(manuscript.present(&words, &parts), 2);
    }
}
