//! Record of the delivery to JetStream: messages in flight, the latency of acknowledgements, repeated messages, and the lease.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, in milliseconds.
pub(super) const LATENCY_BOUNDS_MS: [u64; 12] =
    [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000];

/// Whether this process holds the lease of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LeaseState {
    /// There is no lease: events do not go to JetStream.
    #[default]
    None,
    /// Whether another process holds it is unknown: the server was not asked yet, or does not reply.
    Unknown,
    /// Another process delivers.
    Standby,
    /// This process delivers.
    Active,
}

/// The record, updated without a lock.
#[derive(Debug, Default)]
pub(super) struct DeliveryRecord {
    lease: AtomicU8,
    in_flight: AtomicU64,
    in_flight_bytes: AtomicU64,
    redelivered: AtomicU64,
    /// The number of acknowledgements in each bucket, and above all of them.
    latencies: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
    latency_sum_us: AtomicU64,
}

/// The record at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Delivery {
    pub(super) lease: LeaseState,
    /// Messages that are not acknowledged yet, and their bytes.
    pub(super) in_flight: u64,
    pub(super) in_flight_bytes: u64,
    /// Messages that were sent again.
    pub(super) redelivered: u64,
    /// The number of acknowledgements in each bucket of [`LATENCY_BOUNDS_MS`], and above all of them.
    pub(super) latencies: Vec<u64>,
    /// The sum of all latencies.
    pub(super) latency_sum: Duration,
}

impl DeliveryRecord {
    #[cfg(any(feature = "nats", test))]
    pub(super) fn set_lease(&self, state: LeaseState) {
        self.lease.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn lease(&self) -> LeaseState {
        match self.lease.load(Ordering::Relaxed) {
            1 => LeaseState::Unknown,
            2 => LeaseState::Standby,
            3 => LeaseState::Active,
            _ => LeaseState::None,
        }
    }

    #[cfg(any(feature = "nats", test))]
    pub(super) fn set_in_flight(&self, messages: usize, bytes: usize) {
        self.in_flight.store(messages as u64, Ordering::Relaxed);
        self.in_flight_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    #[cfg(any(feature = "nats", test))]
    pub(super) fn acknowledged(&self, latency: Duration) {
        let millis = latency.as_secs_f64() * 1000.0;
        let bucket = LATENCY_BOUNDS_MS.partition_point(|bound| (*bound as f64) < millis);
        self.latencies[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    #[cfg(any(feature = "nats", test))]
    pub(super) fn redelivered(&self, messages: usize) {
        self.redelivered
            .fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Delivery {
        Delivery {
            lease: self.lease(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            in_flight_bytes: self.in_flight_bytes.load(Ordering::Relaxed),
            redelivered: self.redelivered.load(Ordering::Relaxed),
            latencies: (self.latencies.iter())
                .map(|count| count.load(Ordering::Relaxed))
                .collect(),
            latency_sum: Duration::from_micros(self.latency_sum_us.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_latencies_in_the_bucket_whose_bound_they_do_not_exceed() {
        let record = DeliveryRecord::default();
        for micros in [0, 1000, 1001, 4_999_000, 5_000_000, 5_000_001] {
            record.acknowledged(Duration::from_micros(micros));
        }
        let latencies = record.get().latencies;
        assert_eq!(latencies, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1]);
        record.set_lease(LeaseState::Standby);
        assert_eq!(record.get().lease, LeaseState::Standby);
    }
}
