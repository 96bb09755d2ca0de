//! Lease on a stream: of several replicas of cswatch one delivers, and the others stand by.
//!
//! The lease is a key in the bucket of the stream, which its holder writes again and again. Another replica takes it over once it has seen
//! the same revision of the key for [`LIFETIME`], by its own clock; at once if it finds that the holder was a process of the same machine and
//! has ended. A time to live would count while the server is down or slow, and the
//! holder would lose its lease with every outage; it also needs a server of version 2.11.
//!
//! The lease saves work. Safety does not depend on it: the server refuses a message that does not follow the last one of the stream.

use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Store, UpdateErrorKind};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::platform::{self, ProcessIdentity};

/// The key in the bucket of the stream.
const KEY: &str = "lease";

/// Time between two renewals.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);

/// Time from a renewal until the lease may be taken over. More than a server that does not reply for 5 s and an interval together, and so
/// much less than 10 s that a replica that stands by can start to deliver within 10 s.
const LIFETIME: Duration = Duration::from_secs(9);

/// Time between two looks of a replica that stands by, and pause before a request that failed is repeated.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The longest wait for one reply. A request that was lost is repeated several times within the lifetime.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// A replica of cswatch, as the value of the key names it: a line for people, and on Linux a second one with the identity of its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder(String);

impl Holder {
    /// Returns this process, which no other process equals: processes in containers have the same ID.
    pub(crate) fn this_process() -> Self {
        let mut text = format!(
            "pid {} on host {} ({:08x})",
            std::process::id(),
            platform::host_name(),
            fastrand::u32(..)
        );
        if let Some(identity) = ProcessIdentity::of_this_process() {
            text = format!("{text}\n{identity}");
        }
        Self(text)
    }

    /// Returns whether it was a process on this machine that has ended.
    fn has_ended(&self) -> bool {
        let identity = self.0.lines().nth(1).and_then(ProcessIdentity::parse);
        identity.is_some_and(|identity| identity.has_ended())
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.lines().next().unwrap_or_default().fmt(f)
    }
}

/// Why a replica stands by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standby {
    /// Another one holds the lease.
    HeldBy(Holder),
    /// The server does not reply, or with this error.
    Unreachable(String),
}

/// Why a lease is not held any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Another replica took it over.
    TakenBy(Holder),
    /// It could not be renewed.
    Expired,
}

/// A lease that this process holds and renews until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Store,
    holder: Holder,
    /// `None` while it is held.
    loss: watch::Receiver<Option<Loss>>,
    /// The last renewal.
    renewed: watch::Receiver<Renewal>,
    renewing: JoinHandle<()>,
}

/// A renewal of a lease.
#[derive(Debug, Clone, Copy)]
struct Renewal {
    /// The revision of the key.
    revision: u64,
    /// When it was requested: before any other replica could see it.
    at: Instant,
}

impl Renewal {
    fn expires(self) -> Instant {
        self.at + LIFETIME
    }
}

/// The key in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// 0 if the key was never written.
    revision: u64,
    /// `None` if the lease is free.
    holder: Option<Holder>,
}

/// Why a request did not have the wanted effect.
#[derive(Debug)]
enum RequestError {
    /// Another request has changed the key; it may be an earlier one of this process whose reply was lost.
    Changed,
    /// The server did not reply, or with an error.
    Failed(String),
}

