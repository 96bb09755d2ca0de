//! Recovery from lost history: other members, and `--on-history-lost`.

use mongodb::error::Error;

use crate::config::{OnHistoryLost, When};
use crate::error::{Failure, Kind};
use crate::source::position::StreamPosition;
use crate::source::target::Target;
use crate::source::{messages, start};

use super::Recovery;

/// Begins the clause of a message that says from when the lost history is.
const SUBJECT: &str = "the checkpoint is from";

impl Recovery {
    /// Moves `position` to one from which the server still has the history, as `--on-history-lost` says, or reads from a member that has it.
    ///
    /// # Errors
    /// Exit code 3 with `--on-history-lost fail`.
    pub(super) async fn after_lost_history(
        &mut self,
        target: &Target,
        error: &Error,
        position: &mut StreamPosition,
    ) -> Result<(), Failure> {
        // An oplog that is overwritten faster than a stream can be opened loses the history again and again.
        self.reopen(&messages::describe(error)).await?;
        let token = if self.since_reply.at_oldest {
            // Nothing was delivered yet, so no event is lost: by now another event is the oldest.
            self.token_at(target, When::Earliest).await?
        } else if self.switch_member(target, position.token().time()).await {
            return Ok(());
        } else {
            self.token_after_gap(target, SUBJECT, position.token())
                .await?
        };
        *position = StreamPosition::after(token);
        Ok(())
    }

    /// Prepares another attempt after the oplog overtook the cursor at `position`. If the server still has the history after it, a stream
    /// that starts there is tried for a limited time.
    ///
    /// # Errors
    /// Exit code 3 unless `--on-history-lost` is `now`.
    pub(super) async fn after_overtaking(
        &mut self,
        target: &Target,
        error: &Error,
        position: &mut StreamPosition,
    ) -> Result<(), Failure> {
        let time = position.token().time();
        if let Ok(false) = start::has_history(&target.connection, &target.spec, time).await {
            return self.after_lost_history(target, error, position).await;
        }
        let failure = messages::failure(error, &target.spec);
        let retried = self.retry_in_doubt(error, failure).await;
        match (retried, self.policies.on_history_lost) {
            (Err(failure), OnHistoryLost::Now) if failure.kind == Kind::HistoryLost => {
                let token = self
                    .token_after_gap(target, SUBJECT, position.token())
                    .await?;
                *position = StreamPosition::after(token);
                Ok(())
            }
            // With `earliest`, too: the history is there, so that no gap would help.
            (retried, _) => retried,
        }
    }
}
