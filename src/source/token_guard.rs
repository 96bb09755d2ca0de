//! Checks of the resume tokens that the server sends, before one becomes the position of the stream: a checkpoint with a token that lies ahead
//! would skip events, one without a token would have no position, and one that goes back would repeat events.

use std::time::{Duration, Instant};

use bson::{RawDocument, RawDocumentBuf, Timestamp};

use crate::error::{Failure, Kind};
use crate::time;
use crate::token::ResumeToken;

use super::connection::Connection;
use super::members;
use super::position::StreamPosition;
use super::target::Deployment;
use super::watchdog::RequestTracker;

/// Number of invalid tokens in a row that ends the watch.
const MAX_INVALID: u32 = 10;

/// Time between two warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(30);

/// What a user can do about a server that sends invalid tokens.
const HINT: &str = "no token of it was saved, so a restart resumes after the last valid one; look for a fault of the server, or of a proxy in front of it";

/// The state of the checks of one stream.
#[derive(Debug)]
pub(super) struct TokenGuard {
    /// The latest cluster time that the deployment reported.
    cluster_time: Timestamp,
    reported_at: Instant,
    /// Number of invalid tokens in a row.
    invalid: u32,
    last_warning: Option<Instant>,
}

impl TokenGuard {
    /// Creates the checks of a stream on a deployment that has just reported `cluster_time`.
    pub(super) fn new(cluster_time: Option<Timestamp>) -> Self {
        Self {
            // Without one, the first token makes the guard ask.
            cluster_time: cluster_time.unwrap_or(Timestamp {
                time: 0,
                increment: 0,
            }),
            reported_at: Instant::now(),
            invalid: 0,
            last_warning: None,
        }
    }

    /// Checks the events of a reply, which follow `position`, and moves it past them. Removes the first event that must not be forwarded, and
    /// those after it, and returns the failure: exit code 8. An event that sorts before another one is forwarded, but the position does not
    /// move back to it.
    ///
    /// # Errors
    /// The driver's, when a token seems to be ahead and the deployment cannot be asked for its time.
    pub(super) async fn check_events(
        &mut self,
        connection: &Connection,
        events: &mut Vec<RawDocumentBuf>,
        position: &mut StreamPosition,
    ) -> mongodb::error::Result<Option<Failure>> {
        let mut last = None;
        let mut failure = None;
        for (index, event) in events.iter().enumerate() {
            let Some(event_time) = ResumeToken::time_of_event(event) else {
                failure = Some((index, without_token(position)));
                break;
            };
            if self.is_ahead(connection, event_time).await? {
                let ahead = time::ahead_of_server(event_time, self.cluster_time);
                failure = Some((
                    index,
                    refused(format!("the server sent an event whose time {ahead}")),
                ));
                break;
            }
            let previous = last.map(|last: usize| &*events[last]);
            if !is_in_order(previous, position, event, event_time) {
                let at = time::rfc3339(event_time);
                let what = format!("an event of {at} after a later one");
                if let Err(failed) = self.count(&what) {
                    failure = Some((index, failed));
                    break;
                }
                continue;
            }
            self.invalid = 0;
            last = Some(index);
        }
        if let Some(last) = last {
            position.move_past(&events[last]);
        }
        Ok(failure.map(|(index, failure)| {
            events.truncate(index);
            failure
        }))
    }

    /// Returns whether the token of an empty reply may become the position.
    ///
    /// # Errors
    /// The driver's, as for [`Self::check_events`].
    pub(super) async fn is_valid(
        &mut self,
        connection: &Connection,
        token: &ResumeToken,
    ) -> mongodb::error::Result<Result<bool, Failure>> {
        if !self.is_ahead(connection, token.time()).await? {
            self.invalid = 0;
            return Ok(Ok(true));
        }
        let ahead = time::ahead_of_server(token.time(), self.cluster_time);
        let counted = self.count(&format!("a resume token that lies ahead: {ahead}"));
        Ok(counted.map(|()| false))
    }

    /// Returns whether a cluster time is ahead of the deployment's. Asks the deployment for its time if it seems so: its clock may have been
    /// set, and a member that lags behind does not know the time of the others.
    async fn is_ahead(
        &mut self,
        connection: &Connection,
        event_time: Timestamp,
    ) -> mongodb::error::Result<bool> {
        let elapsed = u32::try_from(self.reported_at.elapsed().as_secs()).unwrap_or(u32::MAX);
        let now = Timestamp {
            time: self.cluster_time.time.saturating_add(elapsed),
            increment: 0,
        };
        if !time::is_ahead(event_time, now) {
            return Ok(false);
        }
        // Not requests of the cursor that the token came from.
        let asking = RequestTracker::default();
        let deployment = asking.track(Deployment::of(connection)).await?;
        let mut reported = deployment.cluster_time;
        if reported.is_none_or(|reported| time::is_ahead(event_time, reported)) {
            reported = reported.max(asking.track(members::cluster_time(connection)).await);
        }
        if let Some(reported) = reported {
            self.cluster_time = reported;
            self.reported_at = Instant::now();
        }
        Ok(reported.is_some_and(|reported| time::is_ahead(event_time, reported)))
    }

    /// Counts an invalid token, and warns.
    ///
    /// # Errors
    /// Exit code 8 after [`MAX_INVALID`] in a row.
    fn count(&mut self, what: &str) -> Result<(), Failure> {
        self.invalid += 1;
        if self.invalid >= MAX_INVALID {
            return Err(refused(format!(
                "the server sent {MAX_INVALID} invalid resume tokens in a row, the last one with {what}"
            )));
        }
        if (self.last_warning).is_none_or(|warning| warning.elapsed() >= WARNING_INTERVAL) {
            self.last_warning = Some(Instant::now());
            tracing::warn!("the server sent {what}; it does not become the checkpoint");
        }
        Ok(())
    }
}

/// Returns whether `event` may follow the event `previous`, or `position` if there is none. Only tokens whose order is certain are out of
/// order.
fn is_in_order(
    previous: Option<&RawDocument>,
    position: &StreamPosition,
    event: &RawDocument,
    event_time: Timestamp,
) -> bool {
    let before = previous
        .and_then(ResumeToken::time_of_event)
        .unwrap_or_else(|| position.token().time());
    // Most events have a later time than the one before; the tokens of the others, in transactions, are compared.
    if event_time != before {
        return event_time > before;
    }
    let previous = previous.and_then(ResumeToken::of_event);
    let previous = previous.as_ref().unwrap_or_else(|| position.token());
    ResumeToken::of_event(event).is_none_or(|token| {
        let order = token.compare(previous);
        order.is_none_or(std::cmp::Ordering::is_ge)
    })
}

fn without_token(position: &StreamPosition) -> Failure {
    refused(format!(
        "the server sent an event without a valid resume token, after {}",
        time::rfc3339(position.token().time())
    ))
}

fn refused(message: String) -> Failure {
    Failure::new(Kind::Refused, message).hint(HINT)
}
