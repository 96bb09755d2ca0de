//! The open connections of the metrics server: few enough to leave file descriptors to the watch, and each of them only for a while.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::platform;

/// Connections that may be open at a time.
const MAX_CONNECTIONS: usize = 64;

/// The share of the process's file descriptors that connections may take up, as a divisor. The others are for the driver's connections, the
/// resume file and the output.
const DESCRIPTORS_PER_CONNECTION: u64 = 8;

/// How long a connection may stay open, whatever its client does.
const MAX_AGE: Duration = Duration::from_secs(10);

/// How long a connection stays open in any case: time enough for a client that sends its request at once.
const MIN_AGE: Duration = Duration::from_millis(100);

/// The tasks that serve connections.
#[derive(Debug)]
pub(super) struct Connections {
    limit: usize,
    max_age: Duration,
    tasks: JoinSet<()>,
    /// The tasks, the oldest first. Some of them may have ended.
    oldest_first: VecDeque<(Instant, AbortHandle)>,
}

impl Connections {
    /// Starts without connections. At most 64 are open, fewer where the process may open few files.
    pub(super) fn new() -> Self {
        let limit = platform::max_open_files().map_or(MAX_CONNECTIONS, |max_open_files| {
            usize::try_from(max_open_files / DESCRIPTORS_PER_CONNECTION)
                .unwrap_or(MAX_CONNECTIONS)
                .clamp(1, MAX_CONNECTIONS)
        });
        Self::with_limits(limit, MAX_AGE)
    }

    fn with_limits(limit: usize, max_age: Duration) -> Self {
        Self {
            limit,
            max_age,
            tasks: JoinSet::new(),
            oldest_first: VecDeque::new(),
        }
    }

    /// Serves a connection, for at most 10 seconds.
    pub(super) fn serve(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        let max_age = self.max_age;
        let task = self.tasks.spawn(async move {
            if tokio::time::timeout(max_age, connection).await.is_err() {
                tracing::debug!("metrics: closed a connection after {max_age:?}");
            }
        });
        self.oldest_first.push_back((Instant::now(), task));
    }

    /// Waits until another connection can be served. Closes the oldest one for it if there are too many.
    pub(super) async fn make_room(&mut self) {
        while self.tasks.len() >= self.limit {
            self.oldest_first.retain(|(_, task)| !task.is_finished());
            let Some((since, oldest)) = self.oldest_first.front() else {
                // All have ended, and only have to be collected.
                self.tasks.join_next().await;
                continue;
            };
            tokio::select! {
                // First, because one that has ended makes room already.
                biased;
                _ = self.tasks.join_next() => {}
                () = tokio::time::sleep_until(*since + MIN_AGE) => oldest.abort(),
            }
        }
        while self.tasks.try_join_next().is_some() {}
        self.oldest_first.retain(|(_, task)| !task.is_finished());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn closes_the_oldest_connection_for_a_new_one_when_it_had_its_time() {
        let mut connections = Connections::with_limits(2, MAX_AGE);
        let (ended, mut endings) = tokio::sync::mpsc::unbounded_channel();
        /// Sends its number when it is dropped.
        struct Ends(u32, tokio::sync::mpsc::UnboundedSender<u32>);
        impl Drop for Ends {
            fn drop(&mut self) {
                let _ = self.1.send(self.0);
            }
        }
        let started = Instant::now();
        for number in 1..=4 {
            connections.make_room().await;
            let ends = Ends(number, ended.clone());
            connections.serve(async move {
                let _ends = ends;
                std::future::pending().await
            });
            tokio::task::yield_now().await;
        }
        assert!(started.elapsed() >= MIN_AGE);
        assert_eq!(endings.try_recv(), Ok(1));
        assert_eq!(endings.try_recv(), Ok(2));
        assert!(endings.try_recv().is_err());
    }

    #[tokio::test]
    async fn closes_a_connection_when_its_time_is_over() {
        let max_age = Duration::from_millis(50);
        let mut connections = Connections::with_limits(1, max_age);
        let started = Instant::now();
        connections.serve(std::future::pending());
        connections.tasks.join_next().await;
        assert!(started.elapsed() >= max_age);
    }
}
