//! What a replica says that it holds, and how it shows it: tips, frontiers, the beginnings of logs, stamps, witnesses.
//! What is read is canonical, a frontier is a set of logs, and two have one hash only when they say the same.

use partita_core::{
    Bytes, ContextId, EntryHeader, Frontier, LogId, LogStart, SignedTip, Stamp, Tip, Witness,
    codec::{DecodeError, Reader, Writer},
};
use partita_protocol::message::{MAX_ITEMS, Message};

/// One input: what it is to be read as, then the bytes.
pub fn run(data: &[u8]) {
    let [what, bytes @ ..] = data else { return };
    match what % 7 {
        0 => drop(canonical(bytes, Tip::decode, Tip::encode)),
        1 => {
            let read = |input: &mut Reader<'_>| Tip::decode_all(input, MAX_ITEMS);
            if let Some(tips) = canonical(bytes, read, |tips, out| Tip::encode_all(tips, out)) {
                frontier(&tips);
                message(tips);
            }
        }
        2 => {
            let has_epoch = bytes.first().is_some_and(|byte| byte & 1 == 1);
            drop(canonical(bytes.get(1..).unwrap_or(&[]), |input| Stamp::decode(input, has_epoch), Stamp::encode));
        }
        3 => {
            // The log's id must be the one that the bytes derive, or nothing would ever be read.
            let (Some(replica), Some(nonce)) = (bytes.first_chunk(), bytes.get(32..).and_then(<[u8]>::first_chunk))
            else {
                return;
            };
            let context = ContextId::from_bytes([1; 32]);
            let log = LogId::derive(&context, &partita_core::ReplicaId::from_bytes(*replica), nonce);
            drop(canonical(bytes, |input| LogStart::decode(input, &context, &log), LogStart::encode));
            assert!(LogStart::decode(&mut Reader::new(bytes), &ContextId::from_bytes([2; 32]), &log).is_err());
        }
        4 => {
            if let Some(witness) = canonical(bytes, Witness::decode, Witness::encode) {
                assert_eq!(Witness::furthest(std::slice::from_ref(&witness)), [witness]);
            }
        }
        5 => {
            let context = partita_testing::samples::context(1);
            let read = |input: &mut Reader<'_>| Witness::decode_all(input, &context, 64);
            if let Some(all) = canonical(bytes, read, |all, out| Witness::encode_all(all, out)) {
                let furthest = Witness::furthest(&all);
                assert_eq!(Witness::furthest(&furthest), furthest);
                for witness in &all {
                    let tip = witness.tip();
                    assert!(furthest.iter().any(|far| far.tip().log == tip.log && far.tip().seq >= tip.seq));
                }
            }
        }
        _ => {
            let author = partita_testing::samples::replica(1);
            let read = |input: &mut Reader<'_>| SignedTip::decode_all(input, &author, 64);
            if let Some(listed) = canonical(bytes, read, |listed, out| SignedTip::encode_all(listed, out)) {
                let key = partita_testing::samples::signing_key(1).verifying_key();
                for SignedTip { tip, signature } in &listed {
                    assert!(EntryHeader::verify(&tip.head, &key, signature).is_ok(), "what is read holds");
                }
            }
        }
    }
}

/// What is read is written as the bytes that were read.
fn canonical<T>(
    bytes: &[u8],
    read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
    write: impl Fn(&T, &mut Writer),
) -> Option<T> {
    let mut input = Reader::new(bytes);
    let value = read(&mut input).ok()?;
    let mut out = Writer::new();
    write(&value, &mut out);
    assert_eq!(out.as_slice(), &bytes[..bytes.len() - input.rest().len()]);
    Some(value)
}

fn frontier(tips: &[Tip]) {
    let frontier = Frontier::new(tips.to_vec());
    assert_eq!(frontier.tips(), tips, "a decoded list is in the order of a frontier");
    assert_eq!(Frontier::new(tips.iter().rev().copied().collect()).hash(), frontier.hash());
    for (at, tip) in tips.iter().enumerate() {
        assert_eq!(frontier.tip(&tip.log), Some(tip));
        let mut other = tips.to_vec();
        other.remove(at);
        assert_ne!(Frontier::new(other.clone()).hash(), frontier.hash());
        other.push(Tip { seq: tip.seq.wrapping_add(1).max(1), ..*tip });
        assert_ne!(Frontier::new(other).hash(), frontier.hash());
        if at == 8 {
            break;
        }
    }
}

fn message(tips: Vec<Tip>) {
    let context = ContextId::from_bytes([1; 32]);
    let says = [Message::Frontier { context, tips: tips.clone(), more: false }, Message::Have { context, tips }];
    let frame: Bytes = Message::encode_frame(&says);
    assert_eq!(Message::decode_frame(&frame).as_deref(), Ok(&says[..]));
}
