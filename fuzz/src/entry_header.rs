//! A header that decodes is canonical; a stored entry is its header.

use partita_core::{Bytes, Entry, EntryHeader, codec::Reader};

/// One input.
pub fn run(data: &[u8]) {
    let mut input = Reader::new(data);
    if let Ok(header) = EntryHeader::decode(&mut input) {
        let used = data.len() - input.rest().len();
        assert_eq!(header.encode(), &data[..used]);
        assert_eq!(header.id(), EntryHeader::id_of(&data[..used]));
    }
    if let Ok(entry) = Entry::from_stored(data, Bytes::new()) {
        assert_eq!(entry.head_bytes(), data);
    }
}
