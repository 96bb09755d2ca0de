//! What can be typed in place of a watch: the commands and their arguments.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::WatchArgs;

/// What cswatch does beside watching.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say whether a watch with these options would work, and how long it may be down.
    ///
    /// Connects, tries each part, and prints one line a fact: whether the server is reachable, a replica set, its version, what works on
    /// it, which privilege is missing, which collections keep images, whether the saved position can still be resumed, and the
    /// headroom: how long a watch may be down before the oplog no longer reaches back. Changes nothing. The exit code is the one that
    /// the watch would end with.
    Check(Box<CheckArgs>),
    /// Show what resume tokens say: time, kind, collection, document.
    ///
    /// Of a token, of the one in a position file, or of those of all events that cswatch printed; from a pipe each is shown as soon
    /// as it comes: cswatch -d shop | cswatch token. The time of a token is always shown, in UTC and as it was here; where the rest
    /// cannot be decoded, it says why, goes on, and ends with exit code 1. What is no token ends it with exit code 2.
    Token(TokenArgs),
    /// Exit with 0 when the watch that keeps this position file is well, else with 1.
    ///
    /// For the health check of a container: needs no port and no shell. A watch leaves a sign of life beside its position file every
    /// 5 s, which says when the server was last heard.
    Health(HealthArgs),
    /// Print the completion script of a shell to stdout.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff) to stdout.
    Man,
}

/// `cswatch check`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    /// The options of the watch.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// One JSON object in place of the lines.
    #[arg(long)]
    pub json: bool,
}

/// `cswatch health`.
#[derive(Debug, Clone, Args)]
pub(crate) struct HealthArgs {
    /// The position file of the watch.
    #[arg(long, env = "CSWATCH_RESUME_FILE", value_name = "FILE")]
    pub resume_file: PathBuf,
    /// Longest time since the server's last reply.
    ///
    /// Longer than the --max-await of the watch.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub max_silence: String,
}

/// The arguments of `cswatch token`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TokenArgs {
    /// A token, or a file with tokens; - or nothing reads stdin.
    ///
    /// A token is the _data of an event's _id (hex), the whole _id, the whole event, or the text of a position file, the last three
    /// as Extended JSON. A file, or stdin, holds any number of them. Hex lacks the _typeBits that some tokens have: without them a
    /// number in the document key may show as another type, or not at all.
    #[arg(value_name = "TOKEN|FILE")]
    pub source: Option<PathBuf>,
    /// One JSON object a line for each token.
    ///
    /// With time, clusterTime, kind (event, highWaterMark, invalidate, fragment), fragment (its number), ordinal, version,
    /// collectionUUID, documentKey, operationType, operationDescription and typeBits (hex), as far as the token has them. Where it
    /// cannot be decoded, notDecoded says why, in place of all from kind to operationDescription.
    #[arg(long)]
    pub json: bool,
}
