//! Messages and hints for the errors of the driver and the server.
//! The action that an error calls for is decided in `classify`.

use bson::doc;
use mongodb::error::{CommandError, Error, ErrorKind};

use crate::config::{Scope, StreamSpec};
use crate::deployment::Difference;
use crate::error::{Failure, Kind};
use crate::shell_syntax;
use crate::snapshot::Collection;

use super::classify::{self, Verdict};
use super::privilege::{self, User};
use super::quoted_command::without_command;

/// Returns an error as one clause, without the driver's dump of the reply and without the command that the server quotes.
pub(super) fn describe(error: &Error) -> String {
    without_command(match &*error.kind {
        ErrorKind::Command(CommandError {
            code,
            code_name,
            message,
            ..
        }) => format!("{message} ({code_name}, code {code})"),
        ErrorKind::ServerSelection { message, .. } => server_errors(message),
        kind => kind.to_string(),
    })
}

/// Returns the servers' errors in the driver's description of the topology, without adjacent duplicates; the whole description when it has
/// none.
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

/// Returns the failure when `error` ends a watch of `spec`.
pub(super) fn failure(error: &Error, spec: &StreamSpec) -> Failure {
    match &*error.kind {
        ErrorKind::Command(command) => command_failure(command, error, spec),
        ErrorKind::Authentication { message, .. } => authentication(message),
        ErrorKind::ServerSelection { .. } if classify::classify(error) == Verdict::Login => {
            authentication(&describe(error))
        }
        ErrorKind::InvalidTlsConfig { message, .. } => {
            Failure::usage(format!("the TLS files in --uri are unusable: {message}"))
                .hint("check tlsCAFile and tlsCertificateKeyFile; the latter holds a client certificate and its private key")
        }
        ErrorKind::InvalidArgument { .. } => Failure::usage(describe(error)),
        // Of cswatch itself: a token that the server must not send.
        ErrorKind::Custom(_) => {
            let text = error.get_custom::<String>().cloned();
            Failure::new(Kind::Refused, text.unwrap_or_else(|| describe(error))).hint(
                "look for a fault of the server, or of a proxy in front of it",
            )
        }
        ErrorKind::MissingResumeToken => Failure::new(
            Kind::Refused,
            "the server sent an event without a resume token",
        )
        .hint("a restart resumes after the last event with one; look for a fault of the server, or of a proxy in front of it"),
        _ => Failure::new(Kind::Other, describe(error)),
    }
}

/// Returns the failure when `error` ends the scan of a snapshot, at `collection` or at the list of collections.
pub(super) fn scan_failure(
    error: &Error,
    collection: Option<&Collection>,
    spec: &StreamSpec,
    user: Option<&User>,
) -> Failure {
    if classify::code(error) == Some(classify::UNAUTHORIZED) {
        return match collection {
            Some(Collection { db, coll, .. }) => {
                let scope = Scope::Collection(db.clone(), coll.clone());
                privilege::failure(error, "find", &scope, user)
            }
            None => privilege::failure(error, "listCollections", &spec.scope, user),
        };
    }
    let what = match collection {
        Some(collection) => format!("cannot read {collection} for the snapshot"),
        None => "cannot list the collections for the snapshot".to_owned(),
    };
    Failure::new(Kind::Refused, format!("{what} ({})", describe(error)))
        .hint("-v logs more; without --snapshot, only the stream is read")
}

/// Returns the failure when the resume token is invalid.
pub(super) fn bad_token(error: &Error) -> Failure {
    Failure::new(
        Kind::HistoryLost,
        format!("the server does not accept the resume token: {}", describe(error)),
    )
    .hint("it was truncated or edited, or comes from a newer server; use the whole _id of the last line you have: --start-after TOKEN")
}

/// Returns the failure when the server refuses a stage of the filter. `origin` is the flag that the stage came from.
pub(super) fn refused_stage(error: &Error, origin: &str) -> Failure {
    let code = classify::code(error).unwrap_or_default();
    Failure::new(
        Kind::Refused,
        format!(
            "the server refuses the stream: {} in {origin}",
            describe(error)
        ),
    )
    .hint(refusal_hint(code, Verdict::Fatal))
}

fn command_failure(command: &CommandError, error: &Error, spec: &StreamSpec) -> Failure {
    let refused = || {
        Failure::new(
            Kind::Refused,
            format!("the server refuses the stream: {}", describe(error)),
        )
    };
    match command.code {
        classify::CAPPED_POSITION_LOST => Failure::new(
            Kind::HistoryLost,
            format!("the oplog is overwritten faster than it is read: {}", describe(error)),
        )
        .hint(RAISE_OPLOG),
        classify::HISTORY_LOST => history_lost(describe(error)),
        classify::UNAUTHORIZED => privilege::failure(error, privilege::STREAM, &spec.scope, None),
        classify::NO_IMAGE => refused().hint(match &spec.scope {
            Scope::Collection(db, coll) => format!(
                "the collection keeps no pre- or post-images, or they expired: use whenAvailable instead of required, or {}",
                enable_images(db, &[coll])
            ),
            _ => refusal_hint(command.code, Verdict::Fatal).to_owned(),
        }),
        classify::AUTHENTICATION_FAILED => authentication(&describe(error)),
        classify::CHANGE_STREAM_FATAL if classify::is_about_changed_id(command) => refused()
            .hint("the pipeline drops or changes _id, which is the event's resume token; keep it as the server sent it"),
        classify::CHANGE_STREAM_FATAL => Failure::new(
            Kind::HistoryLost,
            format!("cannot resume from the checkpoint: {}", describe(error)),
        )
        .hint("the checkpoint belongs to another deployment or scope: start again with --start WHEN and another --resume-file"),
        code => refused().hint(refusal_hint(code, classify::classify(error))),
    }
}

