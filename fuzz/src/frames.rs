//! A frame that decodes encodes again to the same bytes, but for messages that a later version may add. A node that is
//! told it goes on, and so does its neighbour.

use std::time::Duration;

use partita_core::Bytes;
use partita_protocol::message::{Granted, Message, Opened};
use partita_testing::fleet::Fleet;

/// One input.
pub fn run(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let Ok(messages) = Message::decode_frame(&frame) else { return };
    let again = Message::encode_frame(&messages);
    assert_eq!(Message::decode_frame(&again).as_ref(), Ok(&messages));
    // Skipped messages and refusals of a later version are not written again.
    let later = messages.iter().any(|message| matches!(message, Message::Opened(_) | Message::Refused(_)));
    if !later && !has_skipped(data) {
        assert_eq!(again, frame);
    }
    to_a_node(frame);
}

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

/// The same bytes from a stranger who has a context open with a node: they cost no more than his own session.
fn to_a_node(frame: Bytes) {
    let mut fleet = Fleet::new(1);
    let (node, neighbour) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(node, neighbour);
    fleet.write(node, 1, b"something");
    let stranger = fleet.puppet(node, 66);
    fleet.run();
    let Some(Message::Open(open)) =
        fleet.said(stranger, 0).into_iter().find(|message| matches!(message, Message::Open(_)))
    else {
        panic!("the node opens its context");
    };
    let outcome = Ok(Granted { differs: true, proof: None });
    let opened = Message::Opened(Opened { context: open.context, number: open.number, outcome });
    fleet.say(stranger, &[Message::Open(open), opened, Message::Credit(1 << 20)]);
    fleet.say_frame(stranger, frame);
    fleet.pass(Duration::from_secs(2));
    assert!(fleet.is_up(link), "the neighbour noticed nothing");
    assert!(fleet.try_write(node, 1, b"afterwards").is_ok());
    assert!(fleet.try_write(neighbour, 1, b"afterwards").is_ok());
    fleet.run();
    let (context, authors) = (Fleet::context(0).id, [fleet.id(node), fleet.id(neighbour)]);
    let mut held = |member| authors.map(|author| fleet.node(member).logs_of(&context, &author));
    assert_eq!(held(node), held(neighbour));
}
