//! Watches over each wait for a reply of the driver, which can hang on a half-open connection, and resumes a stream by itself with
//! neither limit nor back-off. Ends the wait; what follows is decided elsewhere.

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

/// RequestTracker without an answer to a `getMore`. More are the driver's resumes, which it repeats for as long as each `aggregate`
/// succeeds (360 a second, measured with driver 3.9.1).
const MAX_UNANSWERED: u32 = 10;

tokio::task_local! {
    /// Whose requests the driver sends. Its events name no cursor, but it tells of a connection taken for a request within the poll
    /// of whoever waits for the reply (driver 3.9.1).
    static REQUESTS: RequestTracker;
}

/// Why a wait ended without a reply. What was waited for is of no use then, and must be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The connection to this server broke, and the driver may look for another one for long.
    Broken(ServerAddress),
    /// Nothing came for this long: the connection may be half open.
    Silent(Duration),
    /// The driver resumed over and over.
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
    /// One word, for counting.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Broken(_) => "broken",
            Self::Silent(_) => "silent",
            Self::Looping => "looping",
        }
    }
}

/// The driver's connections, as its events tell of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    /// How often those to a server were given up together, which the driver does when one of them breaks.
    broken: watch::Sender<HashMap<ServerAddress, u64>>,
}

impl Connections {
    /// Takes the events. Not those of commands: for these the driver copies every reply.
    pub(super) fn handler(&self) -> EventHandler<CmapEvent> {
        let broken = self.broken.clone();
        EventHandler::callback(move |event| match event {
            CmapEvent::ConnectionCheckedOut(event) => {
                let times = times(&broken.borrow(), &event.address);
                // RequestTracker that are no cursor's are not watched.
                let _ = REQUESTS.try_with(|requests| requests.sent(event.address, times));
            }
            CmapEvent::PoolCleared(event) => {
                broken.send_modify(|broken| *broken.entry(event.address).or_default() += 1);
            }
            _ => {}
        })
    }

    /// Waits until the connection of the last of `requests` breaks.
    async fn broken(&self, requests: &RequestTracker) -> ServerAddress {
        let mut server = None;
        let mut broken = self.broken.subscribe();
        let watched = broken.wait_for(|broken| {
            server = requests.broken(broken);
            server.is_some()
        });
        // An error would mean that the client is gone, which outlives every wait.
        let _ = watched.await;
        match server {
            Some(server) => server,
            None => pending().await,
        }
    }
}

fn times(broken: &HashMap<ServerAddress, u64>, server: &ServerAddress) -> u64 {
    broken.get(server).copied().unwrap_or_default()
}

/// What the driver sent for one cursor.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestTracker(Arc<Mutex<Sent>>);

#[derive(Debug, Default)]
struct Sent {
    /// How many since the last reply.
    for_reply: u32,
    /// How many since the stream went on.
    unanswered: u32,
    /// Where the last one went, and how often connections to there had broken before.
    last: Option<(ServerAddress, u64)>,
}

impl RequestTracker {
    /// Counts what the driver sends within `work`.
    pub(super) fn of<F: Future>(&self, work: F) -> TaskLocalFuture<Self, F> {
        REQUESTS.scope(self.clone(), work)
    }

    /// State that a reply was waited for and came. Answers whether it took one request, a `getMore`: after several it is how a
    /// stream was opened again, which proves nothing when it has no event.
    pub(super) fn replied(&self, has_event: bool) -> bool {
        let mut sent = self.lock();
        let is_answer = std::mem::take(&mut sent.for_reply) == 1;
        if is_answer || has_event {
            sent.unanswered = 0;
        }
        is_answer
    }

    /// Awaits `reply`, which must be counted here, for at most `reply_timeout`.
    ///
    /// # Errors
    /// Why there will be no reply.
    pub(super) async fn watch<F: Future>(
        &self,
        connections: &Connections,
        mut reply: Pin<&mut F>,
        reply_timeout: Duration,
    ) -> Result<F::Output, Unanswered> {
        let asked = Instant::now();
        let reply = poll_fn(|context| match reply.as_mut().poll(context) {
            Poll::Pending if self.lock().unanswered > MAX_UNANSWERED => {
                Poll::Ready(Err(Unanswered::Looping))
            }
            poll => poll.map(Ok),
        });
        tokio::select! {
            biased;
            reply = reply => reply,
            server = connections.broken(self) => Err(Unanswered::Broken(server)),
            () = tokio::time::sleep(reply_timeout) => Err(Unanswered::Silent(asked.elapsed())),
        }
    }

    fn sent(&self, server: ServerAddress, broken_before: u64) {
        let mut sent = self.lock();
        sent.for_reply += 1;
        sent.unanswered += 1;
        sent.last = Some((server, broken_before));
    }

    /// The server of the last request, if connections to it broke since.
    fn broken(&self, broken: &HashMap<ServerAddress, u64>) -> Option<ServerAddress> {
        let sent = self.lock();
        let (server, before) = sent.last.as_ref()?;
        (times(broken, server) > *before).then(|| server.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
