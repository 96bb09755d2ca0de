//! HTTP server of `--metrics-addr`: `/metrics`, `/healthz` and `/readyz`. Responds from a snapshot, so that a scrape never waits for
//! the stream, nor the stream for a scrape. Each connection serves one request, so that a client cannot hold it.

use std::convert::Infallible;
use std::net::TcpListener;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::error::Failure;
use crate::time;

use super::connections::Connections;
use super::{LeaseState, Snapshot, Telemetry, metrics};

/// The pause after a connection could not be accepted.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Content type of the responses other than metrics.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A server that is bound to its address. It responds once it is run.
#[derive(Debug)]
pub(crate) struct MetricsServer(TcpListener);

impl MetricsServer {
    /// Binds `address`.
    ///
    /// # Errors
    /// Exit code 2 when `address` is not a `HOST:PORT`, belongs to another machine, needs a permission, or is in use.
    pub(crate) fn bind(address: &str) -> Result<Self, Failure> {
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        bound.map(Self).map_err(|error| {
            Failure::usage(format!(
                "cannot listen on --metrics-addr {address}: {error}"
            ))
            .hint("use an address of this machine and a free port, as in 127.0.0.1:9216")
        })
    }

    /// Serves requests until it is dropped.
    ///
    /// # Errors
    /// If the runtime refuses the listener.
    pub(crate) async fn run(self, telemetry: Telemetry) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.0)?;
        let address = listener.local_addr()?;
        tracing::info!("serving metrics at http://{address}/metrics");
        if !address.ip().is_loopback() {
            tracing::warn!(
                hint = "use --metrics-addr 127.0.0.1:PORT, or make sure that only your monitoring reaches it",
                "other machines can read the metrics at {address}, without a password"
            );
        }
        let mut connections = Connections::new();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    connections.make_room().await;
                    connections.serve(serve(TokioIo::new(stream), telemetry.clone()));
                }
                // Too many open files, or a client that has already disconnected: the next one may be accepted.
                Err(error) => {
                    tracing::debug!("metrics: {error}");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }
}

async fn serve(stream: TokioIo<tokio::net::TcpStream>, telemetry: Telemetry) {
    let service = service_fn(|request| {
        let response = respond(&request, &telemetry.snapshot());
        async { Ok::<_, Infallible>(response) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(stream, service)
        .await;
    if let Err(error) = served {
        tracing::debug!("metrics: {error}");
    }
}

fn respond(request: &Request<Incoming>, snapshot: &Snapshot) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are allowed",
        );
    }
    match request.uri().path() {
        "/metrics" => match metrics::text(snapshot) {
            Ok(metrics) => {
                let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
                response(StatusCode::OK, content_type, metrics)
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
        "/healthz" => healthz(snapshot),
        "/readyz" => readyz(snapshot),
        _ => text(
            StatusCode::NOT_FOUND,
            "not found: the paths are /metrics, /healthz and /readyz",
        ),
    }
}

/// Returns 200 while the server's last reply is recent enough. That the process is alive shows in the response itself.
fn healthz(snapshot: &Snapshot) -> Response<Full<Bytes>> {
    let limit = time::readable(snapshot.max_reply_age);
    let age = match snapshot.lag.time_since_reply {
        Some(age) => format!("last reply from the server {} ago", time::readable(age)),
        None => format!(
            "no reply from a server since the start {} ago",
            time::readable(snapshot.uptime)
        ),
    };
    if snapshot.is_replying() {
        text(StatusCode::OK, &format!("ok: {age}"))
    } else {
        let message = format!("{age}, the limit is {limit}");
        text(StatusCode::SERVICE_UNAVAILABLE, &message)
    }
}

/// Returns 200 while the stream is open, and while this process stands by.
fn readyz(snapshot: &Snapshot) -> Response<Full<Bytes>> {
    if snapshot.delivery.lease == LeaseState::Standby {
        return text(StatusCode::OK, "ok: standing by, another cswatch delivers");
    }
    match (snapshot.is_open, snapshot.outage) {
        (true, _) => text(StatusCode::OK, "ok: the stream is open"),
        (false, Some(outage)) => {
            let message = format!("reconnecting for {}", time::readable(outage));
            text(StatusCode::SERVICE_UNAVAILABLE, &message)
        }
        (false, None) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the stream is not open yet",
        ),
    }
}

fn text(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    response(status, TEXT, format!("{message}\n").into_bytes())
}

fn response(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
