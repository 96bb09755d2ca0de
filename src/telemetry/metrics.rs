//! Prometheus metrics of a snapshot. Names and units follow <https://prometheus.io/docs/practices/naming/>; a metric whose value is
//! unknown is left out, because a zero would be a claim.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use prometheus::core::{Collector, Desc};
use prometheus::proto;
use prometheus::{Encoder as _, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use prometheus::{Registry, TextEncoder};

use crate::time::since_epoch;

use super::delivery::{Delivery, LATENCY_BOUNDS_MS};
use super::{LeaseState, Scan, Snapshot};

/// Content type of the text: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
pub(super) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Returns the metrics of a snapshot in the Prometheus text format.
///
/// # Errors
/// If a metric is invalid, which is a bug in this module.
pub(super) fn text(snapshot: &Snapshot) -> prometheus::Result<Vec<u8>> {
    let page = Page(Registry::new());
    page.labeled_counter(
        "cswatch_events_total",
        "Events and lines of the snapshot printed, by operation type.",
        "operation_type",
        &snapshot.events,
    )?;
    page.counter(
        "cswatch_output_bytes_total",
        "Bytes of the event lines printed.",
        snapshot.output_bytes,
    )?;
    page.labeled_counter(
        "cswatch_reconnects_total",
        "Attempts to reopen the change stream, by the reason for which it ended.",
        "reason",
        &Vec::from_iter(snapshot.reconnects.clone()),
    )?;
    page.counter(
        "cswatch_checkpoint_saves_total",
        "Checkpoints saved to the resume file.",
        snapshot.saves,
    )?;
    page.counter(
        "cswatch_checkpoint_save_failures_total",
        "Checkpoints that could not be saved to the resume file.",
        snapshot.failed_saves,
    )?;
    page.gauge(
        "cswatch_stream_open",
        "1 while the change stream is open, 0 before it is open and while reconnecting.",
        snapshot.is_open.into(),
    )?;
    page.gauge(
        "cswatch_queue_bytes",
        "Bytes of events that were read from the server and are not written yet.",
        snapshot.queue_bytes,
    )?;
    if let Some(caught_up) = snapshot.lag.caught_up {
        page.gauge(
            "cswatch_caught_up",
            "1 when the server had no more events and all are printed, 0 while there is lag. Absent while unknown, as while reconnecting.",
            caught_up.into(),
        )?;
    }
    page.seconds(
        "cswatch_lag_seconds",
        "Lag: the server's cluster time minus the cluster time up to which events are printed. Absent while caught up or unknown.",
        snapshot.lag.behind,
    )?;
    page.seconds(
        "cswatch_time_since_reply_seconds",
        "Time since the server's last reply. Absent before the first reply.",
        snapshot.lag.time_since_reply,
    )?;
    page.seconds(
        "cswatch_headroom_seconds",
        "How long cswatch may be down before the oplog no longer holds the events after the checkpoint. Absent while unknown.",
        snapshot.headroom,
    )?;
    page.seconds(
        "cswatch_checkpoint_timestamp_seconds",
        "Cluster time (Unix time) up to which events are printed; the next checkpoint holds it. Absent before the stream starts.",
        snapshot
            .position
            .map(|time| Duration::from_secs(time.time.into())),
    )?;
    page.seconds(
        "cswatch_checkpoint_saved_timestamp_seconds",
        "Unix time at which a checkpoint was last saved. Absent before the first save.",
        snapshot.last_save.map(since_epoch),
    )?;
    page.seconds(
        "process_start_time_seconds",
        "Unix time at which this process started.",
        Some(since_epoch(SystemTime::now()).saturating_sub(snapshot.uptime)),
    )?;
    page.delivery(&snapshot.delivery)?;
    if let Some(scan) = &snapshot.scan {
        page.scan(scan)?;
    }
    page.build_info()?;
    page.encoded()
}

/// The histogram of acknowledgement latencies, which were counted in buckets already.
struct AcknowledgementLatency {
    desc: Desc,
    buckets: Vec<u64>,
    sum: f64,
}

impl AcknowledgementLatency {
    fn of(delivery: &Delivery) -> prometheus::Result<Self> {
        Ok(Self {
            desc: Desc::new(
                "cswatch_nats_acknowledgement_seconds".to_owned(),
                "Time from sending a message until it was acknowledged.".to_owned(),
                Vec::new(),
                HashMap::new(),
            )?,
            buckets: delivery.latencies.clone(),
            sum: delivery.latency_sum.as_secs_f64(),
        })
    }
}

impl Collector for AcknowledgementLatency {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut histogram = proto::Histogram::default();
        let mut cumulative = 0;
        let mut buckets = Vec::new();
        for (bound, count) in LATENCY_BOUNDS_MS.iter().zip(&self.buckets) {
            cumulative += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1000.0);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(self.buckets.iter().sum());
        histogram.set_sample_sum(self.sum);
        let mut metric = proto::Metric::default();
        metric.set_histogram(histogram);
        let mut family = proto::MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(proto::MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

/// The metrics of one scrape.
struct Page(Registry);

impl Page {
    fn add(&self, metric: impl Collector + 'static) -> prometheus::Result<()> {
        self.0.register(Box::new(metric))
    }

    fn labeled_counter(
        &self,
        name: &str,
        help: &str,
        label: &str,
        counts: &[(&str, u64)],
    ) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (value, count) in counts {
            counters.with_label_values(&[*value]).inc_by(*count);
        }
        self.add(counters)
    }

    fn counter(&self, name: &str, help: &str, count: u64) -> prometheus::Result<()> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(count);
        self.add(counter)
    }

    fn gauge(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.add(gauge)
    }

    /// Adds a gauge in seconds; adds nothing for an unknown value.
    fn seconds(&self, name: &str, help: &str, value: Option<Duration>) -> prometheus::Result<()> {
        let Some(value) = value else { return Ok(()) };
        let gauge = Gauge::new(name, help)?;
        gauge.set(value.as_secs_f64());
        self.add(gauge)
    }

    /// Adds the metrics of a delivery to JetStream, if there is one.
    fn delivery(&self, delivery: &Delivery) -> prometheus::Result<()> {
        if delivery.lease == LeaseState::None {
            return Ok(());
        }
        self.gauge(
            "cswatch_nats_active",
            "1 while this process holds the lease and delivers, 0 while it stands by.",
            (delivery.lease == LeaseState::Active).into(),
        )?;
        self.gauge(
            "cswatch_nats_in_flight_messages",
            "Messages that were published and are not acknowledged yet.",
            delivery.in_flight,
        )?;
        self.gauge(
            "cswatch_nats_in_flight_bytes",
            "Bytes of the messages that are not acknowledged yet.",
            delivery.in_flight_bytes,
        )?;
        self.counter(
            "cswatch_nats_published_total",
            "Messages that the server acknowledged.",
            delivery.latencies.iter().sum(),
        )?;
        self.counter(
            "cswatch_nats_redelivered_total",
            "Messages that were sent again because it was unknown whether they were stored. None is stored twice.",
            delivery.redelivered,
        )?;
        self.add(AcknowledgementLatency::of(delivery)?)
    }

    /// Adds the metrics of the scan of a snapshot.
    fn scan(&self, scan: &Scan) -> prometheus::Result<()> {
        self.gauge(
            "cswatch_snapshot_finished",
            "1 when all documents of the snapshot were read, 0 before. Absent without --snapshot.",
            scan.is_finished.into(),
        )?;
        self.counter(
            "cswatch_snapshot_documents_total",
            "Documents that the snapshot has read in this run, whether a filter selects them or not.",
            scan.documents,
        )?;
        self.counter(
            "cswatch_snapshot_read_bytes_total",
            "Bytes of these documents.",
            scan.bytes,
        )?;
        if let Some(estimate) = scan.estimate {
            self.gauge(
                "cswatch_snapshot_estimated_documents",
                "Documents in the collections of the snapshot when it began in this run. Absent while unknown.",
                estimate,
            )?;
        }
        self.gauge(
            "cswatch_snapshot_collections",
            "Collections that the snapshot reads in this run.",
            scan.collections,
        )?;
        self.gauge(
            "cswatch_snapshot_finished_collections",
            "Collections of which the snapshot has read everything in this run.",
            scan.finished_collections,
        )
    }

    fn build_info(&self) -> prometheus::Result<()> {
        let help = "The version of this cswatch, as a label. Always 1.";
        let info = IntGaugeVec::new(Opts::new("cswatch_build_info", help), &["version"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        self.add(info)
    }

    fn encoded(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.gather(), &mut text)?;
        Ok(text)
    }
}
