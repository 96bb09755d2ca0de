//! Actions on an invalidated stream and on lost history.

use clap::Args;

use crate::config::{OnHistoryLost, OnInvalidate};

/// Actions on an invalidated stream and on lost history.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Drops and lost history")]
pub(crate) struct PolicyArgs {
    /// On a drop or rename.
    ///
    /// Applies when the watched collection or database is dropped or renamed, which invalidates the stream. exit: stop with code 4.
    /// reopen: resume after the invalidate event.
    #[arg(
        long,
        env = "CSWATCH_ON_INVALIDATE",
        value_name = "exit|reopen",
        default_value = "exit",
        hide_possible_values = true
    )]
    pub(crate) on_invalidate: OnInvalidate,
    /// On lost history.
    ///
    /// Applies when the server no longer has the events after the checkpoint. fail: stop with code 3. now, earliest: accept the gap,
    /// print its start and end on stderr, and resume there.
    #[arg(
        long,
        env = "CSWATCH_ON_HISTORY_LOST",
        value_name = "fail|now|earliest",
        default_value = "fail",
        hide_possible_values = true
    )]
    pub(crate) on_history_lost: OnHistoryLost,
}
