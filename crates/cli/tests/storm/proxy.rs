//! A TCP proxy before the relay, with a weather of its own.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::carry;

/// From the client to the relay.
pub const UP: usize = 0;
/// From the relay to the client.
pub const DOWN: usize = 1;

/// What becomes of the bytes in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flow {
    #[default]
    Clear,
    /// They arrive so much later, and a drawn part of the jitter after that.
    Delay { latency: Duration, jitter: Duration },
    /// They are taken and lost, and so is the end of a connection. Nobody is told.
    Swallow,
    /// The end of the stream is announced where they should arrive; they are taken and lost.
    HangUp,
    /// They are not taken, once a connection has carried so many: what waits presses back on the sender.
    StallAfter(u64),
    /// So many of them arrive in a second.
    Trickle(u64),
}

/// What the proxy does to connections now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    pub flows: [Flow; 2],
    /// New connections are reset.
    pub refuses: bool,
    /// Connections of lower numbers are cut.
    cut: u64,
    /// By a reset, not by an orderly end.
    resets: bool,
    /// Connections of lower numbers carry nothing any more, ever, and nobody is told: what a router does that lost its state.
    forgotten: u64,
}

impl Weather {
    pub fn cuts(&self, connection: u64) -> bool {
        connection < self.cut
    }

    pub fn forgets(&self, connection: u64) -> bool {
        connection < self.forgotten
    }
}

/// Listens until the runtime ends.
pub struct Proxy {
    pub address: SocketAddr,
    weather: watch::Sender<Weather>,
    /// The next connection's number.
    next: Arc<AtomicU64>,
}

impl Proxy {
    pub async fn start(relay: String, seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let weather = watch::Sender::new(Weather::default());
        let next = Arc::<AtomicU64>::default();
        tokio::spawn(accept(listener, relay, weather.subscribe(), next.clone(), seed));
        Self { address, weather, next }
    }

    pub fn flow(&self, flows: [Flow; 2]) {
        self.weather.send_modify(|weather| weather.flows = flows);
    }

    /// Ends what is connected.
    pub fn cut(&self, resets: bool) {
        let cut = self.next.load(Ordering::SeqCst);
        self.weather.send_modify(|weather| (weather.cut, weather.resets) = (cut, resets));
    }

    /// Loses what is connected for good, without a word.
    pub fn forget(&self) {
        let forgotten = self.next.load(Ordering::SeqCst);
        self.weather.send_modify(|weather| weather.forgotten = forgotten);
    }

    pub fn refuse(&self) {
        self.weather.send_modify(|weather| weather.refuses = true);
    }

    /// Everything goes through again. What was lost stays lost.
    pub fn heal(&self) {
        self.weather.send_modify(|weather| {
            weather.flows = Default::default();
            weather.refuses = false;
        });
    }
}

async fn accept(
    listener: TcpListener,
    relay: String,
    weather: watch::Receiver<Weather>,
    next: Arc<AtomicU64>,
    seed: u64,
) {
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let number = next.fetch_add(1, Ordering::SeqCst);
        if weather.borrow().refuses {
            let _ = near.set_zero_linger();
            continue;
        }
        let (relay, weather) = (relay.clone(), weather.clone());
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(relay).await else { return };
            let mut near = near;
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let carried = carry::both(&mut near, &mut far, number, &weather, seed ^ number);
            let resets = tokio::select! {
                () = carried => false,
                cut = until_cut(weather.clone(), number) => cut,
            };
            if resets {
                let _ = (near.set_zero_linger(), far.set_zero_linger());
            }
        });
    }
}

/// Whether by a reset.
async fn until_cut(mut weather: watch::Receiver<Weather>, number: u64) -> bool {
    let cut = weather.wait_for(|weather| weather.cuts(number)).await.map(|weather| weather.resets);
    match cut {
        Ok(resets) => resets,
        Err(_) => std::future::pending().await, // the test is over
    }
}
