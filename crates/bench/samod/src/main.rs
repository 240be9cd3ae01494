//! What samod takes for the same work: `partita-bench-samod live|burst|cold N` prints it as JSON.
//!
//! A relay and two clients in one process, over WebSockets on the loopback interface, all stores in memory: samod is spared
//! the disk, which Partita waits for.

use std::{
    error::Error,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use automerge::{Automerge, ROOT, ReadDoc as _, transaction::Transactable as _};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _, future::BoxFuture};
use samod::{BackoffConfig, DialError, Dialer, DocHandle, Repo, Transport};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_async, client_async,
    tungstenite::{self, Message},
};
use url::Url;

type Failure = Box<dyn Error + Send + Sync>;

/// After this long the work counts as not finished.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (what, n) = arguments.next().zip(arguments.next()).ok_or("say what, and how many")?;
    let n: i64 = n.parse()?;
    match what.as_str() {
        "live" => live(n).await,
        "burst" => burst(n).await,
        "cold" => cold(n).await,
        _ => Err("there are live, burst and cold".into()),
    }
}

fn transport(socket: WebSocketStream<TcpStream>) -> Transport {
    let (sink, stream) = socket.split();
    let stream = stream.filter_map(async |message| match message {
        Ok(Message::Binary(bytes)) => Some(Ok(bytes.to_vec())),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    let sink = sink.with(async |bytes: Vec<u8>| Ok::<_, tungstenite::Error>(Message::Binary(bytes.into())));
    Transport::new(stream.boxed(), Box::pin(sink))
}

/// Connects to the relay.
struct Line(SocketAddr);

impl Dialer for Line {
    type Error = std::convert::Infallible;

    fn url(&self) -> Url {
        format!("ws://{}/", self.0).parse().expect("an address makes a URL")
    }

    fn connect(&self) -> BoxFuture<'static, Result<Transport, DialError<Self::Error>>> {
        let address = self.0;
        async move {
            let stream = TcpStream::connect(address).await.map_err(DialError::transient)?;
            stream.set_nodelay(true).map_err(DialError::transient)?;
            let (socket, _) =
                client_async(format!("ws://{address}/"), stream).await.map_err(DialError::transient)?;
            Ok(transport(socket))
        }
        .boxed()
    }
}

struct Relay {
    address: SocketAddr,
    _repo: Repo,
}

impl Relay {
    async fn start() -> Result<Self, Failure> {
        let repo = Repo::build_tokio().load().await;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let acceptor = repo.make_acceptor(format!("ws://{address}/").parse()?)?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                if let Ok(socket) = accept_async(stream).await {
                    let _ = acceptor.accept(transport(socket));
                }
            }
        });
        Ok(Self { address, _repo: repo })
    }

    async fn client(&self) -> Result<Repo, Failure> {
        let repo = Repo::build_tokio().load().await;
        let dialer = repo.dial(BackoffConfig::default(), Arc::new(Line(self.address)))?;
        dialer.established().await.map_err(|error| error.to_string())?;
        Ok(repo)
    }
}

fn put(document: &DocHandle, n: i64) {
    document.with_document(|doc| {
        let mut tx = doc.transaction();
        tx.put(ROOT, "n", n).expect("a number can be put");
        tx.commit();
    });
}

fn shows(document: &DocHandle) -> Option<i64> {
    document.with_document(|doc| doc.get(ROOT, "n").ok().flatten().and_then(|(value, _)| value.as_i64()))
}

/// Waits until the document shows this; false when that takes too long.
async fn until(document: &DocHandle, n: i64) -> bool {
    let mut changes = Box::pin(document.changes());
    let waiting = async {
        while shows(document) != Some(n) {
            changes.next().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.is_ok()
}

async fn find(repo: &Repo, document: &DocHandle) -> Result<DocHandle, Failure> {
    loop {
        if let Some(found) = repo.find(document.document_id().clone()).await? {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(10)).await; // it was not at the relay yet
    }
}

async fn live(n: i64) -> Result<(), Failure> {
    let relay = Relay::start().await?;
    let (a, b) = (relay.client().await?, relay.client().await?);
    let here = a.create(Automerge::new()).await?;
    put(&here, -1);
    let there = find(&b, &here).await?;
    until(&there, -1).await;
    let mut took = Vec::new();
    for n in 0..n {
        let began = Instant::now();
        put(&here, n);
        if !until(&there, n).await {
            return Err("a change did not arrive".into());
        }
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let at = |share: f64| took[(took.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    println!("{{\"p50_us\":{},\"p99_us\":{}}}", at(0.5), at(0.99));
    Ok(())
}

async fn burst(n: i64) -> Result<(), Failure> {
    let relay = Relay::start().await?;
    let (a, b) = (relay.client().await?, relay.client().await?);
    let here = a.create(Automerge::new()).await?;
    put(&here, -1);
    let there = find(&b, &here).await?;
    until(&there, -1).await;
    let began = Instant::now();
    for n in 0..n {
        put(&here, n);
    }
    until(&there, n - 1).await;
    println!("{{\"seconds\":{}}}", began.elapsed().min(PATIENCE).as_secs_f64());
    Ok(())
}

async fn cold(n: i64) -> Result<(), Failure> {
    let relay = Relay::start().await?;
    let a = relay.client().await?;
    let mut documents = Vec::new();
    for n in 0..n {
        let document = a.create(Automerge::new()).await?;
        put(&document, n);
        documents.push(document);
    }
    // Until the relay has them: a second client sees the last one, and then the others.
    let witness = relay.client().await?;
    for (n, document) in documents.iter().enumerate() {
        until(&find(&witness, document).await?, n as i64).await;
    }
    let began = Instant::now();
    let b = relay.client().await?;
    // All at once, as an application would that wants all of them.
    let finding = documents.iter().map(|document| find(&b, document));
    for (n, found) in futures_util::future::join_all(finding).await.into_iter().enumerate() {
        until(&found?, n as i64).await;
    }
    println!("{{\"seconds\":{}}}", began.elapsed().as_secs_f64());
    Ok(())
}
