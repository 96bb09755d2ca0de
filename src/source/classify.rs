//! What an error of the driver or the server means for the stream. The one place that knows codes, labels and kinds.

use mongodb::error::{CommandError, Error, ErrorKind};

use crate::error::{Failure, Kind};
use crate::stream_spec::{Scope, StreamSpec};

/// What to do about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes: back off and open the stream again, for as long as `--retry-for` allows.
    Retry,
    /// Open the stream again; another failure without a reply between is fatal.
    Reopen(Failure),
    /// The login failed, which passes while a password is changed: try again, seldom and not often.
    Login(Failure),
    /// The oplog no longer reaches back to the position.
    HistoryLost,
    /// The server does not find the token among the events of this stream.
    TokenNotFound,
    /// An event above 16 MB; the text names it.
    EventTooLarge(String),
    /// Trying again would give the same.
    Fatal(Failure),
}

/// Codes that pass: network, failover, shutdown, lost cursors and sessions, overload. With and without labels, because several
/// of them come without (measured on MongoDB 6.0.27 with `failGetMoreAfterCursorCheckout`).
const PASSING_CODES: [i32; 28] = [
    6, 7, 43, 50, 63, 89, 91, 133, 134, 150, 189, 216, 234, 237, 262, 317, 358, 462, 9001, 10107,
    11600, 11601, 11602, 13388, 13435, 13436, 10058, 50738,
];

/// Codes of a resume token that is not one.
const BAD_TOKEN_CODES: [i32; 12] = [
    9, 15, 260, 40647, 40649, 50793, 50796, 50810, 50811, 50816, 50872, 51055,
];

const HISTORY_LOST: i32 = 286;
const CAPPED_POSITION_LOST: i32 = 136;
const CHANGE_STREAM_FATAL: i32 = 280;
const EVENT_TOO_LARGE: i32 = 10334;
/// The token of an event whose `_id` has 8 MB or more.
const TOKEN_TOO_LARGE: i32 = 16493;
/// A pre- or post-image that is required and not there.
pub(super) const NO_IMAGE: i32 = 47;
/// A stage that this server does not know.
pub(super) const UNKNOWN_STAGE: i32 = 40324;
const UNKNOWN_OPTION: i32 = 40415;
/// Among others, a mode of an option that is unknown.
const BAD_VALUE: i32 = 2;

/// The server's code of an error, where it is one of the server's.
pub(super) fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(CommandError { code, .. }) => Some(*code),
        _ => None,
    }
}

/// Whether a stream could not be opened because the server does not know a stage or an option of it.
pub(super) fn is_unknown(error: &Error) -> bool {
    matches!(
        code(error),
        Some(UNKNOWN_STAGE | UNKNOWN_OPTION | BAD_VALUE)
    )
}

/// One word on an error, for counting.
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

/// One clause on an error, without the driver's dump of the reply.
pub(super) fn describe(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::Command(CommandError {
            code,
            code_name,
            message,
            ..
        }) => format!("{message} ({code_name}, code {code})"),
        ErrorKind::ServerSelection { message, .. } => server_errors(message),
        kind => kind.to_string(),
    }
}

/// The errors of the servers in the driver's description of the topology, each once; the description itself when it names none.
fn server_errors(message: &str) -> String {
    const BEGIN: &str = "Error: Kind: ";
    const END: &str = ", labels: ";
    let mut errors: Vec<&str> = message
        .split(BEGIN)
        .skip(1)
        .filter_map(|rest| rest.split_once(END))
        .map(|(error, _)| error)
        .collect();
    errors.dedup();
    if errors.is_empty() {
        return message.to_owned();
    }
    errors.join("; ")
}

