//! The options of a watch as typed, a file for each heading of the help.

mod checkpoint;
mod connection;
mod filter;
mod log;
#[cfg(feature = "nats")]
mod nats;
mod output;
mod policy;
mod tuning;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

pub(crate) use self::checkpoint::CheckpointArgs;
pub(crate) use self::connection::ConnectionArgs;
pub(crate) use self::filter::{FilterArgs, FullDocument, FullDocumentBeforeChange};
pub(crate) use self::log::LogArgs;
#[cfg(feature = "nats")]
pub(crate) use self::nats::NatsArgs;
pub(crate) use self::output::{Format, OutputArgs};
pub(crate) use self::policy::PolicyArgs;
pub(crate) use self::tuning::TuningArgs;

/// The options of a watch, by help heading.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    /// The server, database and collections.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// The events to print.
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Where to start or resume, and when to stop.
    #[command(flatten)]
    pub(crate) checkpoint: CheckpointArgs,
    /// Form and destination of the lines.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Delivery to NATS JetStream.
    #[cfg(feature = "nats")]
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    /// Actions on an invalidated stream and on lost history.
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Sizes, times and monitoring.
    #[command(flatten)]
    pub(crate) tuning: TuningArgs,
    /// Messages on stderr.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

impl WatchArgs {
    /// Returns whether events go to NATS JetStream instead of stdout.
    #[cfg(feature = "nats")]
    pub(crate) fn delivers_to_nats(&self) -> bool {
        self.nats.nats.is_some()
    }

    /// Returns false: this build has no JetStream sink.
    #[cfg(not(feature = "nats"))]
    #[expect(clippy::unused_self, reason = "the same signature in every build")]
    pub(crate) fn delivers_to_nats(&self) -> bool {
        false
    }

    /// Records which values that may hold a secret were given as arguments.
    pub(super) fn record_typed(&mut self, matches: &ArgMatches) {
        let is_typed = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        self.connection.is_uri_typed = is_typed("uri");
        #[cfg(feature = "nats")]
        {
            self.nats.is_url_typed = is_typed("nats");
        }
    }
}

/// Returns a parser for the values of a flag's environment variable: `CSWATCH_WAIT=1`, `=true`, `=yes` and `=0`, `=false`, `=no`.
fn boolish() -> clap::builder::BoolishValueParser {
    clap::builder::BoolishValueParser::new()
}
