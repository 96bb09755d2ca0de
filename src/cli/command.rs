//! The subcommands and their arguments.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::WatchArgs;

/// The subcommands: everything except watching.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check whether these options would work.
    ///
    /// Connects and prints one line per check: whether the server is reachable and part of a replica set, its version and what that
    /// version supports, which privilege is missing, which collections store pre- and post-images, whether the checkpoint can still be
    /// resumed, and the headroom: how long cswatch may be down before the oplog overwrites the events after the checkpoint. Changes
    /// nothing. The exit code is the one the watch would exit with.
    Check(Box<CheckArgs>),
    /// Decode resume tokens: time, kind, collection, document.
    ///
    /// Takes a token, a resume file, or the events that cswatch printed; from a pipe, each token is decoded as soon as it arrives:
    /// cswatch -d shop | cswatch token. The time of a token is always shown, in UTC and in local time. If the rest cannot be decoded,
    /// the output gives the reason and decoding continues with the next token; the exit code is then 1. Input that is not a token
    /// ends the command with exit code 2.
    Token(TokenArgs),
    /// Check the health of a running watch.
    ///
    /// Exits with 0 if a watch is running with this resume file and had a reply from the server within --max-silence, and with 1 otherwise.
    /// Meant for a container's health check: needs no port and no shell. Every 5 s the watch writes a heartbeat file next to its
    /// resume file, with the time of the server's last reply.
    Health(HealthArgs),
    /// Print a shell completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print a manual page (roff).
    Man {
        /// Command to print the page of (default: cswatch).
        #[arg(value_parser = ["check", "token", "health", "completions", "man"])]
        command: Option<String>,
    },
}

/// `cswatch check`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    /// The options of the watch.
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cswatch health`.
#[derive(Debug, Clone, Args)]
pub(crate) struct HealthArgs {
    /// Resume file of the watch.
    #[arg(long, env = "CSWATCH_RESUME_FILE", value_name = "FILE")]
    pub(crate) resume_file: PathBuf,
    /// Maximum time since the server's last reply.
    ///
    /// By default 60s, or three times the --max-await of the watch if that is longer. Must be longer than that --max-await.
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_silence: Option<String>,
}

/// The arguments of `cswatch token`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TokenArgs {
    /// Token, or file of tokens (default: stdin).
    ///
    /// A token is the _data of an event's _id (hex) or, as Extended JSON, the whole _id, the whole event or the text of a resume file.
    /// A file or stdin may hold any number of them; - reads stdin. Hex lacks the _typeBits that some tokens have: without them, a
    /// number in the document key may be shown with another type, or not at all.
    #[arg(value_name = "TOKEN|FILE")]
    pub(crate) source: Option<PathBuf>,
    /// Print one JSON object per token.
    ///
    /// Its fields are time, clusterTime, kind (event, highWaterMark, invalidate or fragment), fragment (its number), ordinal, version,
    /// collectionUUID, documentKey, operationType, operationDescription and typeBits (hex), as far as the token has them. For a token
    /// that cannot be decoded, notDecoded gives the reason and replaces the fields from kind to operationDescription.
    #[arg(long)]
    pub(crate) json: bool,
}
