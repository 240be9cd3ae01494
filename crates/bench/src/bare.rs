//! A session without a node: it proves who it is, opens one context, and then does what a benchmark wants.

use partita::{RelayUrl, SystemRandom, websocket::WebSocket};
use partita_core::{FrameSink, FrameSource, Hash, Incarnation, PartitionStrategy as _, Transcript, Transport as _};
use partita_protocol::{
    channel::{Authenticated, Handshake, LocalIdentity, MAX_FRAME, MAX_HANDSHAKE_FRAME, Opener, Sealer},
    message::{Message, Open},
};

use crate::{author::Device, devices::Failure};

/// How many bytes of entries a session takes without ever giving them back: more than any benchmark has.
const CREDIT: u64 = 1 << 40;

/// The half that speaks.
pub(crate) struct Speaker {
    sink: Box<dyn FrameSink>,
    sealer: Sealer,
}

/// The half that listens.
pub(crate) struct Listener {
    source: Box<dyn FrameSource>,
    opener: Opener,
}

/// Connects, shows the device's right to its context, and waits until it is granted. The relay then sends what it has.
///
/// Also how many bytes of entries the relay takes.
pub(crate) async fn open(url: &RelayUrl, device: &Device) -> Result<(Speaker, Listener, u64), Failure> {
    let (mut sink, mut source) = WebSocket::default().dial(&url.address).await?.split();
    let identity = LocalIdentity { key: device.key.clone(), incarnation: Incarnation::from_bytes([1; 16]) };
    source.set_max_frame(MAX_HANDSHAKE_FRAME);
    let (mut handshake, first) = Handshake::dial(identity, url.replica, &mut SystemRandom)?;
    sink.send(&[first]).await?;
    let channel = loop {
        let frame = source.receive().await?.ok_or("the relay hung up during the handshake")?;
        let step = handshake.receive(&frame)?;
        sink.send(&step.send).await?;
        if let Some(channel) = step.done {
            break *channel;
        }
    };
    source.set_max_frame(MAX_FRAME);
    let Authenticated { handshake, sealer, opener, .. } = channel;
    let transcript = Transcript { handshake, prover_dialled: true, remote_pinned: true };
    let proof = device.owner.auth().prove(&transcript, &device.info)?;
    let (context, kind) = (device.info.id, device.info.kind.clone());
    // No frontier has this hash, so the relay asks for ours and says its own.
    let open = Message::Open(Open { context, number: 1, kind, frontier: Hash::ZERO, proof });
    let (mut speaker, mut listener) = (Speaker { sink, sealer }, Listener { source, opener });
    speaker.say(&[Message::Credit(CREDIT), open]).await?;
    let mut credit = 0;
    loop {
        for message in listener.hear().await? {
            match message {
                Message::Credit(bytes) => credit += bytes,
                Message::Opened(opened) => {
                    opened.outcome.map_err(|why| format!("the relay refused the context: {why}"))?;
                    speaker.say(&[Message::Frontier { context, tips: Vec::new(), more: false }]).await?;
                    return Ok((speaker, listener, credit));
                }
                _ => {}
            }
        }
    }
}

impl Speaker {
    pub(crate) async fn say(&mut self, messages: &[Message]) -> Result<(), Failure> {
        self.send(&Message::encode_frame(messages)).await
    }

    /// Sends a frame that was made before.
    pub(crate) async fn send(&mut self, frame: &[u8]) -> Result<(), Failure> {
        let sealed = self.sealer.seal(frame)?;
        Ok(self.sink.send(&[sealed]).await?)
    }

    /// Answers the relay's question whether somebody is there.
    pub(crate) async fn answer(&mut self, message: &Message) -> Result<(), Failure> {
        if let Message::Heartbeat { nonce, clock, reply: false } = *message {
            self.say(&[Message::Heartbeat { nonce, clock, reply: true }]).await?;
        }
        Ok(())
    }
}

impl Listener {
    /// The messages of the next frame.
    pub(crate) async fn hear(&mut self) -> Result<Vec<Message>, Failure> {
        let frame = self.source.receive().await?.ok_or("the relay hung up")?;
        Ok(Message::decode_frame(&self.opener.open(&frame)?)?)
    }
}
