//! Sizes, times and monitoring.

use clap::Args;

/// Sizes, times and monitoring.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tuning and monitoring")]
pub(crate) struct TuningArgs {
    /// Maximum events per reply.
    #[arg(long, env = "CSWATCH_BATCH_SIZE", hide_short_help = true, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch_size: u32,
    /// Maximum server wait for events.
    ///
    /// After it the server sends an empty reply, which carries a newer resume token.
    #[arg(
        long,
        env = "CSWATCH_MAX_AWAIT",
        hide_short_help = true,
        value_name = "DURATION",
        default_value = "1s"
    )]
    pub(crate) max_await: String,
    /// Parallel streams for a backlog.
    ///
    /// 1 reads a backlog with a single stream, which is limited by what one cursor of the server can produce. The output is the
    /// same, in the same order. Each stream takes a connection, up to 5 MB of memory and, while it is busy, a core of the server.
    #[arg(long, env = "CSWATCH_CATCH_UP_STREAMS", hide_short_help = true, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) catch_up_streams: u8,
    /// Checkpoint save interval.
    ///
    /// Applies while events flow; 0 saves after every flush. After a crash, at most the events of one interval are printed again.
    /// While idle, the checkpoint is saved at least every 10 s. It is always saved on exit.
    #[arg(
        long,
        env = "CSWATCH_SAVE_INTERVAL",
        value_name = "DURATION",
        default_value = "1s"
    )]
    pub(crate) save_interval: String,
    /// Address for /metrics, /healthz and /readyz.
    ///
    /// Served over HTTP, as in 127.0.0.1:9216 or 0.0.0.0:9216; port 0 picks a free port, which is printed on stderr. /metrics:
    /// Prometheus text. /healthz: 200 if the server replied recently. /readyz: 200 while the stream is open.
    #[arg(long, env = "CSWATCH_METRICS_ADDR", value_name = "HOST:PORT")]
    pub(crate) metrics_addr: Option<String>,
}
