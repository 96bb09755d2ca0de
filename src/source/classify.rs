//! Classification of the errors of the driver and the server: the one place that knows codes, labels and kinds of errors.
//! Their texts are in `messages`.

use mongodb::error::{CommandError, Error, ErrorKind};

/// The action that an error calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The fault passes: back off and open the stream again, for as long as `--retry-for` allows.
    Retry,
    /// Open the stream again; a second failure without a reply in between is fatal.
    Reopen,
    /// The login failed, which passes while a password is being changed: retry a few times, with long pauses.
    Login,
    /// The oplog no longer reaches back to the stream's position.
    HistoryLost,
    /// The server does not find the resume token among the events of this stream.
    TokenNotFound,
    /// An event is larger than 16 MB.
    EventTooLarge,
    /// Another attempt would give the same error.
    Fatal,
}

use Verdict::{EventTooLarge, Fatal, HistoryLost, Login, Reopen, Retry, TokenNotFound};

/// Every server error code with a known meaning. A name in CamelCase is the `codeName` of the server's reply; a code without one has the
/// `codeName` "Location" and its number (measured on MongoDB 6.0.27 with the fail point `failCommand`; only 462 has no name there yet).
/// Retryable codes count with and without a label, because the server sends several of them without one (measured on MongoDB 6.0.27 with
/// `failGetMoreAfterCursorCheckout`).
#[rustfmt::skip]
const CODES: &[(i32, Verdict)] = &[
    (2,         Fatal),         // BadValue: among others, an unknown mode of an option
    (6,         Retry),         // HostUnreachable
    (7,         Retry),         // HostNotFound
    (13,        Fatal),         // Unauthorized
    (14,        Fatal),         // TypeMismatch
    (18,        Login),         // AuthenticationFailed
    (20,        Fatal),         // IllegalOperation: a stage that a change stream does not permit
    (43,        Retry),         // CursorNotFound
    (47,        Fatal),         // NoMatchingDocument: a required image is missing
    (50,        Retry),         // MaxTimeMSExpired
    (63,        Retry),         // OBSOLETE_StaleShardVersion
    (72,        Fatal),         // InvalidOptions
    (73,        Fatal),         // InvalidNamespace
    (89,        Retry),         // NetworkTimeout
    (91,        Retry),         // ShutdownInProgress
    (133,       Retry),         // FailedToSatisfyReadPreference
    (134,       Retry),         // ReadConcernMajorityNotAvailableYet
    (136,       Reopen),        // CappedPositionLost; the position itself may still be in the oplog, which opening a stream decides
    (150,       Retry),         // StaleEpoch
    (166,       Fatal),         // CommandNotSupportedOnView
    (189,       Retry),         // PrimarySteppedDown
    (216,       Retry),         // ElectionInProgress
    (234,       Retry),         // RetryChangeStream
    (237,       Retry),         // CursorKilled
    (262,       Retry),         // ExceededTimeLimit
    (280,       TokenNotFound), // ChangeStreamFatalError; Fatal when the message is about _id, see `classify`
    (286,       HistoryLost),   // ChangeStreamHistoryLost
    (317,       Retry),         // ConnectionPoolExpired
    (358,       Retry),         // InternalTransactionNotSupported: retryable by its label
    (462,       Retry),         // IngressRequestRateLimitExceeded: an overloaded server, newer than 6.0
    (9001,      Retry),         // SocketException
    (10058,     Retry),         // LegacyNotPrimary
    (10107,     Retry),         // NotWritablePrimary
    (10334,     EventTooLarge), // BSONObjectTooLarge
    (11600,     Retry),         // InterruptedAtShutdown
    (11601,     Retry),         // Interrupted
    (11602,     Retry),         // InterruptedDueToReplStateChange
    (13388,     Retry),         // StaleConfig
    (13435,     Retry),         // NotPrimaryNoSecondaryOk
    (13436,     Retry),         // NotPrimaryOrSecondary
    (16493,     EventTooLarge), // a resume token above 16 MB: an _id of 8 MB or more
    (40323,     Fatal),         // a stage with no key or several
    (40324,     Fatal),         // an unknown stage
    (40415,     Fatal),         // IDLUnknownField: an unknown option
    (40573,     Fatal),         // a standalone server
    (40602,     Fatal),         // $changeStream is not the first stage
    (50738,     Retry),         // the cursor was created in another session
    (50865,     Fatal),         // both resumeAfter and startAfter
    (7_182_802, Fatal),         // $changeStreamSplitLargeEvent is not the last stage
];

/// Codes of a resume token that is invalid, in ascending order. All of them were measured on MongoDB 6.0.27 with tokens that were truncated,
/// extended or changed by a digit, without their `_typeBits` or with others. A stream is always opened after a token, and nothing else in the
/// command has these forms.
#[rustfmt::skip]
const BAD_TOKEN_CODES: &[i32] = &[
    9,         // FailedToParse: not hex
    15,        // Overflow: truncated
    207,       // InvalidUUID: the UUID of the collection is none
    260,       // InvalidResumeToken: of another kind of stream
    40646,     // something follows the token
    40647,     // _data is missing or not a string
    40649,     // _data is empty
    50793,     // no txnOpIndex
    50795,     // a version that the server does not know
    50796,     // no version
    50854,     // the version is not a number
    50855,     // txnOpIndex is not a number
    50870,     // fromInvalidate is not a boolean
    50872,     // no fromInvalidate
    51055,     // no tokenType
    51056,     // tokenType is not a number
    51057,     // an unknown tokenType
    6_189_500, // the UUID of the collection is something else
    6_189_504, // a high-water mark with more than a time
];

