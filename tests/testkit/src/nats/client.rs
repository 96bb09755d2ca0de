//! A client of a server or a cluster: reads what is in a stream, and changes it as other clients and operators do. Tests are not async, so
//! neither is this.

use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::header::HeaderMap;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, Info, Stream};
use async_nats::jetstream::{self, Context};
use futures::{StreamExt, TryStreamExt, future};

use crate::deadline::{DEADLINE, START_DEADLINE, poll};
use crate::runtime::block_on;

/// The longest wait for one reply. A server that was killed never replies.
const REPLY_LIMIT: Duration = Duration::from_secs(5);

/// A message in a stream.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its number in the stream.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its payload.
    pub line: String,
}

impl Stored {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }
}

/// A connected client.
#[derive(Clone)]
pub struct NatsClient {
    context: Context,
}

impl NatsClient {
    /// Connects to the first server that accepts it; the URLs are separated by commas.
    #[track_caller]
    pub fn connect(urls: &str) -> NatsClient {
        NatsClient::connect_with(urls, ConnectOptions::new())
    }

    /// Connects as this user. The client ignores a login in a URL.
    #[track_caller]
    pub fn connect_as(user: &str, password: &str, urls: &str) -> NatsClient {
        let options = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
        NatsClient::connect_with(urls, options)
    }

    #[track_caller]
    fn connect_with(urls: &str, options: ConnectOptions) -> NatsClient {
        let urls: Vec<&str> = urls.split(',').collect();
        let options = options.request_timeout(Some(REPLY_LIMIT));
        block_on(async {
            let client = options.connect(&urls[..]).await;
            let mut context = jetstream::new(client.expect("a server that accepts clients"));
            context.set_timeout(REPLY_LIMIT);
            NatsClient { context }
        })
    }

    /// Returns the context of JetStream, for use with [`block_on`].
    pub fn jetstream(&self) -> &Context {
        &self.context
    }

    /// Creates a stream.
    #[track_caller]
    pub fn create_stream(&self, config: Config) -> Stream {
        block_on(self.context.create_stream(config)).expect("a stream can be created")
    }

    /// Deletes a stream, if it exists.
    #[track_caller]
    pub fn delete_stream(&self, name: &str) {
        if self.stream(name).is_some() {
            block_on(self.context.delete_stream(name)).expect("a stream can be deleted");
        }
    }

    /// Changes the configuration of a stream.
    #[track_caller]
    pub fn update_stream(&self, name: &str, change: impl FnOnce(&mut Config)) {
        let mut config = self.info(name).expect("a stream").config;
        change(&mut config);
        block_on(self.context.update_stream(config)).expect("a stream can be updated");
    }

    /// Publishes a message, and waits until it is stored.
    #[track_caller]
    pub fn publish(&self, subject: &str, payload: &str) {
        block_on(async {
            self.context
                .publish(subject.to_owned(), payload.to_owned().into())
                .await?
                .await
        })
        .expect("a message is stored");
    }

    /// Returns a stream, `None` if it does not exist.
    #[track_caller]
    pub fn stream(&self, name: &str) -> Option<Stream> {
        match block_on(self.context.get_stream(name)) {
            Ok(stream) => Some(stream),
            Err(error) if is_missing(&error.kind()) => None,
            Err(error) => panic!("stream {name}: {error}"),
        }
    }

    /// Returns what the server reports about a stream, `None` if it does not exist.
    #[track_caller]
    pub fn info(&self, name: &str) -> Option<Info> {
        self.stream(name).map(|stream| stream.cached_info().clone())
    }

    /// Returns the number of messages in a stream; 0 while it does not exist, or does not reply.
    pub fn count(&self, name: &str) -> u64 {
        let stream = block_on(self.context.get_stream(name));
        stream.map_or(0, |stream| stream.cached_info().state.messages)
    }

    /// Waits until a stream has at least this number of messages.
    #[track_caller]
    pub fn wait_count(&self, name: &str, count: u64) {
        self.wait_count_within(DEADLINE, name, count);
    }

