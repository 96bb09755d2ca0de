//! The connection to the servers: the login, TLS, and what the client reports about it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ClientError, ConnectOptions, Event, ServerError};
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::config::NatsConfig;
use crate::config::nats::Login;
use crate::error::Failure;

use super::attempts::Attempts;
use super::failures;

/// The name of the connection that the server shows.
const NAME: &str = "cswatch";

/// The longest wait for a connection and its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait for the reply to a request.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the client asks the server for a sign of life. It gives up a connection after three without one.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Pause before the first server is tried again, and its upper bound.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(2);

/// Commands that may wait for the connection. More than are sent before a reply is awaited, so that sending never waits while there is
/// no connection.
const COMMANDS: usize = 32 * 1024;

/// What messages about an outage begin with.
const PEER: &str = "NATS: ";

/// A connection to the servers, which the client restores when it is lost.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(super) client: Client,
    pub(super) jetstream: Context,
    pub(super) config: Arc<NatsConfig>,
    reports: Reports,
}

/// What the client reports about the connection.
#[derive(Debug, Clone)]
struct Reports {
    /// Number of connections that were lost.
    losses: watch::Sender<u64>,
    /// The last errors of the server and of the client.
    last: Arc<Mutex<LastErrors>>,
}

#[derive(Debug, Default)]
struct LastErrors {
    /// What the server does not permit.
    violation: Option<String>,
    /// Why there is no connection.
    outage: Option<String>,
}

impl Connection {
    /// Connects to one of the servers. With `is_patient` an attempt that fails is repeated, for `retry_for` at most.
    ///
    /// # Errors
    /// Exit code 7 when no server can be reached, 8 when it refuses the login or TLS fails, 2 for unusable files.
    pub(crate) async fn open(
        config: Arc<NatsConfig>,
        is_patient: bool,
        retry_for: Option<Duration>,
    ) -> Result<Self, Failure> {
        let reports = Reports {
            losses: watch::Sender::new(0),
            last: Arc::default(),
        };
        let mut attempts = Attempts::new(is_patient, retry_for);
        let client = loop {
            let options = options(&config, &reports).await?;
            let connected = options.connect(&config.servers[..]).await;
            let connected = connected.map_err(|error| failures::connecting(&config, &error));
            if let Some(client) = attempts.value(connected).await? {
                break client;
            }
        };
        let jetstream = ContextBuilder::new()
            .timeout(REPLY_TIMEOUT)
            .build(client.clone());
        let info = client.server_info();
        tracing::debug!(
            "connected to NATS server {} {} at {}",
            info.server_name,
            info.version,
            config.hosts()
        );
        Ok(Self {
            client,
            jetstream,
            config,
            reports,
        })
    }

    /// Returns a backoff for requests on this connection.
    pub(super) fn backoff(retry_for: Option<Duration>) -> Backoff {
        Backoff::to(PEER, retry_for)
    }

    /// Returns the number of connections that were lost, which changes with each.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.reports.losses.subscribe()
    }

    /// Returns what the server did not permit since this was asked last.
    pub(super) fn take_violation(&self) -> Option<String> {
        self.reports.last().violation.take()
    }

    /// Returns why there is no connection; `None` if there is one.
    pub(super) fn outage(&self) -> Option<String> {
        match self.client.connection_state() {
            async_nats::connection::State::Connected => None,
            _ => Some(
                self.reports
                    .last()
                    .outage
                    .clone()
                    .unwrap_or_else(|| format!("no connection to {}", self.config.hosts())),
            ),
        }
    }
}

impl Reports {
    fn last(&self) -> std::sync::MutexGuard<'_, LastErrors> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, event: &Event) {
        tracing::debug!("NATS client: {event}");
        match event {
            Event::Disconnected => self.losses.send_modify(|losses| *losses += 1),
            Event::ServerError(ServerError::Other(text))
                if text.to_ascii_lowercase().contains("permissions violation") =>
            {
                self.last().violation = Some(text.clone());
            }
            Event::ServerError(error) => self.last().outage = Some(error.to_string()),
            Event::ClientError(ClientError::Other(text)) => self.last().outage = Some(text.clone()),
            _ => {}
        }
    }
}

/// # Errors
/// Exit code 2 when the credentials file cannot be read.
async fn options(config: &NatsConfig, reports: &Reports) -> Result<ConnectOptions, Failure> {
    let reports = reports.clone();
    let mut options = ConnectOptions::new()
        .name(NAME)
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(REPLY_TIMEOUT))
        .ping_interval(PING_INTERVAL)
        .client_capacity(COMMANDS)
        .reconnect_delay_callback(|attempts| {
            // The first attempt of all is not delayed.
            let doubled = 2_u32.saturating_pow(u32::try_from(attempts / 4).unwrap_or(u32::MAX));
            match attempts {
                0 | 1 => Duration::ZERO,
                _ => (RECONNECT_PAUSE.saturating_mul(doubled)).min(MAX_RECONNECT_PAUSE),
            }
        })
        .event_callback(move |event| {
            reports.record(&event);
            async {}
        });
    options = match &config.login {
        None => options,
        Some(Login::Token(token)) => options.token(token.clone()),
        Some(Login::User(user, password)) => {
            options.user_and_password(user.clone(), password.clone())
        }
    };
    if let Some(file) = &config.credentials {
        options = options.credentials_file(file).await.map_err(|error| {
            Failure::usage(format!(
                "--nats-creds: cannot use {}: {error}",
                file.display()
            ))
            .hint("name a credentials file, as nsc writes it, that this user can read")
        })?;
    }
    if let Some(file) = &config.ca {
        // Read here for a message that names the flag.
        std::fs::read(file).map_err(|error| {
            Failure::usage(format!(
                "--nats-ca: cannot read {}: {error}",
                file.display()
            ))
            .hint("name a PEM file that this user can read")
        })?;
        options = options.add_root_certificates(file.clone());
    }
    Ok(options)
}
