//! Flags with a fixed set of values. The doc comments of the values are their help texts.

use clap::ValueEnum;

/// Reactions to an invalidated stream and to lost history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policies {
    /// `--on-invalidate`.
    pub(crate) on_invalidate: OnInvalidate,
    /// `--on-history-lost`.
    pub(crate) on_history_lost: OnHistoryLost,
}

/// `--on-invalidate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnInvalidate {
    /// Stop with exit code 4.
    Exit,
    /// Continue after the invalidate event.
    Reopen,
}

/// `--on-history-lost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnHistoryLost {
    /// Stop with exit code 3.
    Fail,
    /// Continue at the server's current time.
    Now,
    /// Continue at the oldest event the oplog still has.
    Earliest,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Also in a pipe, as for `less -R`.
    Always,
    /// Never.
    Never,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}
