//! A damaged store's log record is an error, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use partita_protocol::LogRecord;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = LogRecord::decode(data) {
        let again = LogRecord::decode(&record.encode());
        assert_eq!(again.as_ref(), Ok(&record));
    }
});