/// What `error` means for a stream of `spec`.
pub(super) fn classify(error: &Error, spec: &StreamSpec) -> Verdict {
    let passing_label = [
        "ResumableChangeStreamError",
        "RetryableError",
        "SystemOverloadedError",
        "TransientTransactionError",
    ]
    .iter()
    .any(|label| error.contains_label(label));
    match &*error.kind {
        ErrorKind::Command(command) => match command.code {
            HISTORY_LOST => Verdict::HistoryLost,
            // What was not read yet is gone, but the position may still be there: opening tells.
            CAPPED_POSITION_LOST => Verdict::Reopen(
                Failure::new(Kind::HistoryLost, format!("the oplog is overwritten faster than it is read: {}", describe(error)))
                    .way_out("raise the oplog's size or storage.oplogMinRetentionHours"),
            ),
            CHANGE_STREAM_FATAL if command.message.contains("_id field") => {
                Verdict::Fatal(refused(error).way_out(
                    "the pipeline drops or changes _id, which is the event's resume token; keep it as the server sent it",
                ))
            }
            CHANGE_STREAM_FATAL => Verdict::TokenNotFound,
            EVENT_TOO_LARGE | TOKEN_TOO_LARGE => Verdict::EventTooLarge(command.message.clone()),
            code if PASSING_CODES.contains(&code) || passing_label => Verdict::Retry,
            code if BAD_TOKEN_CODES.contains(&code) => Verdict::Fatal(
                Failure::new(
                    Kind::HistoryLost,
                    format!("the server does not take the resume token: {}", describe(error)),
                )
                .way_out("it was cut or edited; take the whole _id of the last line you have: --start-after TOKEN"),
            ),
            code => from_command(code, error, spec),
        },
        ErrorKind::ServerSelection { message, .. } if is_about_credentials(message) => {
            Verdict::Login(authentication(&describe(error)))
        }
        ErrorKind::Authentication { message, .. } => Verdict::Login(authentication(message)),
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::InvalidResponse { .. }
        | ErrorKind::DnsResolve { .. } => Verdict::Retry,
        _ if passing_label => Verdict::Retry,
        ErrorKind::InvalidTlsConfig { message, .. } => Verdict::Fatal(
            Failure::usage(format!("the TLS files in --uri cannot be used: {message}"))
                .way_out("check tlsCAFile and tlsCertificateKeyFile; the latter holds a client's certificate and the key that belongs to it"),
        ),
        ErrorKind::InvalidArgument { .. } => Verdict::Fatal(Failure::usage(describe(error))),
        _ => Verdict::Reopen(Failure::new(Kind::Other, describe(error))),
    }
}

/// The failure when a first connection is not tried again.
pub(super) fn unreachable(error: &Error, hosts: &str, spec: &StreamSpec) -> Failure {
    match classify(error, spec) {
        Verdict::Fatal(failure) | Verdict::Reopen(failure) | Verdict::Login(failure) => {
            return failure;
        }
        _ => {}
    }
    let text = describe(error);
    let lower = text.to_lowercase();
    let (why, way_out) = if matches!(&*error.kind, ErrorKind::DnsResolve { .. })
        || [
            "lookup address",
            "name or service not known",
            "nodename nor servname",
        ]
        .iter()
        .any(|sign| lower.contains(sign))
    {
        (
            "its name cannot be resolved",
            "check the host in --uri and the machine's DNS",
        )
    } else if lower.contains("refused") {
        (
            "the connection was refused",
            "check that mongod runs there and on that port; --wait keeps trying",
        )
    } else if lower.contains("close_notify") {
        // TLS was agreed on, and then the server looked for a certificate.
        (
            "the connection was closed by the other side",
            "check whether the server wants a client's certificate, of an authority that it knows: tlsCertificateKeyFile=FILE in --uri",
        )
    } else if [
        "tls",
        "certificate",
        "corrupt message",
        "ssl",
        "fatal alert",
    ]
    .iter()
    .any(|sign| lower.contains(sign))
    {
        ("TLS could not be agreed on", tls_way_out(&lower))
    } else if lower.contains("set name:") {
        (
            "no member of that replica set answers",
            "check replicaSet= in --uri against rs.status(), and that the members' own host names can be reached from here; directConnection=true asks one server only",
        )
    } else if lower.contains("unexpected end of file")
        || lower.contains("connection reset")
        || lower.contains("broken pipe")
    {
        (
            "the connection was closed by the other side",
            "check that the port speaks MongoDB, and whether the server wants TLS: tls=true in --uri",
        )
    } else {
        (
            "no answer",
            "check host and port in --uri and the firewalls between; --wait keeps trying",
        )
    };
    Failure::new(
        Kind::Unreachable,
        format!("cannot reach MongoDB at {hosts}: {why} ({text})"),
    )
    .way_out(way_out)
}

