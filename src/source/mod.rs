//! One change stream, kept up: opened where it stopped, opened again after every fault that passes, its batches handed on in order.
//! Knows nothing of JSON, stdout or files.

mod catch_up;
mod classify;
mod connect;
mod cursor;
mod gauge;
mod large_event;
mod onward;
mod opening;
mod outage;
mod place;
mod probe;
mod recovery;
mod split;
mod watchdog;

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use bson::{Timestamp, doc};
use mongodb::error::Error;

use crate::cli::{OnHistoryLost, OnInvalidate};
use crate::error::Failure;
use crate::flag_value::{self, When};
use crate::pipeline::SPLIT_STAGE;
use crate::queue::Sender;
use crate::settings;
use crate::stream_spec::StreamSpec;
use crate::telemetry::Telemetry;
use crate::token::{self, ResumeToken};

use self::catch_up::CatchUp;
use self::classify::Verdict;
use self::connect::Connection;
pub use self::connect::Deployment;
use self::cursor::{Cursor, End, Opening};
pub use self::gauge::Gauge;
use self::onward::Onward;
use self::outage::Outage;
use self::place::Place;
pub use self::probe::{Feature, Images, Probe};
use self::watchdog::Requests;

/// Shortest patience with a reply that does not come.
const LEAST_PATIENCE: Duration = Duration::from_secs(30);

/// A reply may take this many times the wait that the server was asked for.
const PATIENCE_IN_AWAITS: u32 = 10;

/// Doublings of the patience: a server that scans a long oplog for a rare event is silent too, and must not be interrupted for ever.
const MOST_DOUBLINGS: u32 = 6;

/// A backlog shorter than this is read before several cursors are open.
const LEAST_BACKLOG_SECONDS: u32 = 2;

/// Says once that the stream is open.
fn announce(announced: &Cell<bool>, spec: &StreamSpec) {
    if !announced.replace(true) {
        tracing::info!("watching {}", spec.scope);
    }
}

/// What to do at the end of a stream, and when its history is gone.
#[derive(Debug, Clone, Copy)]
pub struct Policies {
    /// `--on-invalidate`.
    pub on_invalidate: OnInvalidate,
    /// `--on-history-lost`.
    pub on_history_lost: OnHistoryLost,
}

/// A deployment that was reached.
#[derive(Debug)]
pub struct Source {
    connection: Connection,
    deployment: Deployment,
    spec: StreamSpec,
    policies: Policies,
    outage: Outage,
    /// Cursors that read a backlog side by side.
    catch_up_streams: usize,
    /// Whether the server may know the stage that splits large events.
    knows_split: bool,
    /// With that stage: once an event needed it, and to go on behind a fragment.
    split: bool,
    /// One event a reply, to hand on all that stands before an event which is too large.
    one_by_one: bool,
    /// Silences in a row.
    silences: u32,
    /// Whether nothing was read yet of a stream that starts at the oldest event, which may be overwritten at any moment.
    at_oldest: bool,
    /// Failures since the last reply that are believed when they are repeated.
    doubts: u32,
    telemetry: Telemetry,
}

impl Source {
    /// Reaches the deployment.
    ///
    /// # Errors
    /// Exit code 7 when no server is there, 8 when it refuses, 2 when the connection string names files that cannot be.
    pub async fn connect(
        settings: &settings::Connection,
        spec: StreamSpec,
        policies: Policies,
        catch_up_streams: usize,
        telemetry: Telemetry,
    ) -> Result<Self, Failure> {
        let mut outage = Outage::new(settings.retry_for);
        let hosts = settings.hosts();
        let (connection, deployment) = loop {
            let attempt = async {
                let connection = Connection::new(settings.uri.clone()).await?;
                let deployment = connection.hello().await?;
                Ok::<_, Error>((connection, deployment))
            };
            match attempt.await {
                Ok(reached) => break reached,
                Err(error)
                    if settings.wait && classify::classify(&error, &spec) == Verdict::Retry =>
                {
                    outage.wait(&classify::describe(&error)).await?;
                }
                Err(error) => return Err(classify::unreachable(&error, &hosts, &spec)),
            }
        };
        outage.over();
        Ok(Self {
            connection,
            deployment,
            spec,
            policies,
            outage,
            catch_up_streams,
            knows_split: true,
            split: false,
            one_by_one: false,
            silences: 0,
            at_oldest: false,
            doubts: 0,
            telemetry,
        })
    }

    /// What the server says of its deployment.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Answers what the stream does not say.
    pub fn gauge(&self) -> Gauge {
        Gauge {
            connection: self.connection.clone(),
            spec: self.spec.clone(),
        }
    }

    /// The token after which every event at or after `when` comes.
    ///
    /// # Errors
    /// As [`Source::run`], and a usage failure for a time ahead of the server's: the server would silently skip events until then
    /// (measured on MongoDB 6.0.27).
    pub async fn token_at(&mut self, when: When) -> Result<ResumeToken, Failure> {
        let start = match (when, self.deployment.operation_time) {
            (When::Now | When::Earliest, _) | (_, None) => None,
            (_, Some(now)) => {
                let start = when.begins_at(now);
                if start > now {
                    return Err(Failure::usage(format!(
                        "--start: {} is ahead of the server, which is at {}",
                        flag_value::rfc3339(start),
                        flag_value::rfc3339(now)
                    ))
                    .way_out("use --start now"));
                }
                Some(start)
            }
        };
        loop {
            let attempt = async {
                let start = match when {
                    When::Earliest => Some(opening::earliest(&self.connection, &self.spec).await?),
                    _ => start,
                };
                opening::token(&self.connection, &self.spec, start).await
            };
            match attempt.await {
                Ok(token) => {
                    self.at_oldest = when == When::Earliest;
                    return Ok(token);
                }
                // It was overwritten while it was looked for.
                Err(error)
                    if when == When::Earliest
                        && classify::classify(&error, &self.spec) == Verdict::HistoryLost => {}
                Err(error) => self.after_failed_start(&error).await?,
            }
        }
    }

