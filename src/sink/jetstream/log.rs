//! The stream that events are delivered to: found or created, checked, and its last message read.

use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{ErrorCode, context};
use async_nats::{HeaderMap, HeaderValue};
use serde::de::IgnoredAny;

use crate::config::NatsConfig;
use crate::error::{Failure, Kind};
use crate::snapshot::SnapshotProgress;
use crate::token::ResumeToken;

use super::client::Connection;
use super::failures::{Request, Trouble};
use super::message;

/// The duplicate window of a stream that is created: the server's default.
const DUPLICATE_WINDOW: std::time::Duration = std::time::Duration::from_secs(120);

/// Key of the stream's metadata with the scope of the watch that created it.
const SCOPE: &str = "cswatch-scope";

/// The stream.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(super) connection: Connection,
    stream: Stream<()>,
}

/// The end of the stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tail {
    /// The sequence of the last message that was stored. It may be gone.
    pub(crate) last_sequence: u64,
    /// The newest message that is still there.
    pub(crate) newest: Option<Newest>,
    /// When the stream was created, in nanoseconds since 1970: what distinguishes it from others of its name.
    pub(crate) created: i128,
}

/// The newest message of the stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Newest {
    pub(crate) sequence: u64,
    /// Its message ID.
    pub(crate) id: String,
    /// The resume token in it.
    pub(crate) token: ResumeToken,
    /// How far the snapshot had come with it; `None` if none was being read.
    pub(crate) snapshot: Option<SnapshotProgress>,
}

impl Log {
    /// Finds the stream, or creates it, and checks that it is one for cswatch. `scope` is what the watch is about.
    ///
    /// # Errors
    /// The reason why it cannot be used.
    pub(crate) async fn open(connection: Connection, scope: &str) -> Result<Self, Trouble> {
        let info = match find(&connection).await? {
            Some(info) => info,
            None => create(&connection, scope).await?,
        };
        ensure_usable(&connection.config, &info.config, scope)?;
        let stream = connection
            .jetstream
            .get_stream_no_info(&connection.config.stream)
            .await
            .map_err(|error| Trouble::Passing(error.to_string()))?;
        Ok(Self { connection, stream })
    }

