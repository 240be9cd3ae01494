//! A network cable that can be pulled: a TCP proxy before the relay, one for each replica, which also counts bytes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

use crate::error::CliError;

#[derive(Debug)]
pub(crate) struct Cable {
    address: SocketAddr,
    plugged: watch::Sender<bool>,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Cable {
    /// A cable to the relay at this address.
    pub(crate) async fn plug_in(relay: String) -> Result<Self, CliError> {
        let cannot = || CliError::io("cannot listen on the loopback network");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(cannot())?;
        let address = listener.local_addr().map_err(cannot())?;
        let plugged = watch::Sender::new(true);
        let counts = Arc::<Counts>::default();
        let accepting = tokio::spawn(accept(listener, relay, plugged.subscribe(), counts.clone()));
        Ok(Self { address, plugged, counts, accepting })
    }

    /// Where the replica finds the relay.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts what is connected, and connects nothing more.
    pub(crate) fn pull(&self) {
        self.plugged.send_replace(false);
    }

    pub(crate) fn put_back(&self) {
        self.plugged.send_replace(true);
    }

    /// The bytes that the replica sent, and those that it received.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.counts.sent.load(Ordering::Relaxed), self.counts.received.load(Ordering::Relaxed))
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.accepting.abort();
        self.pull();
    }
}

async fn accept(listener: TcpListener, relay: String, plugged: watch::Receiver<bool>, counts: Arc<Counts>) {
    while let Ok((near, _)) = listener.accept().await {
        if *plugged.borrow() {
            tokio::spawn(carry(near, relay.clone(), plugged.clone(), counts.clone()));
        }
    }
}

/// Carries bytes both ways until one side ends or the cable is pulled.
async fn carry(near: TcpStream, relay: String, mut plugged: watch::Receiver<bool>, counts: Arc<Counts>) {
    let Ok(far) = TcpStream::connect(relay).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::select! {
        () = copy(near_in, far_out, &counts.sent) => {}
        () = copy(far_in, near_out, &counts.received) => {}
        _ = plugged.wait_for(|plugged| !plugged) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, count: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        count.fetch_add(length as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
