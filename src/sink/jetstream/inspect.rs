//! What `check` asks the NATS servers: everything that a delivery depends on. Creates nothing, never retries.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::RequestError;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Info;
use serde_json::json;

use crate::checkpoint::Owner;
use crate::config::{NatsConfig, StreamSpec};
use crate::error::{Failure, Kind};
use crate::telemetry::Telemetry;

use super::checkpoint::CheckpointStore;
use super::client::Connection;
use super::failures::{Request, Trouble};
use super::lease::{self, Holder};
use super::log::{self, Log};
use super::position::Position;

/// The hint about replicas that a single server cannot have.
const TOO_MANY_REPLICAS: &str =
    "use --nats-replicas with at most the number of servers in the cluster";

/// A connection to the servers, for questions about what a delivery depends on. Each fails with the failure that a watch would end with.
#[derive(Debug)]
pub(crate) struct Inspection {
    connection: Connection,
}

/// What the bucket of the stream holds.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Where a watch would resume.
    pub(crate) position: Position,
    /// The cswatch that delivers.
    pub(crate) holder: Option<Holder>,
}

impl Inspection {
    /// Connects to one of the servers.
    ///
    /// # Errors
    /// As a watch without `--wait`.
    pub(crate) async fn connect(config: Arc<NatsConfig>) -> Result<Self, Failure> {
        let connection = Connection::open(config, false, None).await?;
        Ok(Self { connection })
    }

    /// Returns the name and the version of the server.
    pub(crate) fn server(&self) -> (String, String) {
        let info = self.connection.client.server_info();
        (info.server_name, info.version)
    }

    /// Returns the largest message that the server accepts, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.connection.client.server_info().max_payload
    }

    /// Checks that JetStream is enabled.
    ///
    /// # Errors
    /// Exit code 8 when it is not.
    pub(crate) async fn ensure_enabled(&self) -> Result<(), Failure> {
        log::ensure_enabled(&self.connection)
            .await
            .map_err(Trouble::failure)
    }

    /// Checks that the stream can be used, and returns what the server reports about it; `None` if a watch would create it.
    ///
    /// # Errors
    /// The reason why it cannot be used or created.
    pub(crate) async fn stream(&self, scope: &str) -> Result<Option<Info>, Failure> {
        let found = log::find(&self.connection).await;
        let Some(info) = found.map_err(Trouble::failure)? else {
            self.ensure_creatable().await?;
            return Ok(None);
        };
        log::ensure_usable(&self.connection.config, &info.config, scope)?;
        Ok(Some(info))
    }

    /// Checks what can be checked without creating the stream. A cluster of too few servers for its replicas is found out only then.
    async fn ensure_creatable(&self) -> Result<(), Failure> {
        let connection = &self.connection;
        let config = &connection.config;
        self.ensure_no_overlap().await?;
        if config.replicas > 1 && connection.client.server_info().cluster.is_none() {
            let message = format!(
                "NATS: cannot create stream {} with {} replicas: the server is not in a cluster",
                config.stream, config.replicas
            );
            return Err(Failure::new(Kind::Refused, message).hint(TOO_MANY_REPLICAS));
        }
        // The server refuses it because of the name, which is not that of the subject, or because this user may not create streams.
        let other_name = json!({ "name": "" });
        let subject = format!("STREAM.CREATE.{}", config.stream);
        let reply: Result<Response<serde_json::Value>, RequestError> =
            connection.jetstream.request(subject, &other_name).await;
        match reply {
            Ok(_) => Ok(()),
            Err(error) => Err(log::unanswered(connection, Request::Create, &error).failure()),
        }
    }

    /// # Errors
    /// Exit code 6 when another stream stores the subjects. A user who may not ask finds out by starting a watch.
    async fn ensure_no_overlap(&self) -> Result<(), Failure> {
        let config = &self.connection.config;
        let subjects = config.subjects();
        let jetstream = &self.connection.jetstream;
        let Ok(other) = jetstream.stream_by_subject(subjects.clone()).await else {
            return Ok(());
        };
        let message = format!(
            "NATS: cannot create stream {}: stream {other} stores subjects of {subjects}",
            config.stream
        );
        Err(Failure::new(Kind::Output, message)
            .hint("give its name with --nats-stream, or another --nats-subject"))
    }

    /// Reads where a watch of `spec` would resume, and which cswatch delivers. The stream must exist.
    ///
    /// # Errors
    /// The reason why the stream or its bucket cannot be used.
    pub(crate) async fn bucket(&self, spec: &StreamSpec) -> Result<Bucket, Failure> {
        let bucket = self.read(spec).await.map_err(Trouble::failure)?;
        bucket.position.ensure_unbroken(&self.connection.config)?;
        Ok(bucket)
    }

    async fn read(&self, spec: &StreamSpec) -> Result<Bucket, Trouble> {
        let connection = &self.connection;
        let log = Log::open(connection.clone(), &spec.scope_id()).await?;
        let name = connection.config.bucket();
        if connection.jetstream.get_key_value(name).await.is_err() {
            return Ok(Bucket {
                position: Position::of_stream(&log, None).await?,
                holder: None,
            });
        }
        let telemetry = Telemetry::new(spec.max_await);
        let owner = Owner::of(spec);
        let mut checkpoint =
            CheckpointStore::open(connection.clone(), owner, Duration::ZERO, telemetry).await?;
        Ok(Bucket {
            position: Position::read(&log, &mut checkpoint).await?,
            holder: lease::current_holder(checkpoint.store())
                .await
                .map_err(Trouble::Passing)?,
        })
    }
}