    /// Checks that this user may publish to the stream: sends a message that the server refuses, because it does not follow the last one.
    ///
    /// # Errors
    /// Exit code 8 when the user may not.
    pub(crate) async fn ensure_permitted(&self) -> Result<(), Trouble> {
        let connection = &self.connection;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_STREAM, self.name());
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(i64::MAX));
        let subject = format!("{}._._._", connection.config.prefix);
        let request = async_nats::Request::new().headers(headers);
        match connection.client.send_request(subject, request).await {
            Ok(reply) => match serde_json::from_slice(&reply.payload) {
                Ok(Response::Err { error })
                    if error.error_code() != ErrorCode::STREAM_WRONG_LAST_SEQUENCE =>
                {
                    Err(connection.refused(Request::Publish, &error))
                }
                Ok(Response::<IgnoredAny>::Ok(_) | Response::Err { .. }) => Ok(()),
                Err(error) => Err(Trouble::Passing(format!("invalid reply: {error}"))),
            },
            Err(error) => Err(connection.unanswered(Request::Publish, None, &error.to_string())),
        }
    }

    /// Returns the name of the stream.
    pub(crate) fn name(&self) -> &str {
        &self.connection.config.stream
    }

    /// Reads the end of the stream, from the server that leads it.
    ///
    /// # Errors
    /// Exit code 6 when the newest message is not one of cswatch.
    pub(crate) async fn tail(&self) -> Result<Tail, Trouble> {
        let Some(info) = find(&self.connection).await? else {
            return Err(deleted(self.name()).into());
        };
        let last_sequence = info.state.last_sequence;
        let message = match info.state.messages {
            0 => None,
            _ => match self.message_at(last_sequence).await? {
                Some(message) => Some(message),
                None => self.message(By::Subject).await?,
            },
        };
        let newest = message.map(|message| self.newest(&message)).transpose()?;
        Ok(Tail {
            last_sequence,
            newest,
            created: info.created.unix_timestamp_nanos(),
        })
    }

    fn newest(&self, stored: &StreamMessage) -> Result<Newest, Failure> {
        let id = message::id_in(&stored.headers);
        let token = id.and_then(message::token_of);
        match id.zip(token) {
            Some((id, token)) => Ok(Newest {
                sequence: stored.sequence,
                id: id.to_owned(),
                token,
                snapshot: stored
                    .headers
                    .get(message::SNAPSHOT)
                    .and_then(|progress| SnapshotProgress::parse(progress.as_str())),
            }),
            None => Err(foreign(self.name(), stored.sequence, ", its last one,")),
        }
    }

    /// Returns what [`Tail::newest`] is about the message with this sequence; `None` if it was removed, or is not one of cswatch.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    pub(super) async fn newest_at(&self, sequence: u64) -> Result<Option<Newest>, Trouble> {
        let message = self.message_at(sequence).await?;
        Ok(message.and_then(|message| self.newest(&message).ok()))
    }

    /// Returns the message with this sequence, from the server that leads the stream; `None` if it was removed.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    pub(super) async fn message_at(&self, sequence: u64) -> Result<Option<StreamMessage>, Trouble> {
        self.message(By::Sequence(sequence)).await
    }

    async fn message(&self, by: By) -> Result<Option<StreamMessage>, Trouble> {
        let read = match by {
            By::Sequence(sequence) => self.stream.get_raw_message(sequence).await,
            By::Subject => {
                let subjects = self.connection.config.subjects();
                self.stream.get_last_raw_message_by_subject(&subjects).await
            }
        };
        match read {
            Ok(message) => Ok(Some(message)),
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(error) => {
                    Err(self.connection.refused(Request::Read, &error))
                }
                _ => Err(self.unanswered(&error)),
            },
        }
    }

    fn unanswered(&self, error: &dyn std::error::Error) -> Trouble {
        self.connection
            .unanswered(Request::Read, None, &error.to_string())
    }
}

/// How a message is found.
#[derive(Debug, Clone, Copy)]
enum By {
    Sequence(u64),
    /// The newest with one of the subjects of the stream.
    Subject,
}

/// Returns what the server reports about the stream; `None` if there is none.
///
/// # Errors
/// The reason why that is unknown.
pub(crate) async fn find(connection: &Connection) -> Result<Option<Info>, Trouble> {
    let stream = &connection.config.stream;
    let reply: Result<Response<Info>, context::RequestError> = connection
        .jetstream
        .request(format!("STREAM.INFO.{stream}"), &())
        .await;
    match reply {
        Ok(Response::Ok(info)) => Ok(Some(info)),
        Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            Ok(None)
        }
        Ok(Response::Err { error }) => Err(connection.refused(Request::Read, &error)),
        Err(error) => Err(unanswered(connection, Request::Read, &error)),
    }
}

/// Checks that JetStream is enabled.
///
/// # Errors
/// Exit code 8 when it is not.
pub(crate) async fn ensure_enabled(connection: &Connection) -> Result<(), Trouble> {
    let reply: Result<Response<serde_json::Value>, context::RequestError> =
        connection.jetstream.request("INFO", &()).await;
    match reply {
        Ok(Response::Ok(_)) => Ok(()),
        Ok(Response::Err { error }) => Err(connection.refused(Request::Account, &error)),
        Err(error) => Err(unanswered(connection, Request::Account, &error)),
    }
}

async fn create(connection: &Connection, scope: &str) -> Result<Info, Trouble> {
    let config = &connection.config;
    let wanted = Config {
        name: config.stream.clone(),
        subjects: vec![config.subjects()],
        description: Some("change events, delivered by cswatch".to_owned()),
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        num_replicas: config.replicas.into(),
        duplicate_window: DUPLICATE_WINDOW,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        max_message_size: -1,
        metadata: [(SCOPE.to_owned(), scope.to_owned())].into(),
        ..Config::default()
    };
    let reply: Result<Response<Info>, context::RequestError> = connection
        .jetstream
        .request(format!("STREAM.CREATE.{}", config.stream), &wanted)
        .await;
    match reply {
        Ok(Response::Ok(info)) => {
            tracing::info!(
                "created stream {} with the subjects {}, {}",
                config.stream,
                config.subjects(),
                crate::count::counted(config.replicas.into(), "replica")
            );
            Ok(info)
        }
        Ok(Response::Err { error }) => Err(connection.refused(Request::Create, &error)),
        Err(error) => Err(unanswered(connection, Request::Create, &error)),
    }
}

