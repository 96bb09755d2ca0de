//! What an error of the driver or the server means for the stream: the one place that knows codes, labels and kinds of errors.
//! What is reported about an error is in `messages`.

use mongodb::error::{CommandError, Error, ErrorKind};

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The fault passes: back off and open the stream again, for as long as `--retry-for` allows.
    Retry,
    /// Open the stream again; a second failure without a reply in between is fatal.
    Reopen,
    /// The login failed, which passes while a password is being changed: retry a few times, with long pauses.
    Login,
    /// The oplog no longer reaches back to the position.
    HistoryLost,
    /// The server does not find the token among the events of this stream.
    TokenNotFound,
    /// An event is larger than 16 MB.
    EventTooLarge,
    /// Another attempt would give the same error.
    Fatal,
}

use Verdict::{EventTooLarge, Fatal, HistoryLost, Login, Reopen, Retry, TokenNotFound};

/// Every server error code with a known meaning, with its name in the server's `error_codes.yml` where it has one. Retryable codes count
/// with and without a label, because the server sends several of them without one (measured on MongoDB 6.0.27 with
/// `failGetMoreAfterCursorCheckout`).
#[rustfmt::skip]
const CODES: &[(i32, &str, Verdict)] = &[
    (2,         "BadValue: among others, an unknown mode of an option",  Fatal),
    (6,         "HostUnreachable",                                       Retry),
    (7,         "HostNotFound",                                          Retry),
    (9,         "FailedToParse: the resume token is not hex",            Fatal),
    (13,        "Unauthorized",                                          Fatal),
    (14,        "TypeMismatch",                                          Fatal),
    (15,        "Overflow: the resume token is truncated",               Fatal),
    (18,        "AuthenticationFailed",                                  Login),
    (20,        "IllegalOperation: a stage not allowed in a stream",     Fatal),
    (43,        "CursorNotFound",                                        Retry),
    (47,        "NoMatchingDocument: a required image is missing",       Fatal),
    (50,        "MaxTimeMSExpired",                                      Retry),
    (63,        "StaleShardVersion",                                     Retry),
    (72,        "InvalidOptions",                                        Fatal),
    (73,        "InvalidNamespace",                                      Fatal),
    (89,        "NetworkTimeout",                                        Retry),
    (91,        "ShutdownInProgress",                                    Retry),
    (133,       "FailedToSatisfyReadPreference",                         Retry),
    (134,       "ReadConcernMajorityNotAvailableYet",                    Retry),
    // What was not read yet is gone, but the position may still be there: opening a stream decides.
    (136,       "CappedPositionLost",                                    Reopen),
    (150,       "StaleEpoch",                                            Retry),
    (166,       "CommandNotSupportedOnView",                             Fatal),
    (189,       "PrimarySteppedDown",                                    Retry),
    (216,       "ElectionInProgress",                                    Retry),
    (234,       "RetryChangeStream",                                     Retry),
    (237,       "CursorKilled",                                          Retry),
    (260,       "InvalidResumeToken",                                    Fatal),
    (262,       "ExceededTimeLimit",                                     Retry),
    // Fatal where the message is about _id; see `classify`.
    (280,       "ChangeStreamFatalError",                                TokenNotFound),
    (286,       "ChangeStreamHistoryLost",                               HistoryLost),
    (317,       "ConnectionPoolExpired",                                 Retry),
    (358,       "a resumable error of a sharded cluster",                Retry),
    (462,       "an overloaded server",                                  Retry),
    (9001,      "SocketException",                                       Retry),
    (10058,     "a failed write to a socket",                            Retry),
    (10107,     "NotWritablePrimary",                                    Retry),
    (10334,     "BSONObjectTooLarge",                                    EventTooLarge),
    (11600,     "InterruptedAtShutdown",                                 Retry),
    (11601,     "Interrupted",                                           Retry),
    (11602,     "InterruptedDueToReplStateChange",                       Retry),
    (13388,     "StaleConfig",                                           Retry),
    (13435,     "NotPrimaryNoSecondaryOk",                               Retry),
    (13436,     "NotPrimaryOrSecondary",                                 Retry),
    (16493,     "a resume token above 16 MB: an _id of 8 MB or more",    EventTooLarge),
    (40323,     "a stage with more than one key",                        Fatal),
    (40324,     "an unknown stage",                                      Fatal),
    (40415,     "IDLUnknownField: an unknown option",                    Fatal),
    (40573,     "a standalone server",                                   Fatal),
    (40602,     "$changeStream is not the first stage",                  Fatal),
    (40647,     "_data of the resume token is not a string",             Fatal),
    (40649,     "_data of the resume token is empty",                    Fatal),
    (50738,     "a cursor of another session",                           Retry),
    (50793,     "a truncated resume token",                              Fatal),
    (50796,     "a resume token with an unknown layout",                 Fatal),
    (50810,     "a resume token whose _typeBits are missing",            Fatal),
    (50811,     "a resume token with changed digits",                    Fatal),
    (50816,     "a truncated resume token",                              Fatal),
    (50865,     "more than one place to start at",                       Fatal),
    (50872,     "a truncated resume token",                              Fatal),
    (51055,     "a truncated resume token",                              Fatal),
    (7_182_802, "$changeStreamSplitLargeEvent is not the last stage",    Fatal),
];

