//! Watchdog over each wait for a reply. The driver can hang on a half-open connection, and resumes a stream on its own without a limit or
//! a backoff. The watchdog only ends the wait; `recovery` decides what is next.

use std::collections::HashMap;
use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use mongodb::options::ServerAddress;
use tokio::sync::watch;
use tokio::task::futures::TaskLocalFuture;

use super::driver_log;

/// Maximum number of requests since the last reply to a `getMore`. More are the driver's own resumes, which it repeats for as long as each
/// `aggregate` succeeds (360 a second, measured with driver 3.9.1).
const MAX_UNANSWERED: u32 = 10;

tokio::task_local! {
    /// The tracker of the requests that the driver sends now. The driver's events name no cursor, but it reports a connection checked out
    /// for a request within the poll of the task that awaits the reply (driver 3.9.1).
    static REQUESTS: RequestTracker;
}

/// The reason why a wait ended without a reply. The future that was awaited is unusable then and must be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The connection to this server broke, and the driver may take long to find another server.
    Broken(ServerAddress),
    /// No reply came within this time. The connection may be half-open.
    Silent(Duration),
    /// The driver resumed again and again.
    Looping,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(server) => write!(f, "the connection to {server} broke"),
            Self::Silent(time) => write!(f, "no reply for {time:.0?}"),
            Self::Looping => f.write_str("the server fails every request for more events"),
        }
    }
}

impl Unanswered {
    /// Returns one word, the label of the reconnect counter.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Broken(_) => "broken",
            Self::Silent(_) => "silent",
            Self::Looping => "looping",
        }
    }
}

/// The events of the driver's connection pools.
#[derive(Debug, Clone, Default)]
pub(super) struct PoolEvents {
    /// How often the pool of a server was cleared, which the driver does when one of its connections breaks.
    clears: watch::Sender<HashMap<ServerAddress, u64>>,
}

impl PoolEvents {
    /// Returns the handler of the events.
    pub(super) fn handler(&self) -> EventHandler<CmapEvent> {
        let clears = self.clears.clone();
        EventHandler::callback(move |event| {
            driver_log::connections(&event);
            match event {
                CmapEvent::ConnectionCheckedOut(event) => {
                    let clears = count(&clears.borrow(), &event.address);
                    // An error means that the request belongs to no cursor; it is not tracked.
                    let _ = REQUESTS
                        .try_with(|requests| requests.record_request(event.address, clears));
                }
                CmapEvent::PoolCleared(event) => {
                    clears.send_modify(|clears| *clears.entry(event.address).or_default() += 1);
                }
                _ => {}
            }
        })
    }

    /// Waits until the connection of the last of `requests` breaks, and returns its server.
    async fn broken_server(&self, requests: &RequestTracker) -> ServerAddress {
        let mut server = None;
        let mut clears = self.clears.subscribe();
        let cleared = clears.wait_for(|clears| {
            server = requests.broken_server(clears);
            server.is_some()
        });
        // Fails only when the client is gone, but the client outlives every wait.
        let _ = cleared.await;
        match server {
            Some(server) => server,
            None => pending().await,
        }
    }
}

fn count(clears: &HashMap<ServerAddress, u64>, server: &ServerAddress) -> u64 {
    clears.get(server).copied().unwrap_or_default()
}

/// The requests that the driver sends for one cursor.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestTracker(Arc<Mutex<Requests>>);

#[derive(Debug, Default)]
struct Requests {
    /// Number of requests since the last reply.
    since_reply: u32,
    /// Number of requests since the stream last made progress.
    unanswered: u32,
    /// The server of the last request, and how often its pool had been cleared before.
    last: Option<(ServerAddress, u64)>,
}

impl RequestTracker {
    /// Counts the requests that the driver sends within `work`.
    pub(super) fn track<F: Future>(&self, work: F) -> TaskLocalFuture<Self, F> {
        REQUESTS.scope(self.clone(), work)
    }

    /// Records a reply that was awaited. Returns whether it took one request, so that it answers a `getMore`. After several requests it
    /// belongs to a stream that the driver opened again, and an empty one does not prove that the stream works.
    pub(super) fn record_reply(&self, has_event: bool) -> bool {
        let mut requests = self.lock();
        let is_for_get_more = std::mem::take(&mut requests.since_reply) == 1;
        if is_for_get_more || has_event {
            requests.unanswered = 0;
        }
        is_for_get_more
    }

    /// Returns the server that the last request was sent to.
    pub(super) fn last_server(&self) -> Option<ServerAddress> {
        let requests = self.lock();
        requests.last.as_ref().map(|(server, _)| server.clone())
    }

    /// Awaits `reply` for at most `reply_timeout`, and again for as long as `is_running` finds the server at work on the request.
    /// [`Self::track`] must count its requests.
    ///
    /// # Errors
    /// The reason why no reply will come.
    pub(super) async fn await_reply<F: Future>(
        &self,
        pool_events: &PoolEvents,
        mut reply: Pin<&mut F>,
        reply_timeout: Duration,
        is_running: impl AsyncFn(ServerAddress) -> bool,
    ) -> Result<F::Output, Unanswered> {
        let started_at = Instant::now();
        let silence = async {
            loop {
                tokio::time::sleep(reply_timeout).await;
                let Some(server) = self.last_server() else {
                    break;
                };
                if !is_running(server.clone()).await {
                    break;
                }
                tracing::info!(
                    "{server} has been searching for an event for {:.0?}",
                    started_at.elapsed()
                );
            }
        };
        let reply = poll_fn(|context| match reply.as_mut().poll(context) {
            Poll::Pending if self.lock().unanswered > MAX_UNANSWERED => {
                Poll::Ready(Err(Unanswered::Looping))
            }
            poll => poll.map(Ok),
        });
        tokio::select! {
            biased;
            reply = reply => reply,
            server = pool_events.broken_server(self) => Err(Unanswered::Broken(server)),
            () = silence => Err(Unanswered::Silent(started_at.elapsed())),
        }
    }

    fn record_request(&self, server: ServerAddress, clears: u64) {
        let mut requests = self.lock();
        requests.since_reply += 1;
        requests.unanswered += 1;
        requests.last = Some((server, clears));
    }

    /// Returns the server of the last request, if its pool was cleared since.
    fn broken_server(&self, clears: &HashMap<ServerAddress, u64>) -> Option<ServerAddress> {
        let requests = self.lock();
        let (server, before) = requests.last.as_ref()?;
        (count(clears, server) > *before).then(|| server.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
