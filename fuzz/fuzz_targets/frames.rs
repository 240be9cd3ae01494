//! A frame that decodes encodes again to the same bytes, but for messages that a later version may add.

#![no_main]

use libfuzzer_sys::fuzz_target;
use partita_core::Bytes;
use partita_protocol::message::Message;

fuzz_target!(|data: &[u8]| {
    let frame = Bytes::copy_from_slice(data);
    let Ok(messages) = Message::decode_frame(&frame) else { return };
    let again = Message::encode_frame(&messages);
    assert_eq!(Message::decode_frame(&again).as_ref(), Ok(&messages));
    // Skipped messages and refusals of a later version are not written again.
    let later = messages.iter().any(|message| matches!(message, Message::Opened(_) | Message::Refused(_)));
    if !later && !has_skipped(data) {
        assert_eq!(again, frame);
    }
});

fn has_skipped(mut frame: &[u8]) -> bool {
    while let Some((tag, rest)) = frame.split_first() {
        let mut input = partita_core::codec::Reader::new(rest);
        if *tag >= 64 || input.bytes("a message", usize::MAX).is_err() {
            return true;
        }
        frame = input.rest();
    }
    false
}
