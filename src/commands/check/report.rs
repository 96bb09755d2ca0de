//! The facts of a check, as lines for people and as JSON for scripts, and the exit code that follows.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::error::{Failure, Kind};

/// Whether a fact is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Good,
    Bad,
    Unknown,
}

impl Mark {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Good => '✓',
            Self::Bad => '✗',
            Self::Unknown => '?',
        }
    }

    /// Parameters of an SGR sequence.
    fn colour(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Unknown => "33",
        }
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fact {
    name: &'static str,
    mark: Mark,
    what: String,
    /// What to type about it; empty when there is nothing.
    way_out: String,
    /// What the watch would end with.
    kind: Option<Kind>,
    /// The length of time that the fact is about.
    time: Option<Duration>,
}

/// What a check found, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    facts: Vec<Fact>,
}

impl Report {
    fn add(&mut self, name: &'static str, mark: Mark, what: String) -> &mut Fact {
        self.facts.push(Fact {
            name,
            mark,
            what,
            way_out: String::new(),
            kind: None,
            time: None,
        });
        let last = self.facts.len() - 1;
        &mut self.facts[last]
    }

    /// It is as it should be.
    pub(super) fn good(&mut self, name: &'static str, what: impl Into<String>) {
        self.add(name, Mark::Good, what.into());
    }

    /// The watch would end with `failure`.
    pub(super) fn bad(&mut self, name: &'static str, failure: Failure) {
        let fact = self.add(name, Mark::Bad, failure.what);
        fact.way_out = failure.way_out;
        fact.kind = Some(failure.kind);
    }

    /// It is not there, and a watch goes without it.
    pub(super) fn missing(
        &mut self,
        name: &'static str,
        what: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.add(name, Mark::Bad, what.into()).way_out = way_out.into();
    }

    /// It could not be found out because of `failure`.
    pub(super) fn unknown(&mut self, name: &'static str, failure: &Failure) {
        self.add(name, Mark::Unknown, failure.what.clone());
    }

    /// The last fact is about this length of time.
    pub(super) fn seconds(&mut self, time: Duration) {
        if let Some(fact) = self.facts.last_mut() {
            fact.time = Some(time);
        }
    }

    /// The exit code of the watch; 0 when it would work.
    pub fn exit_code(&self) -> u8 {
        let kind = self.facts.iter().find_map(|fact| fact.kind);
        kind.map_or(0, Kind::exit_code)
    }

    /// One line a fact, and under each bad one what to do.
    pub fn text(&self, coloured: bool) -> String {
        let width = self.facts.iter().map(|fact| fact.name.len()).max();
        let width = width.unwrap_or_default();
        let mut text = String::new();
        for fact in &self.facts {
            let sign = fact.mark.sign();
            let sign = match coloured {
                true => format!("\x1b[{}m{sign}\x1b[0m", fact.mark.colour()),
                false => sign.to_string(),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{sign} {:width$}  {}", fact.name, fact.what);
            if !fact.way_out.is_empty() {
                let _ = writeln!(text, "  {:width$}  → {}", "", fact.way_out);
            }
        }
        text
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        let facts: Vec<_> = self
            .facts
            .iter()
            .map(|fact| {
                let mut object = json!({
                    "fact": fact.name,
                    "mark": fact.mark.name(),
                    "what": fact.what,
                });
                if !fact.way_out.is_empty() {
                    object["way_out"] = fact.way_out.as_str().into();
                }
                if let Some(kind) = fact.kind {
                    object["exit_code"] = kind.exit_code().into();
                }
                if let Some(time) = fact.time {
                    object["seconds"] = time.as_secs().into();
                }
                object
            })
            .collect();
        let code = self.exit_code();
        let report = json!({ "works": code == 0, "exit_code": code, "facts": facts });
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
        let failure = Failure::new(Kind::HistoryLost, "too old").way_out("--on-history-lost now");
        report.bad("position", failure);
        report.good("headroom", "2m");
        report.seconds(Duration::from_secs(120));
        report
    }

    #[test]
    fn aligns_the_facts_and_tells_under_a_bad_one_what_to_type() {
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
        let coloured = report().text(true);
        assert!(
            coloured.starts_with("\x1b[32m✓\x1b[0m server"),
            "{coloured}"
        );
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
        assert_eq!(json["facts"][3]["way_out"], "--on-history-lost now");
        assert_eq!(json["facts"][4]["seconds"], 120);
    }
}
