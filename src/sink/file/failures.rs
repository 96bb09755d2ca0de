//! The failures of an output file, and the hints.

use std::fmt::Display;
use std::path::Path;

use crate::error::{Failure, Kind};
use crate::token::ResumeToken;

/// The longest token that a hint shows. Longer ones, of documents with a large `_id`, are named instead.
const MAX_SHOWN_TOKEN: usize = 1024;

/// Returns the failure of an operation on the file.
pub(super) fn cannot(operation: &str, path: &Path, why: &dyn Display) -> Failure {
    Failure::new(
        Kind::Output,
        format!("cannot {operation} output file {}: {why}", path.display()),
    )
}

/// Returns the failure of a file that no watch can write to.
pub(super) fn unusable(path: &Path, why: &str) -> Failure {
    Failure::new(
        Kind::Output,
        format!("output file {} {why}", path.display()),
    )
}

/// Returns the failure of a file that was not written by cswatch.
pub(super) fn foreign(path: &Path, why: &str) -> Failure {
    unusable(
        path,
        &format!("exists and was not written by cswatch: {why}"),
    )
    .hint("name another file: cswatch appends to its own files only")
}

/// Returns the failure of a file that does not match the checkpoint.
pub(super) fn mismatch(path: &Path, why: &str) -> Failure {
    Failure::new(
        Kind::ResumeFile,
        format!("output file {} {why}", path.display()),
    )
    .hint(
        "restore that file, or give another --output, another --resume-file and --start-after TOKEN (the _id of the last line you have)",
    )
}

/// Returns the failure of a file that does not exist although a checkpoint was saved with it.
pub(super) fn missing(path: &Path, token: &ResumeToken) -> Failure {
    Failure::new(
        Kind::ResumeFile,
        format!(
            "output file {} does not exist, although the checkpoint was saved with an output file, and no file next to it has its lines",
            path.display()
        ),
    )
    .hint(format!(
        "move the file back, or start once with --start-after {} to continue in a new file",
        shown(token)
    ))
}

/// Returns a token as it can be pasted into a shell.
fn shown(token: &ResumeToken) -> String {
    let shown = match token.type_bits() {
        [] => token.data().to_owned(),
        _ => token
            .to_extended_json()
            .map_or_else(|_| token.data().to_owned(), |json| format!("'{json}'")),
    };
    match shown.len() {
        0..=MAX_SHOWN_TOKEN => shown,
        _ => "TOKEN (the token in the resume file)".to_owned(),
    }
}