    /// The token of a first run, or where `--on-history-lost` says to go on when the server no longer has what comes after it. To be
    /// asked before the token is saved: what is saved binds the runs to come.
    ///
    /// # Errors
    /// As [`Source::token_at`], and exit code 3 for lost history.
    pub async fn first_token(&mut self, start: &settings::Start) -> Result<ResumeToken, Failure> {
        let token = match start {
            settings::Start::After(token) => token.clone(),
            settings::Start::At(when @ (When::Now | When::Earliest)) => {
                return self.token_at(*when).await;
            }
            settings::Start::At(when) => self.token_at(*when).await?,
        };
        loop {
            match opening::has_history(&self.connection, &self.spec, token.time()).await {
                Ok(true) => return Ok(token),
                Ok(false) => return self.token_behind_gap(&token).await,
                Err(error) => self.after_failed_start(&error).await?,
            }
        }
    }

    /// Hands on every event after `token`, until nobody takes them any more.
    ///
    /// # Errors
    /// Why the stream cannot go on.
    pub async fn run(&mut self, token: ResumeToken, queue: &Sender) -> Result<(), Failure> {
        self.split = matches!(token.kind(), token::Kind::Fragment(_));
        let mut place = Place::after(token);
        if self.split {
            // Behind a fragment in the middle of an event only the rest of it would come.
            place.replay();
        }
        let announced = Cell::new(false);
        loop {
            let opening = Opening {
                split: self.split,
                batch_size: if self.one_by_one {
                    1
                } else {
                    self.spec.batch_size
                },
                patience: self.patience(),
            };
            let present = self.present_of_backlog(&place).await;
            let mut heard = false;
            let Self {
                connection,
                spec,
                outage,
                silences,
                at_oldest,
                doubts,
                telemetry,
                ..
            } = self;
            let start = place.clone();
            let start_token = place.token().clone();
            let opened = || {
                announce(&announced, spec);
                telemetry.opened();
            };
            let mut onward = Onward {
                place: &mut place,
                queue,
                heard: || {
                    heard = true;
                    telemetry.heard();
                    outage.over();
                    *silences = 0;
                    *at_oldest = false;
                    *doubts = 0;
                },
            };
            let end = match present {
                Err(end) => end,
                Ok(Some(present)) => {
                    let catch_up = CatchUp {
                        connection,
                        spec,
                        opening,
                        streams: self.catch_up_streams,
                        opened: &opened,
                    };
                    catch_up.pump(start, present, &mut onward).await
                }
                Ok(None) => match Cursor::open(connection, spec, start.start(), opening).await {
                    Ok(cursor) => {
                        opened();
                        cursor.pump(connection, &mut onward).await
                    }
                    Err(end) => end,
                },
            };
            match end {
                End::Closed | End::Reached => return Ok(()),
                End::Exhausted => {
                    telemetry.reconnects("invalidate");
                    self.after_invalidate(&place)?;
                }
                End::Unanswered(unanswered) => {
                    telemetry.reconnects(unanswered.reason());
                    self.after_no_reply(&unanswered).await?;
                }
                End::Failed(error) => {
                    telemetry.reconnects(classify::reason(&error));
                    self.after_error(&error, heard, &start_token, &mut place)
                        .await?;
                }
            }
        }
    }

    /// The server's present, when `place` is so far behind it that several cursors pay.
    async fn present_of_backlog(&self, place: &Place) -> Result<Option<Timestamp>, End> {
        if self.catch_up_streams < 2 || self.one_by_one {
            return Ok(None);
        }
        let mut probed = self.spec.clone();
        if self.split {
            probed.pipeline.push(doc! { SPLIT_STAGE: {} });
        }
        let question = async {
            let present = self.connection.hello().await?.operation_time;
            let token = opening::token(&self.connection, &probed, None).await?;
            Ok((present, token))
        };
        let requests = Requests::default();
        let (present, token) = requests
            .watch(
                &self.connection.connections,
                pin!(requests.of(question)),
                self.patience(),
            )
            .await?
            .map_err(End::Failed)?;
        // Slices are opened by time, and their tokens are of the version that the server begins with: so must the stream's be.
        let is_alike = self.split || token.is_of_same_version(place.token());
        let is_behind = |present: &Timestamp| {
            present.time.saturating_sub(place.token().time().time) >= LEAST_BACKLOG_SECONDS
        };
        Ok(present.filter(|present| is_alike && is_behind(present)))
    }

    /// Closes what is open on the server, as far as that goes in a moment.
    pub async fn close(self) {
        self.connection.close().await;
    }

    fn patience(&self) -> Duration {
        patience(self.spec.max_await, self.silences)
    }
}

/// How long to wait for a reply after so many silences in a row.
fn patience(max_await: Duration, silences: u32) -> Duration {
    let patience = LEAST_PATIENCE.max(max_await * PATIENCE_IN_AWAITS);
    patience * (1 << silences.min(MOST_DOUBLINGS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_more_patient_with_each_silence_up_to_half_an_hour() {
        let second = Duration::from_secs(1);
        let seconds = [0, 1, 2, 6, 100].map(|silences| patience(second, silences).as_secs());
        assert_eq!(seconds, [30, 60, 120, 1920, 1920]);
        assert_eq!(patience(10 * second, 0), 100 * second);
    }
}
