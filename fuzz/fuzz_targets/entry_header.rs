//! A header that decodes is canonical; a stored entry is its header.

#![no_main]

use libfuzzer_sys::fuzz_target;
use partita_core::{Bytes, Entry, EntryHeader, codec::Reader};

fuzz_target!(|data: &[u8]| {
    let mut input = Reader::new(data);
    if let Ok(header) = EntryHeader::decode(&mut input) {
        let used = data.len() - input.rest().len();
        assert_eq!(header.encode(), &data[..used]);
        assert_eq!(header.id(), EntryHeader::id_of(&data[..used]));
    }
    if let Ok(entry) = Entry::from_stored(data, Bytes::new()) {
        assert_eq!(entry.head_bytes(), data);
    }
});