/// Codes of a resume token that is invalid.
const BAD_TOKEN_CODES: [i32; 12] = [
    9, 15, 260, 40647, 40649, 50793, 50796, 50810, 50811, 50816, 50872, 51055,
];

/// Labels of errors that pass, whatever their code.
const RETRYABLE_LABELS: [&str; 4] = [
    "ResumableChangeStreamError",
    "RetryableError",
    "SystemOverloadedError",
    "TransientTransactionError",
];

const BAD_VALUE: i32 = 2;
/// The user is not authorized, or not logged in.
pub(super) const UNAUTHORIZED: i32 = 13;
/// A required pre- or post-image is missing.
pub(super) const NO_IMAGE: i32 = 47;
/// The operation took longer than its `maxTimeMS`.
pub(super) const MAX_TIME_EXPIRED: i32 = 50;
/// The oplog overtook the cursor.
pub(super) const CAPPED_POSITION_LOST: i32 = 136;
const CHANGE_STREAM_FATAL: i32 = 280;
const HISTORY_LOST: i32 = 286;
const EVENT_TOO_LARGE: i32 = 10334;
const TOKEN_TOO_LARGE: i32 = 16493;
/// The server does not know a stage.
pub(super) const UNKNOWN_STAGE: i32 = 40324;
/// The server does not know an option.
pub(super) const UNKNOWN_OPTION: i32 = 40415;

/// Returns what `error` means for a stream.
pub(super) fn classify(error: &Error) -> Verdict {
    match &*error.kind {
        ErrorKind::Command(command) => classify_command(command, is_labeled_retryable(error)),
        ErrorKind::ServerSelection { message, .. } if is_about_credentials(message) => Login,
        ErrorKind::Authentication { .. } => Login,
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::InvalidResponse { .. }
        | ErrorKind::DnsResolve { .. } => Retry,
        _ if is_labeled_retryable(error) => Retry,
        ErrorKind::InvalidTlsConfig { .. } | ErrorKind::InvalidArgument { .. } => Fatal,
        _ => Reopen,
    }
}

fn classify_command(command: &CommandError, is_labeled_retryable: bool) -> Verdict {
    if command.code == CHANGE_STREAM_FATAL && is_about_changed_id(command) {
        return Fatal;
    }
    let known = CODES
        .iter()
        .find(|(code, ..)| *code == command.code)
        .map(|(_, _, verdict)| *verdict);
    match known {
        // A label says that the fault passes. These have a fix that waiting does not bring.
        Some(verdict @ (HistoryLost | TokenNotFound | EventTooLarge | Reopen)) => verdict,
        _ if is_labeled_retryable => Retry,
        Some(verdict) => verdict,
        None => Reopen,
    }
}