/// Begins the message of each error about a value that cannot be decoded: 50615, and over a dozen codes from 50809 to 50831. The only such
/// value in the command is the resume token, which was changed or lacks its `_typeBits`.
const CANNOT_DECODE: &str = "KeyString format error";

/// Labels of errors that pass, whatever their code.
const RETRYABLE_LABELS: [&str; 4] = [
    "ResumableChangeStreamError",
    "RetryableError",
    "SystemOverloadedError",
    "TransientTransactionError",
];

const BAD_VALUE: i32 = 2;
/// The user lacks a privilege, or is not logged in.
pub(super) const UNAUTHORIZED: i32 = 13;
/// The login failed.
pub(super) const AUTHENTICATION_FAILED: i32 = 18;
/// A required pre- or post-image is missing.
pub(super) const NO_IMAGE: i32 = 47;
/// The operation took longer than its `maxTimeMS`.
pub(super) const MAX_TIME_EXPIRED: i32 = 50;
/// The namespace is internal, for example in `admin`, `config` or `local`.
pub(super) const INVALID_NAMESPACE: i32 = 73;
/// The oplog overtook the cursor.
pub(super) const CAPPED_POSITION_LOST: i32 = 136;
/// The namespace is a view or a time-series collection.
pub(super) const NOT_SUPPORTED_ON_VIEW: i32 = 166;
/// The resume token was not found, or the pipeline changed `_id`.
pub(super) const CHANGE_STREAM_FATAL: i32 = 280;
const HISTORY_LOST: i32 = 286;
const EVENT_TOO_LARGE: i32 = 10334;
const TOKEN_TOO_LARGE: i32 = 16493;
/// The server does not know a stage.
pub(super) const UNKNOWN_STAGE: i32 = 40324;
/// The server does not know an option.
pub(super) const UNKNOWN_OPTION: i32 = 40415;
/// The server belongs to no replica set.
pub(super) const STANDALONE: i32 = 40573;

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
        ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::InvalidArgument { .. }
        | ErrorKind::MissingResumeToken => Fatal,
        _ => Reopen,
    }
}

fn classify_command(command: &CommandError, is_labeled_retryable: bool) -> Verdict {
    if command.code == CHANGE_STREAM_FATAL && is_about_changed_id(command) {
        return Fatal;
    }
    if is_bad_token(command) {
        return Fatal;
    }
    let known = CODES
        .iter()
        .find(|(code, _)| *code == command.code)
        .map(|(_, verdict)| *verdict);
    match known {
        // A label promises that the error passes. Waiting does not fix these.
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

/// Returns whether the driver's message about a failed server selection reports a failed login.
fn is_about_credentials(message: &str) -> bool {
    message.contains("Authentication failed") || message.contains("SCRAM failure")
}

/// Returns whether the server complains that the pipeline dropped or changed `_id`, the event's resume token.
pub(super) fn is_about_changed_id(command: &CommandError) -> bool {
    command.message.contains("_id field")
}

/// Returns the code of an error that the server sent; `None` for an error of the driver.
pub(super) fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(CommandError { code, .. }) => Some(*code),
        _ => None,
    }
}

/// Returns whether the server complains that the resume token is invalid.
pub(super) fn is_bad_token(command: &CommandError) -> bool {
    BAD_TOKEN_CODES.contains(&command.code) || command.message.contains(CANNOT_DECODE)
}

/// Returns whether a stream could not be opened because the server does not know one of its stages or options.
pub(super) fn is_unknown_feature(error: &Error) -> bool {
    matches!(
        code(error),
        Some(UNKNOWN_STAGE | UNKNOWN_OPTION | BAD_VALUE)
    )
}

/// Returns one word for an error, the label of the reconnect counter.
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

/// Server errors for tests.
#[cfg(test)]
pub(super) mod fake {
    use bson::doc;
    use mongodb::error::{Error, ErrorKind};

    /// Returns an error as the driver builds it from a server's reply, without labels.
    pub(in super::super) fn from_server(code: i32, message: &str) -> Error {
        let reply = doc! { "code": code, "codeName": "Name", "errmsg": message };
        let command = bson::deserialize_from_document(reply).expect("an error reply");
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
        assert!(CODES.is_sorted_by(|(a, _), (b, _)| a < b));
        assert!(BAD_TOKEN_CODES.is_sorted_by(|a, b| a < b));
        assert!(!CODES.iter().any(|(code, _)| BAD_TOKEN_CODES.contains(code)));
    }

    #[test]
    fn gives_up_on_an_invalid_token() {
        for code in BAD_TOKEN_CODES {
            assert_eq!(verdict(*code), Fatal, "{code}");
        }
        let message = "KeyString format error: Expected type Decimal.";
        assert_eq!(classify(&from_server(50810, message)), Fatal);
    }

    #[test]
    fn retries_a_broken_connection() {
        let broken = Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(classify(&broken), Retry);
    }

    #[test]
    fn distinguishes_a_token_that_is_not_found_from_a_pipeline_that_changes_it() {
        assert_eq!(verdict(280), TokenNotFound);
        let message =
            "Encountered an event whose _id field, which contains the resume token, was modified";
        assert_eq!(classify(&from_server(280, message)), Fatal);
    }

    #[test]
    fn recognizes_a_failed_login_in_a_failed_server_selection() {
        assert!(is_about_credentials(
            "Server selection timeout: .. Error: Kind: SCRAM failure: Authentication failed., labels: {}"
        ));
    }

    #[test]
    fn reopens_once_after_an_unknown_error() {
        assert_eq!(verdict(99_999), Reopen);
    }
}
