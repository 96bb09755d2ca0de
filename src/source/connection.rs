//! The way to the deployment: client options, the first contact, and what the server says of itself.

use std::time::Duration;

use bson::Document;
use mongodb::Client;
use mongodb::options::{ClientOptions, ConnectionString};

use super::watchdog::Connections;

/// How long a server is looked for before an attempt counts as failed, unless the connection string says otherwise. The driver's
/// own 30 s is also what a dead server costs between two replies.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the driver may take to close its cursors on the way out; against a black-holed server it takes over 40 s
/// (measured with driver 3.9.1).
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a command may take once a server was found. The driver has no limit of its own, and a half-open connection says nothing.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// A client, and what it tells of its connections.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    /// The driver's client.
    pub(super) client: Client,
    /// For a watchdog.
    pub(super) connections: Connections,
    /// How long the driver may look for a server before it sends a request.
    pub(super) selection_timeout: Duration,
}

impl Connection {
    /// A client for `uri`. Connects to nothing yet, but a `mongodb+srv` name is resolved.
    ///
    /// # Errors
    /// The driver's: an SRV record that cannot be found, a TLS file that cannot be read.
    pub(super) async fn new(uri: ConnectionString) -> mongodb::error::Result<Self> {
        let mut options = ClientOptions::parse(uri).await?;
        let selection_timeout = *options
            .server_selection_timeout
            .get_or_insert(SERVER_SELECTION_TIMEOUT);
        options.app_name.get_or_insert_with(|| "cswatch".to_owned());
        let connections = Connections::default();
        options.cmap_event_handler = Some(connections.handler());
        Ok(Self {
            client: Client::with_options(options)?,
            connections,
            selection_timeout,
        })
    }

    /// Runs a command where the stream would be opened, following the connection string's read preference.
    ///
    /// # Errors
    /// The driver's.
    pub(super) async fn run(
        &self,
        db: &str,
        command: Document,
    ) -> mongodb::error::Result<Document> {
        let db = self.client.database(db);
        let run = db.run_command(command);
        let run = match self.client.selection_criteria() {
            Some(criteria) => run.selection_criteria(criteria.clone()),
            None => run,
        };
        let timeout = self.selection_timeout + COMMAND_TIMEOUT;
        match tokio::time::timeout(timeout, run.into_future()).await {
            Ok(reply) => reply,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }

    /// Closes cursors and connections as far as that goes in a moment.
    pub(super) async fn close(self) {
        // What is left open dies with its session on the server.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, self.client.shutdown()).await;
    }
}
