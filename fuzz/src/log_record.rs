//! A damaged store's log record is an error, never a panic.

use partita_protocol::LogRecord;

/// One input.
pub fn run(data: &[u8]) {
    if let Ok(record) = LogRecord::decode(data) {
        let again = LogRecord::decode(&record.encode());
        assert_eq!(again.as_ref(), Ok(&record));
    }
}
