//! Report of `cswatch check`: its results as lines for people and as JSON for scripts, and the exit code.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::error::{Failure, Kind};
use crate::text;

/// The result of a check.
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

    fn symbol(self) -> char {
        match self {
            Self::Ok => '✓',
            Self::Failed => '✗',
            Self::Unknown => '?',
        }
    }

    /// Returns the parameters of an SGR sequence.
    fn color(self) -> &'static str {
        match self {
            Self::Ok => "32",
            Self::Failed => "1;31",
            Self::Unknown => "33",
        }
    }
}

/// One check and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    name: &'static str,
    status: Status,
    message: String,
    /// What to do about it; empty if there is nothing to do.
    hint: String,
    /// The kind of failure that a watch would end with; `None` if the check would not end it.
    kind: Option<Kind>,
    /// The duration that the check measured.
    duration: Option<Duration>,
}

/// The checks in the order in which they were made.
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
            duration: None,
        });
        let last = self.checks.len() - 1;
        &mut self.checks[last]
    }

    /// Adds a check that succeeded.
    pub(super) fn ok(&mut self, name: &'static str, message: impl Into<String>) {
        self.add(name, Status::Ok, message.into());
    }

    /// Adds a check that failed, and with whose `failure` a watch would end.
    pub(super) fn failed(&mut self, name: &'static str, failure: Failure) {
        let check = self.add(name, Status::Failed, failure.message);
        check.hint = failure.hint;
        check.kind = Some(failure.kind);
    }

    /// Adds a check that failed, but does not keep a watch from working.
    pub(super) fn degraded(
        &mut self,
        name: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(name, Status::Failed, message.into()).hint = hint.into();
    }

    /// Adds a remark, which does not keep a watch from working.
    pub(super) fn remark(
        &mut self,
        name: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(name, Status::Unknown, message.into()).hint = hint.into();
    }

    /// Adds a check whose result is unknown because of `failure`.
    pub(super) fn unknown(&mut self, name: &'static str, failure: &Failure) {
        self.add(name, Status::Unknown, failure.message.clone())
            .hint = failure.hint.clone();
    }

    /// Adds to the last check the duration that it measured.
    pub(super) fn set_duration(&mut self, duration: Duration) {
        if let Some(check) = self.checks.last_mut() {
            check.duration = Some(duration);
        }
    }

    /// Returns the exit code that a watch would end with; 0 if it would work.
    pub(crate) fn exit_code(&self) -> u8 {
        let kind = self.checks.iter().find_map(|check| check.kind);
        kind.map_or(0, Kind::exit_code)
    }

    /// Returns one line for each check, and the hint below those that have one.
    pub(crate) fn text(&self, colored: bool) -> String {
        let width = self.checks.iter().map(|check| check.name.len()).max();
        let width = width.unwrap_or_default();
        let mut lines = String::new();
        for check in &self.checks {
            let symbol = check.status.symbol();
            let symbol = match colored {
                true => format!("\x1b[{}m{symbol}\x1b[0m", check.status.color()),
                false => symbol.to_string(),
            };
            // Writing to a string cannot fail.
            let message = text::message(&check.message);
            let _ = writeln!(lines, "{symbol} {:width$}  {message}", check.name);
            if !check.hint.is_empty() {
                let hint = text::hint(&check.hint);
                let _ = writeln!(lines, "  {:width$}  → {hint}", "");
            }
        }
        lines
    }

    /// Returns one JSON object on one line.
    pub(crate) fn json(&self) -> String {
        let checks: Vec<_> = self
            .checks
            .iter()
            .map(|check| {
                let mut object = json!({
                    "check": check.name,
                    "status": check.status.name(),
                    "message": text::message_for_json(&check.message),
                });
                if !check.hint.is_empty() {
                    object["hint"] = text::hint_for_json(&check.hint).into();
                }
                if let Some(kind) = check.kind {
                    object["exit_code"] = kind.exit_code().into();
                }
                if let Some(duration) = check.duration {
                    object["seconds"] = duration.as_secs().into();
                }
                object
            })
            .collect();
        let code = self.exit_code();
        let report = json!({ "works": code == 0, "exit_code": code, "checks": checks });
        format!("{}\n", text::escaped_json(&report.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.ok("server", "connected to 127.0.0.1:27017");
        report.degraded("large events", "not supported", "upgrade");
        report.unknown("images", &Failure::new(Kind::Refused, "not allowed"));
        let failure = Failure::new(Kind::HistoryLost, "too old").hint("--on-history-lost now");
        report.failed("checkpoint", failure);
        report.ok("headroom", "2m");
        report.set_duration(Duration::from_secs(120));
        report
    }

    #[test]
    fn aligns_the_checks_and_prints_a_hint_below_a_failed_one() {
        let lines = "\
✓ server        connected to 127.0.0.1:27017
✗ large events  not supported
                → upgrade
? images        not allowed
✗ checkpoint    too old
                → --on-history-lost now
✓ headroom      2m
";
        assert_eq!(report().text(false), lines);
        let colored = report().text(true);
        assert!(colored.starts_with("\x1b[32m✓\x1b[0m server"), "{colored}");
    }

    #[test]
    fn exits_with_the_code_of_the_first_check_that_would_end_a_watch() {
        assert_eq!(report().exit_code(), 3);
        assert_eq!(Report::default().exit_code(), 0);
    }

    #[test]
    fn reports_the_same_as_json_with_stable_names() {
        let json: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(json["works"], false);
        assert_eq!(json["exit_code"], 3);
        assert_eq!(json["checks"][3]["hint"], "--on-history-lost now");
        assert_eq!(json["checks"][4]["seconds"], 120);
    }
}
