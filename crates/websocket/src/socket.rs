//! Bytes over TCP or TLS, without ever blocking: what can be done at once is done, the rest is `WouldBlock`.
//!
//! tungstenite and rustls are both state machines over `Read` and `Write`, so nothing else is needed between them and
//! the runtime. Waiting is left to the callers, who do it without holding any lock.

use std::{
    io::{self, ErrorKind, Read, Write},
    sync::Arc,
};

use rustls::ClientConnection;
use tokio::{io::Interest, net::TcpStream};

/// The bytes under a WebSocket.
pub(crate) struct Socket {
    tcp: Tcp,
    tls: Option<Box<ClientConnection>>,
}

impl Socket {
    pub(crate) fn plain(stream: Arc<TcpStream>) -> Self {
        Self { tcp: Tcp { stream, reads_left: READS_PER_TURN, write_blocked: false }, tls: None }
    }

    pub(crate) fn over_tls(stream: Arc<TcpStream>, tls: ClientConnection) -> Self {
        Self { tls: Some(Box::new(tls)), ..Self::plain(stream) }
    }

    /// Starts a turn: a caller that may read, and that lets go of its lock afterwards.
    pub(crate) fn begin_turn(&mut self) {
        self.tcp.reads_left = READS_PER_TURN;
    }

    /// Whether the system would not take all that was written: a flush is due when it will again.
    pub(crate) fn write_blocked(&self) -> bool {
        self.tcp.write_blocked
    }

    /// What a reader has to wait for. It also drives what it could not write itself, such as the answer to a ping.
    pub(crate) fn interest(&self) -> Interest {
        if self.write_blocked() { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE }
    }

    /// Goes on with the TLS handshake; `WouldBlock` until it is done.
    pub(crate) fn tls_handshake(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        while tls.is_handshaking() {
            tls.complete_io(&mut self.tcp)?;
        }
        drain(tls, &mut self.tcp)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.tcp.read(buffer);
        };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            // What TLS itself has to say, such as a key update. A full send buffer must not stop the reading.
            ignore_would_block(drain(tls, &mut self.tcp))?;
            tls.read_tls(&mut self.tcp)?;
            if let Err(error) = tls.process_new_packets() {
                // Tells the remote why, if that is possible at all.
                let _ = drain(tls, &mut self.tcp);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.tcp.write(buffer);
        };
        drain(tls, &mut self.tcp)?;
        let taken = tls.writer().write(buffer)?;
        ignore_would_block(drain(tls, &mut self.tcp))?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| drain(tls, &mut self.tcp))
    }
}

fn drain(tls: &mut ClientConnection, tcp: &mut Tcp) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(tcp)?;
    }
    Ok(())
}

fn ignore_would_block(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}

struct Tcp {
    stream: Arc<TcpStream>,
    reads_left: u32,
    write_blocked: bool,
}

/// Reads of the system in one turn, of 4 KiB each. A remote that sends without end must not keep the other half of the
/// connection, or the other tasks of this thread, waiting.
const READS_PER_TURN: u32 = 32;

impl Read for Tcp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reads_left == 0 {
            // The stream stays marked as readable, so that whoever waits for it goes on in its next turn.
            return Err(ErrorKind::WouldBlock.into());
        }
        self.reads_left -= 1;
        self.stream.try_read(buffer)
    }
}

impl Write for Tcp {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let result = self.stream.try_write(buffer);
        self.write_blocked = matches!(&result, Err(error) if error.kind() == ErrorKind::WouldBlock);
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
