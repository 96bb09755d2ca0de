//! The connection to a deployment: client options, and commands with a timeout.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bson::{Document, RawDocumentBuf};
use futures::TryStreamExt as _;
use mongodb::Client;
use mongodb::ServerInfo;
use mongodb::options::{
    ClientOptions, ConnectionString, DriverInfo, ReadPreference, SelectionCriteria, ServerAddress,
};

use super::driver_log;
use super::server_reports::ServerReports;
use super::watchdog::PoolEvents;

/// Time to find a server before an attempt counts as failed, unless the connection string sets another. The driver's default of 30 s would
/// also be the price of a dead server between two replies.
pub(super) const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the driver to close its cursors at shutdown. Without a limit it takes over 40 s when the server is black-holed (measured with
/// driver 3.9.1).
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Time for a command once a server was found. The driver sets no limit, and on a half-open connection no reply ever comes.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// A client, and the events of its connection pools.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    /// The driver's client.
    pub(super) client: Client,
    /// The events of its connection pools, for the watchdog.
    pub(super) pool_events: PoolEvents,
    /// What the servers last reported to the driver's monitors.
    pub(super) reports: ServerReports,
    /// An identifier of this client, by which its operations are found on a server.
    pub(super) client_id: String,
    /// Time for the driver to find a server before it sends a request.
    pub(super) selection_timeout: Duration,
    /// Whether every request goes to the same server as the one before, unless another primary was elected.
    pub(super) is_one_server: bool,
    /// Whether the connection string allows one server only.
    pub(super) is_direct: bool,
    /// The member to read from instead of the one that the read preference selects. Shared by all clones.
    member: Arc<Mutex<Option<ServerAddress>>>,
}

impl Connection {
    /// Creates a client for `uri`. Does not connect yet, but resolves a `mongodb+srv` name.
    ///
    /// # Errors
    /// The driver's: an SRV record that does not exist, a TLS file that cannot be read.
    pub(super) async fn new(uri: ConnectionString) -> mongodb::error::Result<Self> {
        let mut options = ClientOptions::parse(uri).await?;
        let selection_timeout = *options
            .server_selection_timeout
            .get_or_insert(SERVER_SELECTION_TIMEOUT);
        options.app_name.get_or_insert_with(|| "cswatch".to_owned());
        let is_primary_read = matches!(
            options.selection_criteria,
            None | Some(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        );
        let is_direct = options.direct_connection == Some(true);
        let client_id = format!("{:016x}", fastrand::u64(..));
        options.driver_info = Some(
            DriverInfo::builder()
                .name("cswatch")
                .platform(client_id.clone())
                .build(),
        );
        let pool_events = PoolEvents::default();
        options.cmap_event_handler = Some(pool_events.handler());
        // Otherwise without: for command events the driver copies every reply.
        options.command_event_handler = driver_log::commands();
        let reports = ServerReports::default();
        options.sdam_event_handler = Some(reports.handler());
        Ok(Self {
            client: Client::with_options(options)?,
            pool_events,
            reports,
            client_id,
            selection_timeout,
            is_one_server: is_primary_read || is_direct,
            is_direct,
            member: Arc::default(),
        })
    }

    /// Returns this connection for requests to `member` alone.
    pub(super) fn to(&self, member: &ServerAddress) -> Self {
        Self {
            member: Arc::new(Mutex::new(Some(member.clone()))),
            ..self.clone()
        }
    }

    /// Reads from `member` from now on; with `None`, from the one that the read preference selects.
    pub(super) fn read_from(&self, member: Option<ServerAddress>) {
        *self.member() = member;
    }

    /// Returns the criteria that select the member to read from, if it is not the one that the read preference selects.
    pub(super) fn member_criteria(&self) -> Option<SelectionCriteria> {
        let member = self.member().clone()?;
        let is_member = move |server: &ServerInfo<'_>| server.address() == &member;
        Some(SelectionCriteria::Predicate(Arc::new(is_member)))
    }

    fn member(&self) -> MutexGuard<'_, Option<ServerAddress>> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a command on a server that the stream would be opened on: one that fits the connection string's read preference, or the member of
    /// [`Connection::read_from`].
    ///
    /// # Errors
    /// The driver's, and a timeout when no reply comes.
    pub(super) async fn run(
        &self,
        db: &str,
        command: Document,
    ) -> mongodb::error::Result<Document> {
        let db = self.client.database(db);
        let run = db.run_command(command);
        let run = match self.criteria() {
            Some(criteria) => run.selection_criteria(criteria),
            None => run,
        };
        self.within_timeout(run.into_future()).await
    }

    /// Runs a command that replies with a cursor, on the same server as [`Connection::run`], and returns all of its documents.
    ///
    /// # Errors
    /// The driver's, and a timeout when the replies take too long.
    pub(super) async fn all(
        &self,
        db: &str,
        command: Document,
    ) -> mongodb::error::Result<Vec<RawDocumentBuf>> {
        let db = self.client.database(db);
        let run = db.run_cursor_command(command);
        let run = match self.criteria() {
            Some(criteria) => run.selection_criteria(criteria),
            None => run,
        };
        let all = async {
            let documents = run.await?.with_type::<RawDocumentBuf>();
            documents.try_collect().await
        };
        self.within_timeout(all).await
    }

    /// Returns the criteria that select the server that the stream would be opened on; `None` for the driver's. The driver ignores the read
    /// preference of the connection string for commands that it does not know.
    pub(super) fn criteria(&self) -> Option<SelectionCriteria> {
        let member = self.member_criteria();
        member.or_else(|| self.client.selection_criteria().cloned())
    }

    async fn within_timeout<T>(
        &self,
        reply: impl Future<Output = mongodb::error::Result<T>>,
    ) -> mongodb::error::Result<T> {
        let timeout = self.selection_timeout + COMMAND_TIMEOUT;
        match tokio::time::timeout(timeout, reply).await {
            Ok(reply) => reply,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }

    /// Closes cursors and connections, as many as it can within [`SHUTDOWN_TIMEOUT`].
    pub(super) async fn close(self) {
        // The server closes the rest together with their sessions.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, self.client.shutdown()).await;
    }
}
