//! What errors of the client and the server mean: whether they pass, and the failure and hint of those that do not.

use std::error::Error as _;
use std::io;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::RequestErrorKind;
use async_nats::{ConnectError, ConnectErrorKind, jetstream};

use crate::config::NatsConfig;
use crate::error::{Failure, Kind};

use super::client::Connection;

/// An error that is not in the published list of the client: the stream is at its limit, and refuses new messages.
const STREAM_STORE_FAILED: ErrorCode = ErrorCode(10077);

/// The replicas are more than a single server can hold.
const REPLICAS_NOT_SUPPORTED: ErrorCode = ErrorCode(10074);

/// An error of a request or a connection.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// It may pass: the reason.
    Passing(String),
    /// It does not pass by itself.
    Lasting(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Lasting(failure)
    }
}

impl Trouble {
    /// Returns the failure of an attempt that is not repeated.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::Passing(reason) => unreachable(&reason),
            Self::Lasting(failure) => failure,
        }
    }
}

/// Returns the failure of a request that got no reply, for this reason.
fn unreachable(reason: &str) -> Failure {
    Failure::new(Kind::Unreachable, format!("NATS: {reason}"))
        .hint("start the server or fix --nats; --wait waits for a server at startup")
}

/// Returns what an error of connecting means.
pub(super) fn connecting(config: &NatsConfig, error: &ConnectError) -> Trouble {
    let hosts = config.hosts();
    let refused = |why: &str| Failure::new(Kind::Refused, format!("NATS at {hosts} {why}"));
    let cause = cause(error);
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            let hint = match (&config.credentials, &config.login) {
                (Some(_), _) => "give a valid credentials file with --nats-creds",
                (None, Some(_)) => "fix the login in --nats",
                (None, None) => {
                    "add a login: --nats nats://USER:PASSWORD@HOST:PORT in CSWATCH_NATS, or --nats-creds FILE"
                }
            };
            refused("refuses the login").hint(hint).into()
        }
        ConnectErrorKind::Tls => tls(config, &cause),
        ConnectErrorKind::Io if is_tls(error) => tls(config, &cause),
        ConnectErrorKind::TimedOut => {
            Trouble::Passing(format!("cannot reach {hosts}: no reply in time"))
        }
        ConnectErrorKind::Dns => {
            Trouble::Passing(format!("cannot reach {hosts}: name not resolved: {cause}"))
        }
        _ => Trouble::Passing(format!("cannot reach {hosts}: {cause}")),
    }
}

fn tls(config: &NatsConfig, cause: &str) -> Trouble {
    let hint = match (cause.contains("UnknownIssuer"), &config.ca) {
        (true, None) => "name the certificate authority of the server with --nats-ca FILE",
        (true, Some(_)) => {
            "give the certificate authority that issued the certificate of the server"
        }
        (false, _) => {
            "use the name in the certificate of the server; tls:// in --nats requires a server with TLS"
        }
    };
    Failure::new(
        Kind::Refused,
        format!("NATS at {}: TLS failed: {cause}", config.hosts()),
    )
    .hint(hint)
    .into()
}

/// Returns whether the handshake of TLS failed: the client reports it like an error of the socket.
fn is_tls(error: &ConnectError) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            return true;
        }
        source = error.source();
    }
    false
}

/// Returns the innermost text of an error.
fn cause(error: &ConnectError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

/// What was asked of the server, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// About JetStream itself.
    Account,
    /// To report on the stream, or to return a message of it.
    Read,
    /// To create the stream or its bucket.
    Create,
    /// To store a message.
    Publish,
    /// To save the checkpoint, or read it.
    Checkpoint,
}

impl Request {
    /// Returns what cannot be done, for a message.
    fn description(self, config: &NatsConfig) -> String {
        let stream = &config.stream;
        match self {
            Self::Account => "use JetStream".to_owned(),
            Self::Read => format!("read stream {stream}"),
            Self::Create => format!("create stream {stream} and bucket {}", config.bucket()),
            Self::Publish => format!("publish to stream {stream}"),
            Self::Checkpoint => format!("use bucket {}", config.bucket()),
        }
    }
}

impl Connection {
    /// Returns what it means that a request failed without a reply of JetStream, with this text.
    pub(super) fn unanswered(
        &self,
        request: Request,
        kind: Option<RequestErrorKind>,
        text: &str,
    ) -> Trouble {
        if let Some(violation) = self.take_violation() {
            return not_permitted(&self.config, request, &violation).into();
        }
        if let Some(outage) = self.outage() {
            return Trouble::Passing(outage);
        }
        let what = request.description(&self.config);
        if kind == Some(RequestErrorKind::NoResponders) && request == Request::Account {
            return no_jetstream(&self.config).into();
        }
        Trouble::Passing(format!("cannot {what}: {text}"))
    }

    /// Returns what an error in a reply of JetStream means.
    pub(super) fn refused(&self, request: Request, error: &jetstream::Error) -> Trouble {
        let config = &self.config;
        let what = request.description(config);
        let refused = |kind, hint: String| {
            Trouble::Lasting(Failure::new(kind, format!("NATS: cannot {what}: {error}")).hint(hint))
        };
        match error.error_code() {
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                no_jetstream(config).into()
            }
            ErrorCode::STREAM_NOT_FOUND => refused(
                Kind::Output,
                "the stream was deleted: start cswatch again to create it".to_owned(),
            ),
            ErrorCode::STREAM_SUBJECT_OVERLAP => refused(
                Kind::Output,
                format!(
                    "another stream stores subjects of {}: give its name with --nats-stream, or another --nats-subject",
                    config.subjects()
                ),
            ),
            REPLICAS_NOT_SUPPORTED | ErrorCode::CLUSTER_NO_PEERS => refused(
                Kind::Refused,
                format!("use --nats-replicas with at most the number of servers; it is {}", config.replicas),
            ),
            ErrorCode::STREAM_NOT_MATCH => refused(
                Kind::Output,
                "another stream stores these subjects: give its name with --nats-stream, or another --nats-subject".to_owned(),
            ),
            ErrorCode::STREAM_LIMITS | ErrorCode::MAXIMUM_STREAMS_LIMIT if request == Request::Create => {
                refused(Kind::Refused, "raise the limits of the account".to_owned())
            }
            STREAM_STORE_FAILED => Trouble::Passing(format!(
                "cannot {what}: {error}; the stream refuses messages beyond its limits"
            )),
            _ => Trouble::Passing(format!("cannot {what}: {error}")),
        }
    }
}

fn no_jetstream(config: &NatsConfig) -> Failure {
    Failure::new(
        Kind::Refused,
        format!("NATS at {}: JetStream is not enabled", config.hosts()),
    )
    .hint("start nats-server with -js, or enable JetStream for this account")
}

pub(super) fn not_permitted(config: &NatsConfig, request: Request, violation: &str) -> Failure {
    let hint = match request {
        Request::Publish => format!("permit this user to publish to {}", config.subjects()),
        Request::Create => format!(
            "create the stream with the subjects {} as another user, or permit this user to publish to $JS.API.>",
            config.subjects()
        ),
        Request::Checkpoint => format!(
            "permit this user to publish to $JS.API.> and $KV.{}.>",
            config.bucket()
        ),
        Request::Account | Request::Read => {
            "permit this user to publish to $JS.API.>, and to subscribe to _INBOX.>".to_owned()
        }
    };
    Failure::new(
        Kind::Refused,
        format!(
            "NATS: not permitted to {}: {}",
            request.description(config),
            violation.trim_matches('\'')
        ),
    )
    .hint(hint)
}
