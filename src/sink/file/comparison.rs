//! The checks that a file is the watch's own, by its content.

use crate::checkpoint::OutputMark;
use crate::error::Failure;
use crate::platform;
use crate::snapshot::ScanPosition;
use crate::token::ResumeToken;

use super::OutputFile;
use super::failures::{foreign, mismatch};
use super::lines::{self, Appended, LineError};

/// Why a file does not match: it has fewer bytes than the checkpoint knows of.
pub(super) const SHORTER: &str = "is shorter than when the checkpoint was saved";

/// What is in a file that matches the checkpoint.
pub(super) struct Comparison {
    /// The end of the last whole line.
    pub(super) end: u64,
    /// The token of the last line after the saved length.
    pub(super) newest_token: Option<ResumeToken>,
    /// The position of the last line of a snapshot after the saved length.
    pub(super) snapshot: Option<ScanPosition>,
}

impl OutputFile {
    /// Checks that this is the file that the checkpoint with `mark` and `token` was saved with, and returns what was appended to it since.
    pub(super) fn compare(
        &self,
        mark: &OutputMark,
        token: &ResumeToken,
    ) -> Result<Comparison, Failure> {
        if self.length < mark.length {
            return Err(mismatch(&self.path, SHORTER));
        }
        let tail = lines::tail_checksum(&self.file, mark.length)
            .map_err(|error| self.cannot_read(&error))?;
        if tail != mark.tail {
            return Err(mismatch(
                &self.path,
                "was edited after the checkpoint was saved, or is another file",
            ));
        }
        let foreign = |why: String| {
            mismatch(
                &self.path,
                &format!("was written to by another program: {why}"),
            )
        };
        let Appended {
            end,
            tokens,
            begins_with_snapshot,
            snapshot,
            torn,
        } = match lines::appended(&self.file, mark.length) {
            Ok(appended) => appended,
            Err(LineError::Io(error)) => return Err(self.cannot_read(&error)),
            Err(LineError::Foreign(why)) => {
                return Err(foreign(format!(
                    "a line of it is not an event of cswatch: {why}"
                )));
            }
        };
        if !matches!(torn, None | Some(b'{' | 0)) {
            return Err(foreign(
                "the bytes after its last whole line are not an event".to_owned(),
            ));
        }
        // With nothing before the saved length to compare, this is what shows that the lines are of this stream.
        if let Some((first, _)) = &tokens
            && !first.is_after(token)
            && !(begins_with_snapshot && first == token)
        {
            return Err(foreign(
                "its lines after the saved ones are older than the checkpoint".to_owned(),
            ));
        }
        Ok(Comparison {
            end,
            newest_token: tokens.map(|(_, last)| last),
            snapshot,
        })
    }

    /// Checks that this is a file of events, or empty.
    pub(super) fn ensure_own(&self) -> Result<(), Failure> {
        if self.length == 0 {
            return Ok(());
        }
        let mut last = [0];
        platform::read_at(&self.file, self.length - 1, &mut last)
            .map_err(|error| self.cannot_read(&error))?;
        if last != *b"\n" {
            return Err(foreign(&self.path, "it does not end with a newline"));
        }
        match lines::ensure_last_line(&self.file, self.length) {
            Ok(()) => Ok(()),
            Err(LineError::Io(error)) => Err(self.cannot_read(&error)),
            Err(LineError::Foreign(why)) => Err(foreign(
                &self.path,
                &format!("its last line is not an event: {why}"),
            )),
        }
    }
}