/// By what is wrong with a certificate, in lower case.
fn tls_way_out(error: &str) -> &'static str {
    if error.contains("unknownissuer") {
        "the server's certificate is of an authority that is not known here: name that authority's as tlsCAFile=FILE in --uri"
    } else if error.contains("not valid for name") {
        "use a name in --uri that the server's certificate is for"
    } else if error.contains("expired") {
        "the server needs a new certificate; check the clocks too"
    } else if error.contains("fatal alert") {
        "the server does not take this client: check tlsCertificateKeyFile in --uri, and that the server knows the authority behind it"
    } else {
        "check tls=true, tlsCAFile and the host's name in --uri against the server's certificate"
    }
}

fn is_about_credentials(message: &str) -> bool {
    message.contains("Authentication failed") || message.contains("SCRAM failure")
}

fn authentication(message: &str) -> Failure {
    let way_out = if message.contains("MONGODB-X509") {
        "check tlsCertificateKeyFile in --uri, and that its certificate's subject is a user in $external: openssl x509 -noout -subject -nameopt RFC2253 -in FILE"
    } else {
        "check user, password and authSource in --uri (authSource is the database the user was made in, often admin)"
    };
    Failure::new(Kind::Refused, format!("authentication failed: {message}")).way_out(way_out)
}

fn refused(error: &Error) -> Failure {
    Failure::new(
        Kind::Refused,
        format!("the server refuses the stream: {}", describe(error)),
    )
}

fn from_command(code: i32, error: &Error, spec: &StreamSpec) -> Verdict {
    let way_out = match code {
        13 => return Verdict::Fatal(unauthorized(error, spec)),
        18 => return Verdict::Login(authentication(&describe(error))),
        NO_IMAGE => {
            "the collection keeps no pre- or post-images, or they expired: collMod with changeStreamPreAndPostImages: {enabled: true}, or use whenAvailable instead of required (and --resume-file: the default position is of these options alone)"
        }
        40573 => {
            "change streams need a replica set: start mongod with --replSet rs0 and run rs.initiate() once"
        }
        166 => {
            "a view or time-series collection has no change stream; watch the collection behind it"
        }
        73 => "name a database and collection of your own",
        UNKNOWN_OPTION => {
            "this server does not know the option; --expanded-events and images need MongoDB 6.0"
        }
        UNKNOWN_STAGE => "this server does not know the stage",
        BAD_VALUE | 14 | 20 | 72 | 40323 | 40602 | 50865 | 7182802 => {
            "see --explain for what was sent"
        }
        _ => {
            return Verdict::Reopen(
                refused(error).way_out("see --explain for what was sent; -v says more"),
            );
        }
    };
    Verdict::Fatal(refused(error).way_out(way_out))
}

