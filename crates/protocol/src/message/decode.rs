//! Bytes to messages. Hostile bytes end in an error, never in a panic or a large allocation.

use bytes::Bytes;
use partita_core::{
    ContextId, ContextKind, EntryHeader, EntryId, Hash, LogId, Refusal, ReplicaId, Tip,
    codec::{DecodeError, Reader},
};

use super::{
    Ephemeral, Granted, MAX_FRAGMENT, MAX_ITEMS, MAX_MESSAGES, Message, Open, Opened, Piece, Refused, encode::tag,
    run::Run,
};

/// The most bytes of a proof.
const MAX_PROOF: usize = 16 * 1024;
/// The most bytes of an error's text.
const MAX_TEXT: usize = 1024;

impl Message {
    /// The messages of a plain frame.
    ///
    /// # Errors
    /// When the frame is not one that [`encode_frame`](Self::encode_frame) could have written, in this version or a
    /// later one.
    pub fn decode_frame(frame: &Bytes) -> Result<Vec<Self>, DecodeError> {
        let mut input = Reader::new(frame);
        let mut messages = Vec::new();
        while !input.is_empty() {
            if messages.len() == MAX_MESSAGES {
                return Err(DecodeError::TooLarge("the number of messages in a frame"));
            }
            let tag = input.u8()?;
            let body = input.bytes("a message", usize::MAX)?;
            if let Some(message) = Self::decode_body(tag, &frame.slice_ref(body))? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    fn decode_body(tag: u8, body: &Bytes) -> Result<Option<Self>, DecodeError> {
        let mut reader = Reader::new(body);
        let input = &mut reader;
        let message = match tag {
            tag::OPEN => {
                let (context, number) = (ContextId::from_bytes(input.array()?), input.varint()?);
                let kind = std::str::from_utf8(input.bytes("a context kind", ContextKind::MAX_LEN)?)
                    .ok()
                    .and_then(|name| ContextKind::new(name).ok())
                    .ok_or(DecodeError::Invalid("context kind"))?;
                let frontier = Hash::from_bytes(input.array()?);
                Self::Open(Open { context, number, kind, frontier, proof: slice(body, input, "a proof", MAX_PROOF)? })
            }
            tag::OPENED => {
                let (context, number) = (ContextId::from_bytes(input.array()?), input.varint()?);
                let outcome = match input.u8()? {
                    code @ (0 | 255) => {
                        let has_proof = flag(input)?;
                        let proof = if has_proof { Some(slice(body, input, "a proof", MAX_PROOF)?) } else { None };
                        Ok(Granted { differs: code == 255, proof })
                    }
                    code => Err(Refusal::from_code(code).unwrap_or(Refusal::Denied)),
                };
                Self::Opened(Opened { context, number, outcome })
            }
            tag::FRONTIER => Self::Frontier {
                context: ContextId::from_bytes(input.array()?),
                tips: Tip::decode_all(input, MAX_ITEMS)?,
                more: flag(input)?,
            },
            tag::HAVE => {
                Self::Have { context: ContextId::from_bytes(input.array()?), tips: Tip::decode_all(input, MAX_ITEMS)? }
            }
            tag::ENTRIES => Self::Entries(Run::decode(input)?),
            tag::WANT => Self::Want(piece(input)?),
            tag::FRAGMENT => {
                Self::Fragment { piece: piece(input)?, bytes: slice(body, input, "a fragment", MAX_FRAGMENT)? }
            }
            tag::ACK => {
                let context = ContextId::from_bytes(input.array()?);
                let count = input.count("the number of logs", MAX_ITEMS, 17)?;
                let held = (0..count)
                    .map(|_| Ok((LogId::from_bytes(input.array()?), input.varint()?)))
                    .collect::<Result<_, DecodeError>>()?;
                Self::Ack { context, held }
            }
            tag::REFUSED => {
                let context = ContextId::from_bytes(input.array()?);
                let log = LogId::from_bytes(input.array()?);
                let seq = input.varint()?;
                // A later version may have reasons that this one does not know: denied is what they all mean.
                let why = Refusal::from_code(input.u8()?).unwrap_or(Refusal::Denied);
                let count = input.count("the number of heads", EntryHeader::MAX_HEADS, EntryId::LEN)?;
                let heads =
                    (0..count).map(|_| Ok(EntryId::from_bytes(input.array()?))).collect::<Result<_, DecodeError>>()?;
                Self::Refused(Refused { context, log, seq, why, heads })
            }
            tag::RETRY => {
                let context = ContextId::from_bytes(input.array()?);
                let count = input.count("the number of logs", MAX_ITEMS, LogId::LEN)?;
                let logs =
                    (0..count).map(|_| Ok(LogId::from_bytes(input.array()?))).collect::<Result<_, DecodeError>>()?;
                Self::Retry { context, logs }
            }
            tag::CREDIT => Self::Credit(input.varint()?),
            tag::HEARTBEAT => {
                let (nonce, clock, reply) = (input.u64()?, input.u64()?, flag(input)?);
                Self::Heartbeat { nonce, clock, reply }
            }
            tag::ERROR => {
                let code = input.u8()?;
                let text = String::from_utf8(input.bytes("an error's text", MAX_TEXT)?.to_vec())
                    .map_err(|_| DecodeError::Invalid("error text"))?;
                Self::Error { code, text }
            }
            tag::BYE => Self::Bye,
            tag::EPHEMERAL => Self::Ephemeral(Ephemeral::decode(body, input)?),
            tag::GONE => {
                let context = ContextId::from_bytes(input.array()?);
                Self::Gone { context, sender: ReplicaId::from_bytes(input.array()?) }
            }
            _ if tag >= tag::SKIPPABLE => return Ok(None),
            _ => return Err(DecodeError::Unknown("message")),
        };
        reader.end()?;
        Ok(Some(message))
    }
}

pub(super) fn flag(input: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::NotCanonical),
    }
}

fn piece(input: &mut Reader<'_>) -> Result<Piece, DecodeError> {
    Ok(Piece {
        context: ContextId::from_bytes(input.array()?),
        log: LogId::from_bytes(input.array()?),
        seq: input.varint()?,
        offset: input.varint()?,
    })
}

/// A byte string that shares the frame's memory instead of copying it.
pub(super) fn slice(
    body: &Bytes,
    input: &mut Reader<'_>,
    what: &'static str,
    most: usize,
) -> Result<Bytes, DecodeError> {
    Ok(body.slice_ref(input.bytes(what, most)?))
}
