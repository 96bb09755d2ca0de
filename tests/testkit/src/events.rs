//! Events that tests cause, and how they appear in the output of `cswatch` and in its resume file.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use mongodb::Collection;
use mongodb::bson::{Document, Timestamp};
use serde_json::Value;

use crate::deadline::{DEADLINE, poll};
use crate::load::insert_confirmed;
use crate::runtime::block_on;

/// Inserts `{_id: id}` for each id, one after the other, with write concern majority.
#[track_caller]
pub fn insert(coll: &Collection<Document>, ids: impl IntoIterator<Item = i32>) {
    for id in ids {
        block_on(insert_confirmed(coll, id)).expect("an insert");
    }
}

/// Returns a short form of an event: its operation type and the `_id` of its document in Extended JSON, with an int32 as a plain number.
/// Examples: `insert 1`, `drop`.
#[track_caller]
pub fn brief(line: &str) -> String {
    let event = parsed(line);
    let kind = event["operationType"].as_str().expect("an operation type");
    match &event["documentKey"]["_id"] {
        Value::Null => kind.to_owned(),
        id => match id["$numberInt"].as_str() {
            Some(number) => format!("{kind} {number}"),
            None => format!("{kind} {id}"),
        },
    }
}

/// Returns the [`brief`] form of each line.
#[track_caller]
pub fn briefs(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| brief(line)).collect()
}

/// Returns the [`briefs`] that inserts of these ids have.
pub fn inserts(ids: impl IntoIterator<Item = impl Display>) -> Vec<String> {
    ids.into_iter().map(|id| format!("insert {id}")).collect()
}

/// Returns the resume token of a line as text, so that a comparison includes the order of its keys.
#[track_caller]
pub fn token(line: &str) -> String {
    parsed(line)["_id"].to_string()
}

/// Returns the checkpoint in a resume file, parsed.
#[track_caller]
pub fn checkpoint(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("a resume file");
    parsed(&text)
}

/// Returns the resume token in a resume file as text.
#[track_caller]
pub fn saved_token(file: &Path) -> String {
    checkpoint(file)["token"].to_string()
}

/// Returns the cluster time of a line.
#[track_caller]
pub fn time(line: &str) -> Timestamp {
    timestamp(&parsed(line)["clusterTime"]["$timestamp"])
}

/// Returns a cluster time in Extended JSON, a valid value for `--start`.
pub fn as_start(time: Timestamp) -> String {
    let Timestamp { time, increment } = time;
    format!(r#"{{"$timestamp":{{"t":{time},"i":{increment}}}}}"#)
}

/// Returns the cluster time of the checkpoint in a resume file.
#[track_caller]
pub fn saved_time(file: &Path) -> Timestamp {
    timestamp(&checkpoint(file)["time"])
}

/// Waits until the checkpoint in a resume file is at or after this time.
#[track_caller]
pub fn wait_saved_from(file: &Path, time: Timestamp) {
    let saved = poll(DEADLINE, || (saved_time(file) >= time).then_some(()));
    assert!(
        saved.is_some(),
        "the checkpoint in {} did not reach {time}: {}",
        file.display(),
        checkpoint(file)
    );
}

#[track_caller]
fn timestamp(value: &Value) -> Timestamp {
    let part = |name: &str| value[name].as_u64().and_then(|part| part.try_into().ok());
    match (part("t"), part("i")) {
        (Some(time), Some(increment)) => Timestamp { time, increment },
        _ => panic!("not a timestamp: {value}"),
    }
}

/// Parses a line or a file of JSON.
#[track_caller]
pub(crate) fn parsed(json: &str) -> Value {
    match serde_json::from_str(json) {
        Ok(value) => value,
        Err(error) => panic!("invalid JSON ({error}): {json}"),
    }
}