fn is_labeled_retryable(error: &Error) -> bool {
    RETRYABLE_LABELS
        .iter()
        .any(|label| error.contains_label(label))
}

/// Returns whether the driver's description of a server selection is about a failed login.
fn is_about_credentials(message: &str) -> bool {
    message.contains("Authentication failed") || message.contains("SCRAM failure")
}

/// Returns whether the server complains that the pipeline dropped or changed `_id`, the event's resume token.
pub(super) fn is_about_changed_id(command: &CommandError) -> bool {
    command.message.contains("_id field")
}

/// Returns the code of an error that the server sent.
pub(super) fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(CommandError { code, .. }) => Some(*code),
        _ => None,
    }
}

/// Returns whether `code` means that the resume token is invalid.
pub(super) fn is_bad_token(code: i32) -> bool {
    BAD_TOKEN_CODES.contains(&code)
}

/// Returns whether a stream could not be opened because the server does not know one of its stages or options.
pub(super) fn is_unknown_feature(error: &Error) -> bool {
    matches!(
        code(error),
        Some(UNKNOWN_STAGE | UNKNOWN_OPTION | BAD_VALUE)
    )
}

/// Returns one word for an error, to count reconnects by.
pub(super) fn reason(error: &Error) -> &'static str {
    match (&*error.kind, code(error)) {
        (_, Some(HISTORY_LOST | CAPPED_POSITION_LOST)) => "history_lost",
        (_, Some(CHANGE_STREAM_FATAL)) => "token_not_found",
        (_, Some(EVENT_TOO_LARGE | TOKEN_TOO_LARGE)) => "large_event",
        (_, Some(_)) => "server_error",
        (ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. }, _) => "no_server",
        (ErrorKind::Authentication { .. }, _) => "login",
        _ => "connection",
    }
}

/// Errors of a server, for tests.
#[cfg(test)]
pub(super) mod fake {
    use bson::doc;
    use mongodb::error::{Error, ErrorKind};

    /// Returns the error that the driver makes of a server's reply, without labels.
    pub(in super::super) fn from_server(code: i32, message: &str) -> Error {
        let reply = doc! { "code": code, "codeName": "Name", "errmsg": message };
        let command = bson::deserialize_from_document(reply).expect("a reply with an error");
        ErrorKind::Command(command).into()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::fake::from_server;
    use super::*;

    fn verdict(code: i32) -> Verdict {
        classify(&from_server(code, "message"))
    }

    #[test]
    fn lists_each_code_once_in_ascending_order() {
        assert!(CODES.is_sorted_by(|(a, ..), (b, ..)| a < b));
    }

    #[test]
    fn lists_every_invalid_token_code_as_fatal() {
        for code in BAD_TOKEN_CODES {
            assert_eq!(verdict(code), Fatal, "{code}");
        }
    }

    #[test]
    fn retries_a_broken_connection() {
        let broken = Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(classify(&broken), Retry);
    }

    #[test]
    fn distinguishes_a_token_of_another_stream_from_a_pipeline_that_drops_tokens() {
        assert_eq!(verdict(280), TokenNotFound);
        let message =
            "Encountered an event whose _id field, which contains the resume token, was modified";
        assert_eq!(classify(&from_server(280, message)), Fatal);
    }

    #[test]
    fn recognizes_a_failed_login_in_a_server_selection() {
        assert!(is_about_credentials(
            "Server selection timeout: .. Error: Kind: SCRAM failure: Authentication failed., labels: {}"
        ));
    }

    #[test]
    fn reopens_once_after_an_unknown_error() {
        assert_eq!(verdict(99_999), Reopen);
    }
}
