//! The HTTP server for whoever watches over a relay.
//!
//! It touches neither the node nor the store but with one probe at a time, and a client can hold little of it for a
//! short time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{RelayError, host::SHORT, metrics::Metrics, ready::Readiness};

/// Connections at a time; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 32;
/// How long a client may take for the head of its request.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// How long a connection may last, with its request and its answer.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);
/// The most bytes of a request's head, and of what is buffered at all.
const MAX_HEAD: usize = 16 * 1024;
/// The most headers in it.
const MAX_HEADERS: usize = 64;
/// How long to leave a system alone that has no more sockets to give.
const PAUSE: Duration = Duration::from_millis(200);

const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What there is to see.
pub(crate) struct Pages {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
}

/// A socket that is listened on.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes the address.
pub(crate) async fn bind(address: &str) -> Result<Server, RelayError> {
    let taken = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        std::io::Result::Ok(Server { listener, address })
    };
    taken.await.map_err(|error| RelayError::Metrics { address: address.into(), reason: reason(&error) })
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "the port is in use by another program; choose another one, or port 0 for a free one".into()
        }
        std::io::ErrorKind::InvalidInput => "an address looks like 127.0.0.1:9464".into(),
        _ => error.to_string(),
    }
}

impl Server {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the task is aborted.
    pub(crate) async fn serve(self, pages: Arc<Pages>) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut tasks = tokio::task::JoinSet::new();
        while let Ok(permit) = room.clone().acquire_owned().await {
            while tasks.try_join_next().is_some() {} // forget those that are done
            let Ok((stream, _from)) = self.listener.accept().await else {
                sleep(PAUSE).await;
                continue;
            };
            let pages = pages.clone();
            tasks.spawn(async move {
                let _ = timeout(CONNECTION_DEADLINE, connection(stream, pages)).await;
                drop(permit);
            });
        }
    }
}

/// One connection carries one request: an idle one would hold a place for nothing.
async fn connection(stream: TcpStream, pages: Arc<Pages>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let pages = pages.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&request, &pages).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a request for metrics failed");
    }
}

async fn answer(request: &Request<Incoming>, pages: &Pages) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => page(StatusCode::OK, EXPOSITION, pages.metrics.render()),
        "/healthz" => page(StatusCode::OK, TEXT, "alive\n".into()),
        "/readyz" => match pages.readiness.check().await {
            // Whoever only wants what is here is to be let in.
            Ok(()) if pages.metrics.is_short() => page(StatusCode::OK, TEXT, format!("ready, but {SHORT}\n")),
            Ok(()) => page(StatusCode::OK, TEXT, "ready\n".into()),
            Err(not) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{not}\n")),
        },
        _ => page(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /healthz and /readyz\n".into()),
    }
}

fn page(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
