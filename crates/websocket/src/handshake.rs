//! From a TCP connection to a WebSocket.

use std::{io, sync::Arc};

use tokio::{io::Interest, net::TcpStream};
use tungstenite::{
    ClientHandshake, HandshakeError,
    client::IntoClientRequest,
    handshake::{HandshakeRole, MidHandshake},
    http::Uri,
    protocol::WebSocketConfig,
};

use crate::{FIRST_MAX_FRAME, socket::Socket};

/// A WebSocket over our socket.
pub(crate) type Ws = tungstenite::WebSocket<Socket>;

/// Goes through the TLS handshake.
pub(crate) async fn tls(stream: &TcpStream, socket: &mut Socket) -> io::Result<()> {
    loop {
        socket.begin_turn();
        match socket.tls_handshake() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.ready(socket.interest()).await?,
            done => return done,
        };
    }
}

/// Asks the server for a WebSocket.
pub(crate) async fn client(stream: &TcpStream, socket: Socket, uri: &Uri) -> tungstenite::Result<Ws> {
    let request = uri.into_client_request()?;
    let handshake = ClientHandshake::start(socket, request, Some(first_config()))?;
    drive(stream, handshake.handshake()).await.map(|(socket, _response)| socket)
}

/// Answers a client that asks for one, whatever path it names.
pub(crate) async fn server(stream: Arc<TcpStream>) -> tungstenite::Result<Ws> {
    let socket = Socket::plain(stream.clone());
    drive(&stream, tungstenite::accept_with_config(socket, Some(first_config()))).await
}

/// Small limits, because nobody knows yet who the remote is.
fn first_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(crate::sink::PIECE)
        // Whoever pings and does not read gets one answer, not one for each: they would pile up here.
        .max_write_buffer_size(4 * crate::sink::PIECE)
        .max_message_size(Some(FIRST_MAX_FRAME))
        .max_frame_size(Some(FIRST_MAX_FRAME))
}

async fn drive<R>(
    stream: &TcpStream,
    mut state: Result<R::FinalResult, HandshakeError<R>>,
) -> tungstenite::Result<R::FinalResult>
where
    R: HandshakeRole<InternalStream = Socket>,
{
    loop {
        let mut unfinished: MidHandshake<R> = match state {
            Ok(done) => return Ok(done),
            Err(HandshakeError::Failure(error)) => return Err(error),
            Err(HandshakeError::Interrupted(unfinished)) => unfinished,
        };
        let socket = unfinished.get_mut().get_mut();
        socket.begin_turn();
        // A handshake does one thing at a time: what it could not write it has to write before it reads.
        let interest = if socket.write_blocked() { Interest::WRITABLE } else { Interest::READABLE };
        stream.ready(interest).await?;
        state = unfinished.handshake();
    }
}
