//! The checks of a check, as lines for people and as JSON for scripts, and the exit code that follows.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::error::{Failure, Kind};

/// Whether a fact is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok,
    Failed,
    Unknown,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Ok => '✓',
            Self::Failed => '✗',
            Self::Unknown => '?',
        }
    }

    /// Parameters of an SGR sequence.
    fn color(self) -> &'static str {
        match self {
            Self::Ok => "32",
            Self::Failed => "1;31",
            Self::Unknown => "33",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    name: &'static str,
    status: Status,
    message: String,
    /// What to type about it; empty when there is nothing.
    hint: String,
    /// What the watch would end with.
    kind: Option<Kind>,
    /// The length of time that the fact is about.
    time: Option<Duration>,
}

/// What a check found, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    checks: Vec<Check>,
}

impl Report {
    fn add(&mut self, name: &'static str, status: Status, message: String) -> &mut Check {
        self.checks.push(Check {
            name,
            status,
            message,
            hint: String::new(),
            kind: None,
            time: None,
        });
        let last = self.checks.len() - 1;
        &mut self.checks[last]
    }

    /// It is as it should be.
    pub(super) fn good(&mut self, name: &'static str, message: impl Into<String>) {
        self.add(name, Status::Ok, message.into());
    }

    /// The watch would end with `failure`.
    pub(super) fn bad(&mut self, name: &'static str, failure: Failure) {
        let check = self.add(name, Status::Failed, failure.message);
        check.hint = failure.hint;
        check.kind = Some(failure.kind);
    }

    /// It is not there, and a watch goes without it.
    pub(super) fn missing(
        &mut self,
        name: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(name, Status::Failed, message.into()).hint = hint.into();
    }

    /// It could not be found out because of `failure`.
    pub(super) fn unknown(&mut self, name: &'static str, failure: &Failure) {
        self.add(name, Status::Unknown, failure.message.clone());
    }

    /// The last fact is about this length of time.
    pub(super) fn seconds(&mut self, time: Duration) {
        if let Some(check) = self.checks.last_mut() {
            check.time = Some(time);
        }
    }

    /// The exit code of the watch; 0 when it would work.
    pub(crate) fn exit_code(&self) -> u8 {
        let kind = self.checks.iter().find_map(|check| check.kind);
        kind.map_or(0, Kind::exit_code)
    }

    /// One line a fact, and under each bad one what to do.
    pub(crate) fn text(&self, colored: bool) -> String {
        let width = self.checks.iter().map(|check| check.name.len()).max();
        let width = width.unwrap_or_default();
        let mut text = String::new();
        for check in &self.checks {
            let sign = check.status.sign();
            let sign = match colored {
                true => format!("\x1b[{}m{sign}\x1b[0m", check.status.color()),
                false => sign.to_string(),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{sign} {:width$}  {}", check.name, check.message);
            if !check.hint.is_empty() {
                let _ = writeln!(text, "  {:width$}  → {}", "", check.hint);
            }
        }
        text
    }

    /// One JSON object.
    pub(crate) fn json(&self) -> String {
        let checks: Vec<_> = self
            .checks
            .iter()
            .map(|check| {
                let mut object = json!({
                    "check": check.name,
                    "status": check.status.name(),
                    "message": check.message,
                });
                if !check.hint.is_empty() {
                    object["hint"] = check.hint.as_str().into();
                }
                if let Some(kind) = check.kind {
                    object["exit_code"] = kind.exit_code().into();
                }
                if let Some(time) = check.time {
                    object["seconds"] = time.as_secs().into();
                }
                object
            })
            .collect();
        let code = self.exit_code();
        let report = json!({ "works": code == 0, "exit_code": code, "checks": checks });
        format!("{report}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.good("server", "127.0.0.1:27017 answers");
        report.missing("large events", "not known", "upgrade");
        report.unknown("images", &Failure::new(Kind::Refused, "not allowed"));
        let failure = Failure::new(Kind::HistoryLost, "too old").hint("--on-history-lost now");
        report.bad("position", failure);
        report.good("headroom", "2m");
        report.seconds(Duration::from_secs(120));
        report
    }

    #[test]
    fn aligns_the_checks_and_tells_under_a_bad_one_what_to_type() {
        let lines = "\
✓ server        127.0.0.1:27017 answers
✗ large events  not known
                → upgrade
? images        not allowed
✗ position      too old
                → --on-history-lost now
✓ headroom      2m
";
        assert_eq!(report().text(false), lines);
        let colored = report().text(true);
        assert!(colored.starts_with("\x1b[32m✓\x1b[0m server"), "{colored}");
    }

    #[test]
    fn ends_with_the_code_of_the_first_fact_that_would_end_the_watch() {
        assert_eq!(report().exit_code(), 3);
        assert_eq!(Report::default().exit_code(), 0);
    }

    #[test]
    fn tells_a_script_the_same_with_stable_names() {
        let json: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(json["works"], false);
        assert_eq!(json["exit_code"], 3);
        assert_eq!(json["checks"][3]["hint"], "--on-history-lost now");
        assert_eq!(json["checks"][4]["seconds"], 120);
    }
}