/// Returns the hint that enables pre- and post-images of collections of `db`: what to run in mongosh.
pub(crate) fn enable_images(db: &str, colls: &[&str]) -> String {
    let call = |coll: &&str| {
        let images = doc! { "enabled": true };
        let command = doc! { "collMod": *coll, "changeStreamPreAndPostImages": images };
        // The name of a database holds no quotes or backslashes.
        let command = shell_syntax::to_shell_line(command);
        format!("db.getSiblingDB(\"{db}\").runCommand({command})")
    };
    let calls: Vec<String> = colls.iter().map(call).collect();
    format!("in mongosh: {}", calls.join("; "))
}

/// Hint for history that is lost sooner than expected.
const RAISE_OPLOG: &str = "raise the oplog's size or storage.oplogMinRetentionHours";

/// Returns the failure when the server no longer has the history after the checkpoint. `message` names the time of the loss.
pub(super) fn history_lost(message: String) -> Failure {
    Failure::new(Kind::HistoryLost, message).hint(format!(
        "accept the gap with --on-history-lost earliest or --on-history-lost now; to prevent the next one, {RAISE_OPLOG}"
    ))
}

/// Returns the failure when another deployment was reached after an outage, on the addresses of the one that was watched.
pub(super) fn other_deployment(difference: &Difference) -> Failure {
    let (part, saved, now) = match difference {
        Difference::Topology { saved, now } => ("kind or name", saved, now),
        Difference::Id { part, saved, now } => (*part, saved, now),
    };
    Failure::new(
        Kind::ResumeFile,
        format!("connected to another deployment than before the outage: its {part} is {now}, it was {saved}"),
    )
    .hint("reconnect the one from before; to watch this one, use another --resume-file, and choose a start with --start earliest or --start WHEN")
}

fn refusal_hint(code: i32, verdict: Verdict) -> &'static str {
    match code {
        classify::NO_IMAGE => {
            "the collection keeps no pre- or post-images, or they expired: run collMod with changeStreamPreAndPostImages: {enabled: true}, or use whenAvailable instead of required"
        }
        classify::STANDALONE => {
            "change streams need a replica set: start mongod with --replSet rs0 and run rs.initiate() once"
        }
        classify::NOT_SUPPORTED_ON_VIEW => {
            "a view or time-series collection has no change stream; watch the collection it is based on"
        }
        classify::INVALID_NAMESPACE => {
            "admin, config, local and system collections have no change stream; name another database or collection"
        }
        classify::UNKNOWN_OPTION => {
            "this server does not know the option; --expanded-events and images need MongoDB 6.0"
        }
        classify::UNKNOWN_STAGE => "this server does not know the stage",
        _ if verdict == Verdict::Fatal => "--explain prints the command that was sent",
        _ => "--explain prints the command that was sent; -v logs more",
    }
}

fn authentication(message: &str) -> Failure {
    let hint = if message.contains("MONGODB-X509") {
        "check tlsCertificateKeyFile in --uri, and that the subject of its certificate is a user in $external: openssl x509 -noout -subject -nameopt RFC2253 -in FILE"
    } else {
        "check user, password and authSource in --uri (authSource is the database the user was created in, often admin)"
    };
    Failure::new(Kind::Refused, format!("authentication failed: {message}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::classify::fake::from_server;
    use super::*;

    fn spec() -> StreamSpec {
        StreamSpec::unfiltered(Scope::Collection("shop".to_owned(), "orders".to_owned()))
    }

    fn failure_of(code: i32) -> Failure {
        failure(&from_server(code, "message"), &spec())
    }

    #[test]
    fn reports_lost_history() {
        assert_eq!(failure_of(136).kind, Kind::HistoryLost);
        let failure = bad_token(&from_server(9, "message"));
        assert_eq!(failure.kind, Kind::HistoryLost);
        assert!(failure.hint.contains("--start-after TOKEN"));
    }

    #[test]
    fn gives_a_hint_for_every_refusal() {
        for code in [
            2, 14, 18, 20, 47, 72, 73, 166, 40323, 40324, 40415, 40573, 40602, 50865, 7_182_802,
        ] {
            let failure = failure_of(code);
            assert_eq!(failure.kind, Kind::Refused, "{code}");
            assert!(!failure.hint.is_empty(), "{code}");
        }
        assert!(failure_of(40573).hint.contains("--replSet"));
        assert!(failure_of(47).hint.contains("changeStreamPreAndPostImages"));
    }

    #[test]
    fn names_a_pipeline_that_changes_the_resume_token() {
        let message =
            "Encountered an event whose _id field, which contains the resume token, was modified";
        let failure = failure(&from_server(280, message), &spec());
        assert_eq!(failure.kind, Kind::Refused);
        assert!(failure.hint.contains("drops or changes _id"));
    }

    #[test]
    fn reports_an_unknown_error_with_its_code() {
        let failure = failure_of(99_999);
        assert_eq!(failure.kind, Kind::Refused);
        assert!(failure.message.ends_with("message (Name, code 99999)"));
    }
}