/// Names the privilege that is missing, and a role that has it; or that nobody is logged in, who could have one.
fn unauthorized(error: &Error, spec: &StreamSpec) -> Failure {
    if describe(error).contains("requires authentication") {
        return Failure::new(Kind::Refused, format!("not logged in: {}", describe(error))).way_out(
            "write user:password@ before the host in --uri, and authSource= behind it when the user was not made in admin",
        );
    }
    let (resource, role) = match &spec.scope {
        Scope::Deployment => (
            "every database ({db: \"\", collection: \"\"})".to_owned(),
            "readAnyDatabase on admin".to_owned(),
        ),
        Scope::Database(db) | Scope::Collections(db, _) => {
            (format!("database {db}"), format!("read on {db}"))
        }
        Scope::Collection(db, coll) => (format!("{db}.{coll}"), format!("read on {db}")),
    };
    Failure::new(
        Kind::Refused,
        format!(
            "missing privilege: changeStream and find on {resource} ({})",
            describe(error)
        ),
    )
    .way_out(format!("grant the user the role {role}"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use bson::doc;

    use super::*;

    fn spec() -> StreamSpec {
        StreamSpec {
            scope: Scope::Collection("shop".to_owned(), "orders".to_owned()),
            pipeline: Vec::new(),
            full_document: None,
            full_document_before_change: None,
            expanded_events: false,
            batch_size: 1000,
            max_await: std::time::Duration::from_secs(1),
        }
    }

    /// As the driver makes it of a server's reply, without labels.
    fn from_server(code: i32, message: &str) -> Error {
        let reply = doc! { "code": code, "codeName": "Name", "errmsg": message };
        let command = bson::deserialize_from_document(reply).expect("a reply of an error");
        ErrorKind::Command(command).into()
    }

    fn verdict(code: i32) -> Verdict {
        classify(&from_server(code, "message"), &spec())
    }

    #[track_caller]
    fn fatal(code: i32) -> Failure {
        match verdict(code) {
            Verdict::Fatal(failure) => failure,
            other => panic!("{code}: {other:?}"),
        }
    }

    #[test]
    fn retries_what_passes_with_or_without_a_label() {
        for code in [
            6, 7, 43, 50, 63, 89, 91, 133, 134, 150, 189, 216, 234, 237, 262, 317, 358, 462, 9001,
            10107, 11600, 11601, 11602, 13388, 13435, 13436, 50738,
        ] {
            assert_eq!(verdict(code), Verdict::Retry, "{code}");
        }
        let broken = Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(classify(&broken, &spec()), Verdict::Retry);
    }

    #[test]
    fn takes_lost_history_for_lost_only_when_opening_says_so() {
        assert_eq!(verdict(286), Verdict::HistoryLost);
        let Verdict::Reopen(failure) = verdict(136) else {
            panic!("{:?}", verdict(136));
        };
        assert_eq!(failure.kind, Kind::HistoryLost);
    }

    #[test]
    fn tells_a_token_of_another_stream_from_a_pipeline_that_drops_tokens() {
        assert_eq!(verdict(280), Verdict::TokenNotFound);
        let message =
            "Encountered an event whose _id field, which contains the resume token, was modified";
        let Verdict::Fatal(failure) = classify(&from_server(280, message), &spec()) else {
            panic!("not fatal");
        };
        assert_eq!(failure.kind, Kind::Refused);
        assert!(failure.way_out.contains("drops or changes _id"));
    }

    #[test]
    fn refuses_a_token_that_is_none_as_history_that_cannot_be_resumed() {
        for code in [
            9, 15, 260, 40647, 40649, 50793, 50796, 50810, 50811, 50816, 50872, 51055,
        ] {
            let failure = fatal(code);
            assert_eq!(failure.kind, Kind::HistoryLost, "{code}");
            assert!(failure.way_out.contains("--start-after TOKEN"), "{code}");
        }
    }

    #[test]
    fn refuses_what_no_retry_mends() {
        for code in [
            2, 14, 20, 47, 72, 73, 166, 40323, 40324, 40415, 40573, 40602, 50865, 7_182_802,
        ] {
            let failure = fatal(code);
            assert_eq!(failure.kind, Kind::Refused, "{code}");
            assert!(!failure.way_out.is_empty(), "{code}");
        }
        assert!(fatal(40573).way_out.contains("--replSet"));
        assert!(fatal(47).way_out.contains("changeStreamPreAndPostImages"));
    }

    #[test]
    fn names_the_missing_privilege_and_a_role_that_has_it() {
        let failure = fatal(13);
        assert_eq!(
            failure.what,
            "missing privilege: changeStream and find on shop.orders (message (Name, code 13))"
        );
        assert_eq!(failure.way_out, "grant the user the role read on shop");
        let deployment = StreamSpec {
            scope: Scope::Deployment,
            ..spec()
        };
        let Verdict::Fatal(failure) = classify(&from_server(13, "message"), &deployment) else {
            panic!("not fatal");
        };
        assert!(failure.way_out.ends_with("readAnyDatabase on admin"));
    }

    #[test]
    fn tries_a_login_again_wherever_its_failure_is_told() {
        let is_login =
            |verdict| matches!(verdict, Verdict::Login(failure) if failure.kind == Kind::Refused);
        assert!(is_login(verdict(18)));
        assert!(is_about_credentials(
            "Server selection timeout: .. Error: Kind: SCRAM failure: Authentication failed., labels: {}"
        ));
    }

    #[test]
    fn names_an_event_that_is_too_large() {
        let message = "BSONObj size: 17000000 is invalid. _id: {..}";
        assert_eq!(
            classify(&from_server(10334, message), &spec()),
            Verdict::EventTooLarge(message.to_owned())
        );
    }

    #[test]
    fn gives_an_unknown_error_a_second_try() {
        let Verdict::Reopen(failure) = verdict(99_999) else {
            panic!("{:?}", verdict(99_999));
        };
        assert_eq!(failure.kind, Kind::Refused);
        assert!(failure.what.ends_with("message (Name, code 99999)"));
    }
}