pub(super) fn unanswered(
    connection: &Connection,
    request: Request,
    error: &context::RequestError,
) -> Trouble {
    let kind: RequestErrorKind = error.kind();
    connection.unanswered(request, Some(kind), &error.to_string())
}

/// Checks that a stream with this configuration is one that cswatch can deliver to.
///
/// # Errors
/// Exit code 6 when it is not, 5 when it was created for another scope.
pub(crate) fn ensure_usable(
    config: &NatsConfig,
    stream: &Config,
    scope: &str,
) -> Result<(), Failure> {
    let name = &config.stream;
    let subjects = config.subjects();
    let refuse = |why: String, hint: String| {
        Err(Failure::new(Kind::Output, format!("stream {name} {why}")).hint(hint))
    };
    let own = "give cswatch a stream of its own with --nats-stream".to_owned();
    if stream.mirror.is_some() || stream.sources.as_ref().is_some_and(|list| !list.is_empty()) {
        return refuse("stores the messages of other streams".to_owned(), own);
    }
    if !stream.subjects.contains(&subjects) {
        return refuse(
            format!(
                "does not store the subjects {subjects}, only {}",
                stream.subjects.join(", ")
            ),
            format!(
                "run nats stream edit {name} --subjects '{subjects}', or give another --nats-stream or --nats-subject"
            ),
        );
    }
    let prefix = format!("{}.", config.prefix);
    if let Some(other) = stream
        .subjects
        .iter()
        .find(|other| !other.starts_with(&prefix))
    {
        return refuse(
            format!("stores other subjects too: {other}"),
            format!("only cswatch may publish to its stream: {own}"),
        );
    }
    if stream.no_ack {
        return refuse("does not acknowledge messages".to_owned(), own);
    }
    if stream.sealed {
        return refuse("is sealed".to_owned(), own);
    }
    if let Some(saved) = stream.metadata.get(SCOPE).filter(|saved| *saved != scope) {
        return Err(Failure::new(
            Kind::ResumeFile,
            format!("stream {name} belongs to another watch: it was created for {saved}, this is {scope}"),
        )
        .hint("give another --nats-stream and --nats-subject, or watch what it was created for"));
    }
    if stream.storage == StorageType::Memory {
        tracing::warn!(
            "stream {name} is kept in memory: a restart of its server loses its messages"
        );
    }
    if stream.retention != RetentionPolicy::Limits {
        tracing::warn!(
            hint = "use a stream with the retention limits",
            "stream {name} removes messages that were consumed: after a crash, events may be delivered again"
        );
    }
    Ok(())
}

/// Returns the failure of a stream with a message of another program. `which` says what is special about the message.
fn foreign(stream: &str, sequence: u64, which: &str) -> Failure {
    Failure::new(
        Kind::Output,
        format!(
            "message {sequence} of stream {stream}{which} is not one of cswatch: its {NATS_MESSAGE_ID} is no resume token"
        ),
    )
    .hint(format!(
        "only cswatch may publish to its stream: remove the message with nats stream rmm {stream} {sequence}, or give another --nats-stream"
    ))
}

/// Returns the failure of a stream in which a message of another program took the place of an event.
pub(crate) fn displaced(stream: &str, sequence: u64) -> Failure {
    foreign(stream, sequence, ", stored in the place of an event,")
}

/// Returns the failure of a watch whose stream is gone.
pub(super) fn deleted(name: &str) -> Failure {
    Failure::new(
        Kind::Output,
        format!("stream {name} was deleted while cswatch delivered to it"),
    )
    .hint("start cswatch again: it creates the stream, and resumes after the last checkpoint")
}
