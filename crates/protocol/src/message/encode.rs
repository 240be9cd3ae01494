//! Messages to bytes.

use bytes::Bytes;
use partita_core::{ContextId, Tip, codec::Writer};

use super::{Granted, MAX_ITEMS, MAX_MESSAGES, MAX_PART, Message, Piece};

/// The tag of each message. Part of the protocol: never reuse one.
pub(super) mod tag {
    pub(in crate::message) const OPEN: u8 = 1;
    pub(in crate::message) const OPENED: u8 = 2;
    pub(in crate::message) const FRONTIER: u8 = 3;
    pub(in crate::message) const HAVE: u8 = 4;
    pub(in crate::message) const ENTRIES: u8 = 5;
    pub(in crate::message) const WANT: u8 = 6;
    pub(in crate::message) const FRAGMENT: u8 = 7;
    pub(in crate::message) const ACK: u8 = 8;
    pub(in crate::message) const REFUSED: u8 = 9;
    pub(in crate::message) const RETRY: u8 = 10;
    pub(in crate::message) const CREDIT: u8 = 11;
    pub(in crate::message) const HEARTBEAT: u8 = 12;
    pub(in crate::message) const ERROR: u8 = 13;
    pub(in crate::message) const BYE: u8 = 14;
    /// From this one on a node skips what it does not know.
    pub(in crate::message) const SKIPPABLE: u8 = 64;
    pub(in crate::message) const EPHEMERAL: u8 = 64;
    pub(in crate::message) const GONE: u8 = 65;
}

impl Message {
    /// The plain frame that carries these messages.
    pub fn encode_frame(messages: &[Self]) -> Bytes {
        let mut out = Writer::with_capacity(256);
        for message in messages {
            message.encode(&mut out);
        }
        out.finish()
    }

    /// The plain frames that carry these messages, each of about `most` bytes at most.
    pub fn encode_frames(messages: impl IntoIterator<Item = Self>, most: usize) -> Vec<Bytes> {
        let (mut frames, mut frame, mut count) = (Vec::new(), Writer::new(), 0);
        for message in messages {
            message.encode(&mut frame);
            count += 1;
            if frame.len() >= most || count == MAX_MESSAGES {
                frames.push(std::mem::take(&mut frame).finish());
                count = 0;
            }
        }
        if !frame.is_empty() {
            frames.push(frame.finish());
        }
        frames
    }

    /// A frontier, in as many parts as it takes; an empty one too has to be said. Of more logs than a frontier may have the
    /// rest is left out: the remote sends some of that once more, which costs bytes and no session.
    pub(crate) fn frontier(context: ContextId, tips: &[Tip]) -> Vec<Self> {
        let tips = tips.get(..MAX_ITEMS).unwrap_or(tips);
        let parts = tips.len().div_ceil(MAX_PART).max(1);
        let part = |at: usize| Self::Frontier {
            context,
            tips: tips.iter().skip(at * MAX_PART).take(MAX_PART).copied().collect(),
            more: at + 1 < parts,
        };
        (0..parts).map(part).collect()
    }

    /// Appends tag, length and body.
    pub fn encode(&self, out: &mut Writer) {
        let mut body = Writer::with_capacity(128);
        let tag = self.encode_body(&mut body);
        out.u8(tag);
        out.bytes(body.as_slice());
    }

    fn encode_body(&self, out: &mut Writer) -> u8 {
        match self {
            Self::Open(open) => {
                out.raw(open.context.as_bytes());
                out.varint(open.number);
                out.bytes(open.kind.as_str().as_bytes());
                out.raw(open.frontier.as_bytes());
                out.bytes(&open.proof);
                tag::OPEN
            }
            Self::Opened(opened) => {
                out.raw(opened.context.as_bytes());
                out.varint(opened.number);
                match &opened.outcome {
                    Ok(Granted { differs, proof }) => {
                        out.u8(if *differs { 255 } else { 0 });
                        out.u8(u8::from(proof.is_some()));
                        if let Some(proof) = proof {
                            out.bytes(proof);
                        }
                    }
                    Err(refusal) => out.u8(*refusal as u8),
                }
                tag::OPENED
            }
            Self::Frontier { context, tips, more } => {
                encode_tips(out, context, tips);
                out.u8(u8::from(*more));
                tag::FRONTIER
            }
            Self::Have { context, tips } => {
                encode_tips(out, context, tips);
                tag::HAVE
            }
            Self::Entries(run) => {
                run.encode(out);
                tag::ENTRIES
            }
            Self::Want(piece) => {
                encode_piece(out, piece);
                tag::WANT
            }
            Self::Fragment { piece, bytes } => {
                encode_piece(out, piece);
                out.bytes(bytes);
                tag::FRAGMENT
            }
            Self::Ack { context, held } => {
                out.raw(context.as_bytes());
                out.varint(held.len() as u64);
                for (log, seq) in held {
                    out.raw(log.as_bytes());
                    out.varint(*seq);
                }
                tag::ACK
            }
            Self::Refused(refused) => {
                out.raw(refused.context.as_bytes());
                out.raw(refused.log.as_bytes());
                out.varint(refused.seq);
                out.u8(refused.why as u8);
                out.varint(refused.heads.len() as u64);
                for head in &refused.heads {
                    out.raw(head.as_bytes());
                }
                tag::REFUSED
            }
            Self::Retry { context, logs } => {
                out.raw(context.as_bytes());
                out.varint(logs.len() as u64);
                for log in logs {
                    out.raw(log.as_bytes());
                }
                tag::RETRY
            }
            Self::Credit(bytes) => {
                out.varint(*bytes);
                tag::CREDIT
            }
            Self::Heartbeat { nonce, clock, reply } => {
                out.u64(*nonce);
                out.u64(*clock);
                out.u8(u8::from(*reply));
                tag::HEARTBEAT
            }
            Self::Error { code, text } => {
                out.u8(*code);
                out.bytes(text.as_bytes());
                tag::ERROR
            }
            Self::Bye => tag::BYE,
            Self::Ephemeral(said) => {
                said.encode(out);
                tag::EPHEMERAL
            }
            Self::Gone { context, sender } => {
                out.raw(context.as_bytes());
                out.raw(sender.as_bytes());
                tag::GONE
            }
        }
    }
}

fn encode_tips(out: &mut Writer, context: &ContextId, tips: &[Tip]) {
    out.raw(context.as_bytes());
    Tip::encode_all(tips, out);
}

fn encode_piece(out: &mut Writer, piece: &Piece) {
    out.raw(piece.context.as_bytes());
    out.raw(piece.log.as_bytes());
    out.varint(piece.seq);
    out.varint(piece.offset);
}

#[cfg(test)]
mod tests {
    use partita_core::{EntryId, LogId};

    use super::*;

    #[test]
    fn a_frontier_of_more_logs_than_are_allowed_leaves_some_out() {
        let tip = |n: u128| Tip { log: LogId::from_bytes(n.to_be_bytes()), seq: 1, head: EntryId::NONE };
        let tips: Vec<Tip> = (0..MAX_ITEMS as u128 + 5).map(tip).collect();
        let parts = Message::frontier(ContextId::default(), &tips);
        let (mut said, mut more) = (0, Vec::new());
        for part in &parts {
            let Message::Frontier { tips, more: goes_on, .. } = part else { unreachable!() };
            said += tips.len();
            more.push(*goes_on);
        }
        assert_eq!(said, MAX_ITEMS);
        assert_eq!((more.pop(), more.iter().all(|more| *more)), (Some(false), true));
    }
}