impl Lease {
    /// Waits until this process holds the lease of the bucket. Calls `report` when the reason of the wait changes. The runtime renews the
    /// lease from then on, so it must not be blocked for longer than a second.
    pub(crate) async fn acquire(
        store: &Store,
        holder: &Holder,
        mut report: impl FnMut(Standby),
    ) -> Self {
        let mut reported = None;
        // The revision that was seen last, and the time since which every look has found it.
        let mut seen: Option<(u64, Instant)> = None;
        loop {
            let requested = Instant::now();
            let standby = match attempt(store, holder, &mut seen).await {
                Ok(Ok(revision)) => {
                    let renewal = Renewal {
                        revision,
                        at: requested,
                    };
                    return Self::start(store.clone(), holder.clone(), renewal);
                }
                Ok(Err(other)) => Some(Standby::HeldBy(other)),
                // A moment in which another replica was faster: the next look finds it.
                Err(RequestError::Changed) => None,
                Err(RequestError::Failed(error)) => {
                    // What happened since the last look is unknown: the holder may have been unable to renew as well.
                    seen = None;
                    Some(Standby::Unreachable(error))
                }
            };
            if let Some(standby) = standby
                && reported.as_ref() != Some(&standby)
            {
                report(standby.clone());
                reported = Some(standby);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    fn start(store: Store, holder: Holder, renewal: Renewal) -> Self {
        let (lose, loss) = watch::channel(None);
        let (renew, renewed) = watch::channel(renewal);
        let renewing = tokio::spawn({
            let (store, holder) = (store.clone(), holder.clone());
            async move {
                let loss = renew_until_lost(&store, &holder, &renew).await;
                lose.send_replace(Some(loss));
            }
        });
        Self {
            store,
            holder,
            loss,
            renewed,
            renewing,
        }
    }

    /// Waits until the lease is lost. May be dropped and called again.
    pub(crate) async fn lost(&mut self) -> Loss {
        match self.loss.wait_for(Option::is_some).await {
            Ok(loss) => loss.clone().unwrap_or(Loss::Expired),
            // The task panicked.
            Err(_) => Loss::Expired,
        }
    }

    /// Returns whether the lease is held at this moment. A process that was stopped for a while finds out here.
    pub(crate) fn is_held(&self) -> bool {
        self.loss.borrow().is_none() && Instant::now() < self.renewed.borrow().expires()
    }

    /// Ends the lease, so that another replica can take it over at once.
    pub(crate) async fn release(mut self) {
        self.renewing.abort();
        // Cancelled at its next wait, so the revision does not change after this.
        let _ = (&mut self.renewing).await;
        let mut revision = self.renewed.borrow().revision;
        let deadline = Instant::now() + REPLY_TIMEOUT;
        let deleted = async {
            // The second attempt is for a renewal whose reply was not awaited.
            while self
                .store
                .delete_expect_revision(KEY, Some(revision))
                .await
                .is_err()
            {
                match read(&self.store).await {
                    Ok(entry) if entry.holder.as_ref() == Some(&self.holder) => {
                        revision = entry.revision;
                    }
                    // Taken over, or out of reach: then it expires.
                    _ => return,
                }
                sleep(POLL_INTERVAL / 10).await;
            }
        };
        let _ = timeout_at(deadline, deleted).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Takes the lease if it is free or this process's, if its holder has ended, or if it was not renewed for its lifetime. Returns its new
/// revision, or its holder.
async fn attempt(
    store: &Store,
    this: &Holder,
    seen: &mut Option<(u64, Instant)>,
) -> Result<Result<u64, Holder>, RequestError> {
    let entry = read(store).await?;
    let now = Instant::now();
    let other = entry.holder.filter(|holder| holder != this);
    if let Some(other) = other.filter(|other| !other.has_ended()) {
        let since = match *seen {
            Some((revision, since)) if revision == entry.revision => since,
            _ => now,
        };
        *seen = Some((entry.revision, since));
        if now < since + LIFETIME {
            return Ok(Err(other));
        }
    }
    write(store, this, entry.revision).await.map(Ok)
}

/// Renews the lease until it is lost, and returns why.
async fn renew_until_lost(store: &Store, this: &Holder, renewed: &watch::Sender<Renewal>) -> Loss {
    loop {
        let last = *renewed.borrow();
        sleep_until(last.at + RENEWAL_INTERVAL).await;
        let mut revision = last.revision;
        loop {
            let requested = Instant::now();
            if requested >= last.expires() {
                return Loss::Expired;
            }
            match write(store, this, revision).await {
                Ok(revision) => {
                    renewed.send_replace(Renewal {
                        revision,
                        at: requested,
                    });
                    break;
                }
                Err(RequestError::Failed(error)) => {
                    tracing::debug!("cannot renew the lease: {error}");
                }
                Err(RequestError::Changed) => match read(store).await {
                    // A replica of the server that lags behind returns what was there earlier.
                    Ok(entry) if entry.revision < last.revision && entry.revision > 0 => {}
                    Ok(Entry {
                        holder: Some(other),
                        ..
                    }) if other != *this => return Loss::TakenBy(other),
                    Ok(entry) => {
                        revision = entry.revision;
                        continue;
                    }
                    Err(error) => tracing::debug!("cannot read the lease: {error:?}"),
                },
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// Returns the replica that holds the lease of a bucket, `None` if there is none. It may have ended without releasing it.
///
/// # Errors
/// What the server reports, or that it does not reply.
pub(crate) async fn current_holder(store: &Store) -> Result<Option<Holder>, String> {
    match read(store).await {
        Ok(entry) => Ok(entry.holder),
        Err(RequestError::Failed(error)) => Err(error),
        Err(RequestError::Changed) => unreachable!("reading expects no revision"),
    }
}

async fn read(store: &Store) -> Result<Entry, RequestError> {
    let entry = replied(store.entry(KEY)).await?;
    let entry = entry.map_err(|error| RequestError::Failed(error.to_string()))?;
    Ok(match entry {
        None => Entry {
            revision: 0,
            holder: None,
        },
        Some(entry) => Entry {
            revision: entry.revision,
            holder: (entry.operation == Operation::Put)
                .then(|| Holder(String::from_utf8_lossy(&entry.value).into_owned())),
        },
    })
}

/// Writes the holder if the key still has this revision, and returns the next one.
async fn write(store: &Store, holder: &Holder, revision: u64) -> Result<u64, RequestError> {
    let value = holder.0.clone().into();
    let written = replied(store.update(KEY, value, revision)).await?;
    written.map_err(|error| match error.kind() {
        UpdateErrorKind::WrongLastRevision => RequestError::Changed,
        _ => RequestError::Failed(error.to_string()),
    })
}

/// Waits for the reply to a request, for a limited time.
async fn replied<T>(request: impl Future<Output = T>) -> Result<T, RequestError> {
    timeout_at(Instant::now() + REPLY_TIMEOUT, request)
        .await
        .map_err(|_| RequestError::Failed(format!("no reply within {REPLY_TIMEOUT:?}")))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use async_nats::jetstream::kv::Config;
    use testkit::nats::NatsServer;
    use testkit::runtime::{block_on, runtime};
    use tokio::time::timeout;

    use super::*;

    /// Longer than the lifetime by what a busy machine may delay.
    const TAKEOVER: Duration = Duration::from_secs(15);

    fn bucket(server: &NatsServer) -> Store {
        let client = server.client();
        let created = client.jetstream().create_key_value(Config {
            bucket: "cswatch_test".to_owned(),
            storage: async_nats::jetstream::stream::StorageType::File,
            ..Config::default()
        });
        block_on(created).expect("a bucket")
    }

    /// Waits for the lease in the background. Returns the reports, and the lease.
    fn acquire(store: &Store) -> (mpsc::Receiver<Standby>, JoinHandle<Lease>) {
        let (sender, reports) = mpsc::channel();
        let store = store.clone();
        let waiting = runtime().spawn(async move {
            let report = |standby| sender.send(standby).expect("a test that listens");
            Lease::acquire(&store, &Holder::this_process(), report).await
        });
        (reports, waiting)
    }

    /// Waits until the lease is acquired, and returns it and the time that took.
    #[track_caller]
    fn acquired(waiting: JoinHandle<Lease>) -> (Lease, Duration) {
        let start = Instant::now();
        let lease = block_on(async { timeout(TAKEOVER, waiting).await });
        (
            lease.expect("a lease in time").expect("a lease"),
            start.elapsed(),
        )
    }

    #[test]
    fn is_held_by_one_and_taken_over_at_once_when_it_is_released() {
        let server = NatsServer::start();
        let store = bucket(&server);
        let (_, first) = acquire(&store);
        let (first, _) = acquired(first);
        assert!(first.is_held());
        let (reports, second) = acquire(&store);
        let report = reports.recv_timeout(TAKEOVER).expect("a report");
        assert_eq!(report, Standby::HeldBy(first.holder.clone()));
        assert_eq!(
            block_on(current_holder(&store)),
            Ok(Some(first.holder.clone()))
        );
        block_on(first.release());
        let (second, waited) = acquired(second);
        assert!(waited < LIFETIME / 2, "{waited:?}");
        block_on(second.release());
        assert_eq!(block_on(current_holder(&store)), Ok(None));
    }

    #[test]
    fn is_taken_over_from_a_replica_that_ended_without_releasing_it_and_from_one_that_hangs() {
        let server = NatsServer::start();
        let store = bucket(&server);
        let (mut first, _) = acquired(acquire(&store).1);
        // Renews no more, like a process that was stopped.
        first.renewing.abort();
        let (second, waited) = acquired(acquire(&store).1);
        assert!(waited > LIFETIME - RENEWAL_INTERVAL, "{waited:?}");
        assert!(!first.is_held());
        // What the process finds when it continues.
        let renewal = *first.renewed.borrow();
        let (renew, _) = watch::channel(Renewal {
            at: Instant::now(),
            ..renewal
        });
        let loss = block_on(renew_until_lost(&store, &first.holder, &renew));
        assert_eq!(loss, Loss::TakenBy(second.holder.clone()));
        let expired = watch::channel(renewal).0;
        assert_eq!(
            block_on(renew_until_lost(&store, &first.holder, &expired)),
            Loss::Expired
        );
        assert_eq!(block_on(first.lost()), Loss::Expired);
    }

    #[test]
    fn stays_with_its_holder_while_the_server_is_slow_or_restarts() {
        let server = NatsServer::start();
        let store = bucket(&server);
        let (mut first, _) = acquired(acquire(&store).1);
        let (reports, second) = acquire(&store);
        let held = Standby::HeldBy(first.holder.clone());
        assert_eq!(reports.recv_timeout(TAKEOVER), Ok(held.clone()));
        server.freeze();
        // Returns when the server did not reply to the holder for 5 s.
        let slow = Duration::from_secs(5);
        let lost = block_on(async { timeout(slow, first.lost()).await });
        server.thaw();
        assert!(lost.is_err() && first.is_held());
        server.kill();
        let unreachable = reports.iter().find(|report| *report != held);
        assert!(matches!(unreachable, Some(Standby::Unreachable(_))));
        server.restart();
        assert_eq!(reports.recv_timeout(TAKEOVER), Ok(held));
        let lost = block_on(async { timeout(LIFETIME + RENEWAL_INTERVAL, first.lost()).await });
        assert!(lost.is_err() && first.is_held() && !second.is_finished());
    }
}
