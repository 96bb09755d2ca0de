//! `--metrics-addr`: `/metrics`, `/healthz` and `/readyz` over HTTP. Answers from a snapshot, so that a scrape costs the stream nothing.

use std::convert::Infallible;
use std::net::TcpListener;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;

use crate::error::Failure;
use crate::time;

use super::{Snapshot, Telemetry, metrics};

/// A client that takes longer to send its request is given up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What a preflight or a person reads.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A server that is bound, and answers once it is run.
#[derive(Debug)]
pub(crate) struct MetricsServer(TcpListener);

impl MetricsServer {
    /// Binds the address.
    ///
    /// # Errors
    /// Exit code 2 when it is no `HOST:PORT`, of another machine, not permitted, or in use.
    pub(crate) fn bind(address: &str) -> Result<Self, Failure> {
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        bound.map(Self).map_err(|error| {
            Failure::usage(format!("--metrics-addr {address}: {error}"))
                .hint("give an address of this machine and a free port, as in 127.0.0.1:9216")
        })
    }

    /// Answers requests for as long as it is polled.
    ///
    /// # Errors
    /// When the runtime does not take the listener.
    pub(crate) async fn run(self, telemetry: Telemetry) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.0)?;
        tracing::info!("metrics are at http://{}/metrics", listener.local_addr()?);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve(TokioIo::new(stream), telemetry.clone()));
                    }
                    // Too many open files, or a client that is gone already: the next one may do.
                    Err(error) => {
                        tracing::debug!("metrics: {error}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn serve(stream: TokioIo<tokio::net::TcpStream>, telemetry: Telemetry) {
    let answer = service_fn(|request| {
        let answer = answer(&request, &telemetry.snapshot());
        async { Ok::<_, Infallible>(answer) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .serve_connection(stream, answer)
        .await;
    if let Err(error) = served {
        tracing::debug!("metrics: {error}");
    }
}

fn answer(request: &Request<Incoming>, snapshot: &Snapshot) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return said(StatusCode::METHOD_NOT_ALLOWED, "GET only");
    }
    match request.uri().path() {
        "/metrics" => match metrics::text(snapshot) {
            Ok(text) => {
                let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
                reply(StatusCode::OK, content_type, text)
            }
            Err(error) => said(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
        "/healthz" => healthz(snapshot),
        "/readyz" => readyz(snapshot),
        _ => said(StatusCode::NOT_FOUND, "/metrics, /healthz, /readyz"),
    }
}

/// Whether the process is alive and the server was heard within a limit.
fn healthz(snapshot: &Snapshot) -> Response<Full<Bytes>> {
    let limit = time::readable(snapshot.max_reply_age);
    let age = match snapshot.lag.time_since_reply {
        Some(age) => format!("last reply of the server {} ago", time::readable(age)),
        None => format!(
            "no reply of a server in {}",
            time::readable(snapshot.running)
        ),
    };
    if snapshot.is_replying() {
        said(StatusCode::OK, &format!("ok: {age}"))
    } else {
        let what = format!("{age}, longer than {limit}");
        said(StatusCode::SERVICE_UNAVAILABLE, &what)
    }
}

/// Whether the stream is open.
fn readyz(snapshot: &Snapshot) -> Response<Full<Bytes>> {
    match (snapshot.is_open, snapshot.outage) {
        (true, _) => said(StatusCode::OK, "ok: the stream is open"),
        (false, Some(outage)) => {
            let what = format!("no stream for {}", time::readable(outage));
            said(StatusCode::SERVICE_UNAVAILABLE, &what)
        }
        (false, None) => said(
            StatusCode::SERVICE_UNAVAILABLE,
            "the stream is not open yet",
        ),
    }
}

fn said(status: StatusCode, what: &str) -> Response<Full<Bytes>> {
    reply(status, TEXT, format!("{what}\n").into_bytes())
}

fn reply(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
