//! Classification of the errors of the driver and the server: the one place that knows codes, labels and kinds of errors.
//! Their texts are in `messages`.

mod bad_token;

use mongodb::error::{CommandError, Error, ErrorKind};

pub(super) use self::bad_token::may_be_bad_token;

/// The action that an error calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The fault passes: back off and open the stream again, for as long as `--retry-for` allows.
    Retry,
    /// It is unknown whether the fault passes: retry for a limited time.
    Doubt,
    /// The oplog overtook the cursor. Whether the stream's position is lost is decided by opening a stream there.
    Overtaken,
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

use Verdict::{Doubt, EventTooLarge, Fatal, HistoryLost, Login, Overtaken, Retry, TokenNotFound};

/// Every server error code with a known meaning. A name in CamelCase is the `codeName` of the server's reply; a code without one has the
/// `codeName` "Location" and its number (measured on MongoDB 6.0.27 with the fail point `failCommand`). The retryable codes from 402 to 462, 91331 and
/// 10045600 have no name there yet; theirs are from `error_codes.yml` of later servers, where they are in the category `RetriableError`.
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
    (136,       Overtaken),     // CappedPositionLost
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
    (402,       Retry),         // ResourceExhausted
    (406,       Retry),         // MigrationBlockingOperationCoordinatorCleaningUp
    (407,       Retry),         // PooledConnectionAcquisitionExceededTimeLimit
    (412,       Retry),         // UpdatesStillPending
    (453,       Retry),         // InterruptedDueToReshardingCriticalSection
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
    (50915,     Retry),         // BackupCursorOpenConflictWithCheckpoint
    (91331,     Retry),         // RetriableRemoteCommandFailure
    (7_182_802, Fatal),         // $changeStreamSplitLargeEvent is not the last stage
    (10_045_600, Retry),        // InterruptedDueToFCVChange
];

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
/// The collection with the UUID of the command has another name, or none.
pub(super) const COLLECTION_UUID_MISMATCH: i32 = 361;
/// The resume token was not found, or the pipeline changed `_id`.
pub(super) const CHANGE_STREAM_FATAL: i32 = 280;
/// The oplog no longer reaches back to the start of the stream.
pub(super) const HISTORY_LOST: i32 = 286;
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
        // `Custom` is an error of cswatch itself.
        ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::InvalidArgument { .. }
        | ErrorKind::MissingResumeToken
        | ErrorKind::Custom(_) => Fatal,
        _ => Doubt,
    }
}

fn classify_command(command: &CommandError, is_labeled_retryable: bool) -> Verdict {
    if command.code == CHANGE_STREAM_FATAL && is_about_changed_id(command) {
        return Fatal;
    }
    let known = CODES
        .iter()
        .find(|(code, _)| *code == command.code)
        .map(|(_, verdict)| *verdict);
    match known {
        // A label promises that the error passes. Waiting does not fix these.
        Some(verdict @ (HistoryLost | TokenNotFound | EventTooLarge | Overtaken)) => verdict,
        _ if is_labeled_retryable => Retry,
        Some(verdict) => verdict,
        None => Doubt,
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

/// Returns whether the code alone says what the server refuses, so that neither the filter nor the resume token can be the cause: a missing
/// privilege, a namespace or server without change streams, or an event.
pub(super) fn is_clear(code: i32) -> bool {
    matches!(
        code,
        UNAUTHORIZED
            | AUTHENTICATION_FAILED
            | NO_IMAGE
            | INVALID_NAMESPACE
            | NOT_SUPPORTED_ON_VIEW
            | CHANGE_STREAM_FATAL
            | STANDALONE
    )
}

/// Returns whether an error of a command that reads a collection passes, although it ends a stream: the collection is being changed, or is
/// capped and overwritten.
pub(super) fn is_passing_for_reads(code: i32) -> bool {
    const QUERY_PLAN_KILLED: i32 = 175;
    const SNAPSHOT_UNAVAILABLE: i32 = 246;
    matches!(
        code,
        CAPPED_POSITION_LOST | QUERY_PLAN_KILLED | SNAPSHOT_UNAVAILABLE
    )
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
    fn is_in_doubt_about_an_unknown_error() {
        for code in [24, 46, 175, 202, 211, 246, 261, 7777, 99_999] {
            assert_eq!(verdict(code), Doubt, "{code}");
        }
    }

    #[test]
    fn retries_what_servers_of_any_version_call_retriable() {
        for code in [
            6, 7, 89, 91, 134, 189, 262, 317, 358, 402, 406, 407, 412, 453, 462, 9001, 10_107,
            11_600, 11_602, 13_435, 13_436, 50_915, 91_331, 10_045_600,
        ] {
            assert_eq!(verdict(code), Retry, "{code}");
        }
    }
}
