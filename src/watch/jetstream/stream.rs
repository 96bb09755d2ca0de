//! A run: reads events and publishes them, until either ends.

use std::pin::pin;

use crate::config::{NatsConfig, When, report_advice};
use crate::error::{Failure, Kind};
use crate::queue::{self, Receiver};
use crate::shutdown::{SignalRequest, Signals};
use crate::sink::jetstream::{CheckpointStore, End, Lease, Log, Publisher, Settings};
use crate::source::ClusterClock;
use crate::telemetry::Monitor;
use crate::time;

use super::super::{SHUTDOWN_GRACE, shutdown_grace};
use super::Delivery;
use super::start::Started;

impl Delivery {
    /// Reads events and publishes them, until either ends.
    ///
    /// # Errors
    /// The failure of the stream of events or of the publisher; exit code 6 when messages are not acknowledged in time after a shutdown request.
    pub(super) async fn stream(
        &mut self,
        log: Log,
        lease: Lease,
        checkpoint: CheckpointStore,
        started: Started,
        signals: &mut Signals,
        monitor: &Monitor<ClusterClock>,
    ) -> Result<End, Failure> {
        let Started {
            mut source,
            token,
            tail,
            limits,
            is_rewound,
            snapshot,
        } = started;
        // A time such as now means that of the first run.
        self.stop.until = (limits.until.as_ref()).map(|until| When::Timestamp(until.time));
        if self.runs == 0 {
            report_advice(&self.config.advice);
            if self.nats.exposes_login {
                tracing::warn!(
                    hint = "use --nats-creds or CSWATCH_NATS",
                    "the login in --nats is visible to other users of this machine"
                );
            }
        }
        let settings = Settings {
            mode: self.config.output.mode,
            limits,
            retry_for: self.config.connection.retry_for,
            is_rewound,
            snapshot: snapshot.clone(),
        };
        let telemetry = self.telemetry.clone();
        let publisher = Publisher::new(log, lease, checkpoint, &tail, settings, telemetry);
        let (sender, receiver): (_, Receiver) = queue::channel(|_| false);
        self.telemetry.watch_queue(sender.budget());
        self.telemetry.starts_at(token.time());
        monitor.connected(source.clock());
        let mut publishing = self.thread.start_future(publisher.run(receiver));
        let (read, published) = {
            let mut reading = pin!(source.run(token, snapshot, &sender));
            loop {
                tokio::select! {
                    read = &mut reading => break (read, None),
                    published = publishing.result() => break (Ok(()), Some(published)),
                    request = signals.next_request() => match request {
                        SignalRequest::Shutdown => break (Ok(()), None),
                        // There is no file to reopen.
                        SignalRequest::Reopen => {}
                    },
                }
            }
        };
        // Without a sender, the publisher ends when everything is acknowledged.
        drop(sender);
        let published = match published {
            Some(published) => published,
            None => tokio::select! {
                published = publishing.result() => published,
                () = shutdown_grace(signals) => return Err(unacknowledged(&self.nats)),
            },
        };
        source.close().await;
        match published?? {
            End::Drained => read.map(|()| End::Drained),
            end => Ok(end),
        }
    }
}

/// Returns the failure of messages that were not acknowledged in time.
fn unacknowledged(nats: &NatsConfig) -> Failure {
    Failure::new(
        Kind::Output,
        format!(
            "stream {} did not acknowledge the last messages within {} of the shutdown request",
            nats.stream,
            time::readable(SHUTDOWN_GRACE)
        ),
    )
    .hint("start cswatch again: it finds out which are stored, and no event is lost")
}