    /// Waits this long until a stream has at least this number of messages.
    #[track_caller]
    pub fn wait_count_within(&self, limit: Duration, name: &str, count: u64) {
        let reached = poll(limit, || (self.count(name) >= count).then_some(()));
        assert!(
            reached.is_some(),
            "{} of {count} messages in {name}",
            self.count(name)
        );
    }

    /// Returns all messages of a stream in their order.
    #[track_caller]
    pub fn messages(&self, name: &str) -> Vec<Stored> {
        self.messages_of(name, ">")
    }

    /// Returns the messages of a stream whose subject matches `filter`, in their order. Waits for all that its leader has: the consumer may read
    /// from a replica that is behind, and reports nothing pending there. A cluster that was just restarted does not reply at first.
    #[track_caller]
    pub fn messages_of(&self, name: &str, filter: &str) -> Vec<Stored> {
        let mut failure = None;
        let read = poll(DEADLINE, || {
            let read = self.read(name, filter);
            let read = block_on(async { tokio::time::timeout(DEADLINE, read).await });
            read.map_err(Into::into)
                .flatten()
                .map_err(|error: async_nats::Error| failure = Some(error))
                .ok()
        });
        read.unwrap_or_else(|| panic!("the messages of {name} cannot be read: {failure:?}"))
    }

    async fn read(&self, name: &str, filter: &str) -> Result<Vec<Stored>, async_nats::Error> {
        let stream = self.context.get_stream(name).await?;
        let subjects = stream.info_with_subjects(filter).await?;
        let count = subjects
            .try_fold(0, |count, (_, messages)| future::ok(count + messages))
            .await?;
        let consumer = stream
            .create_consumer(OrderedConfig {
                filter_subject: filter.to_owned(),
                ..OrderedConfig::default()
            })
            .await?;
        let mut pending = consumer.cached_info().num_pending;
        let mut messages = consumer.messages().await?;
        let mut stored = Vec::new();
        while pending > 0 || stored.len() < count {
            let message = messages.next().await.ok_or("no message")??;
            let info = message.info()?;
            pending = info.pending;
            let sequence = info.stream_sequence;
            let message = message.split().0;
            stored.push(Stored {
                sequence,
                subject: message.subject.to_string(),
                headers: message.headers.unwrap_or_default(),
                line: String::from_utf8(message.payload.into())?,
            });
        }
        Ok(stored)
    }

    /// Returns the value of a key, `None` if there is no such bucket or key.
    #[track_caller]
    pub fn value(&self, bucket: &str, key: &str) -> Option<String> {
        let store = block_on(self.context.get_key_value(bucket)).ok()?;
        let value = block_on(store.get(key)).expect("a value");
        value.map(|value| String::from_utf8(value.into()).expect("UTF-8"))
    }

    /// Deletes a key, if there is such a bucket.
    #[track_caller]
    pub fn delete_key(&self, bucket: &str, key: &str) {
        if let Ok(store) = block_on(self.context.get_key_value(bucket)) {
            block_on(store.delete(key)).expect("a key can be deleted");
        }
    }

    /// Returns the name of the server that leads a stream, `None` while there is none.
    pub(super) fn leader(&self, name: &str) -> Option<String> {
        let stream = block_on(self.context.get_stream(name)).ok()?;
        stream.cached_info().cluster.as_ref()?.leader.clone()
    }

    /// Waits until streams can have this number of replicas: all servers of the cluster know each other, and one leads them.
    #[track_caller]
    pub(super) fn wait_for_replicas(&self, count: usize) {
        const PROBE: &str = "cluster_is_ready";
        let created = poll(START_DEADLINE, || {
            let stream = self.context.create_stream(Config {
                name: PROBE.to_owned(),
                num_replicas: count,
                ..Config::default()
            });
            block_on(stream).ok()
        });
        assert!(created.is_some(), "no stream can have {count} replicas");
        block_on(self.context.delete_stream(PROBE)).expect("a stream can be deleted");
    }
}

fn is_missing(error: &GetStreamErrorKind) -> bool {
    matches!(error, GetStreamErrorKind::JetStream(error) if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND)
}
