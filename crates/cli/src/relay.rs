//! `partita relay`: a relay of one's own.

use std::{io::Write as _, path::PathBuf};

use partita_relay::{Builder, Relay, RelayError};

use crate::error::CliError;

/// How to run a relay.
#[derive(Debug, clap::Args)]
pub(crate) struct RelayArgs {
    /// Where to listen: 127.0.0.1:7400 or ws://127.0.0.1:7400; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: String,
    /// The redb file; made, with the relay's key beside it (FILE.key), if neither is there.
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// The most bytes of entries in one context; no limit if it is not said. Membership, keys and snapshots may take half as
    /// much again.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_context_bytes: Option<u64>,
    /// The most connections at once.
    #[arg(
        long,
        value_name = "N",
        default_value_t = Builder::DEFAULT_CONNECTIONS,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    max_connections: u32,
    /// The most bytes that wait for all who are connected together; 1 GiB if it is not said. Whoever has most to read makes
    /// way for the others.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_outgoing_bytes: Option<u64>,
    /// How many bytes of the store's disk stay free: with less, no entries are taken until there is more. 0 for no reserve.
    #[arg(long, value_name = "N", default_value_t = Builder::DEFAULT_MIN_FREE_BYTES)]
    min_free_bytes: u64,
    /// Take no plain contexts: then nobody can read anything here.
    #[arg(long)]
    without_plain: bool,
    /// Where an HTTP server shows /metrics, /healthz and /readyz: 127.0.0.1:9464; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", value_parser = host_and_port)]
    metrics: Option<String>,
}

/// Runs a relay until it is told to stop, or it fails.
pub(crate) async fn run(args: RelayArgs) -> Result<bool, CliError> {
    // Before the URL is printed: whoever has read it may send a signal.
    let mut stop = Stop::listen()?;
    #[cfg(unix)]
    warn_of_few_files(args.max_connections);
    let relay = tokio::select! {
        opened = open(&args) => opened?,
        // A large store that was not closed takes long to read, and nothing was promised to anybody yet.
        () = stop.asked() => return Ok(true),
    };
    print_addresses(&relay)?;
    let failed = tokio::select! {
        () = stop.asked() => None,
        error = relay.failed() => Some(error),
    };
    unless_asked_again(relay.close(), stop.asked()).await?;
    failed.map_or(Ok(true), |error| Err(CliError::RelayFailed(error)))
}

/// Files that a relay has open beside its connections: above all handshakes under way, and whoever looks at its metrics.
#[cfg(unix)]
const OTHER_FILES: u64 = 320;

/// Over the system's limit connections wait at the door, and nobody there is told why.
#[cfg(unix)]
fn warn_of_few_files(connections: u32) {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let needed = u64::from(connections) + OTHER_FILES;
    if let Some(files) = files.filter(|files| *files < needed) {
        tracing::warn!(
            files,
            connections,
            "the system gives this process too few open files for so many connections: raise the limit (ulimit -n, \
             LimitNOFILE=), or say --max-connections"
        );
    }
}

/// Waits for the end, but no longer than until somebody asks for it again: it may wait for a disk that hangs.
async fn unless_asked_again(end: impl Future<Output = ()>, asked: impl Future<Output = ()>) -> Result<(), CliError> {
    tokio::select! {
        biased;
        () = end => Ok(()),
        () = asked => Err(CliError::CutShort),
    }
}

async fn open(args: &RelayArgs) -> Result<Relay, CliError> {
    let mut builder = Relay::builder(&args.store).listen(&args.listen);
    if let Some(bytes) = args.max_context_bytes {
        builder = builder.max_context_bytes(bytes);
    }
    builder = builder.max_connections(usize::try_from(args.max_connections).unwrap_or(usize::MAX));
    if let Some(bytes) = args.max_outgoing_bytes {
        builder = builder.max_outgoing_bytes(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    builder = builder.min_free_bytes(args.min_free_bytes);
    if args.without_plain {
        builder = builder.without_plain();
    }
    if let Some(address) = &args.metrics {
        builder = builder.metrics(address);
    }
    builder.open().await.map_err(|error: RelayError| CliError::Relay {
        listen: args.listen.clone(),
        store: args.store.clone(),
        error,
    })
}

/// The URL is the first line on standard output, the metrics' the second; a pipe that is closed already is no reason to
/// stop.
fn print_addresses(relay: &Relay) -> Result<(), CliError> {
    let mut lines = format!("{}\n", relay.url());
    if let Some(address) = relay.metrics_address() {
        lines += &format!("http://{address}/metrics\n");
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(lines.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(CliError::io("cannot print the relay's URL")),
    }
}

/// An address with or without its scheme.
fn address(text: &str) -> Result<String, String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("ws://{text}") };
    let rest =
        url.strip_prefix("ws://").ok_or("a relay listens on ws://; put a TLS terminator before it for wss://")?;
    if is_host_and_port(rest) {
        Ok(url)
    } else {
        Err("an address looks like 127.0.0.1:7400, [::1]:7400 or ws://0.0.0.0:7400".into())
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    if is_host_and_port(text) {
        Ok(text.into())
    } else {
        Err("an address looks like 127.0.0.1:9464 or [::1]:9464".into())
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// The signals that ask a program to end.
struct Stop {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    #[cfg(unix)]
    fn listen() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(CliError::io("cannot wait for signals"));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    #[cfg(unix)]
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn listen() -> Result<Self, CliError> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn asked(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn whoever_asks_again_waits_for_no_disk() {
        assert!(unless_asked_again(ready(()), pending()).await.is_ok());
        assert!(matches!(unless_asked_again(pending(), ready(())).await, Err(CliError::CutShort)));
    }
}
