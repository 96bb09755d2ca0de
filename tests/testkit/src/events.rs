//! What tests write, and what they find of it in the lines of `cswatch` and in its position file.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use mongodb::Collection;
use mongodb::bson::{Document, Timestamp};
use serde_json::Value;

use crate::deadline::{DEADLINE, poll};
use crate::load::insert_confirmed;
use crate::runtime::block_on;

/// Inserts `{_id: id}` for each, one write after the other, each confirmed by a majority.
#[track_caller]
pub fn insert(coll: &Collection<Document>, ids: impl IntoIterator<Item = i32>) {
    for id in ids {
        block_on(insert_confirmed(coll, id)).expect("an insert");
    }
}

/// An event in short: its kind, and the `_id` of its document in Extended JSON, an int32 as a bare
/// number. `insert 1`, `drop`.
#[track_caller]
pub fn brief(line: &str) -> String {
    let event = parsed(line);
    let kind = event["operationType"].as_str().expect("a kind of event");
    match &event["documentKey"]["_id"] {
        Value::Null => kind.to_owned(),
        id => match id["$numberInt"].as_str() {
            Some(number) => format!("{kind} {number}"),
            None => format!("{kind} {id}"),
        },
    }
}

/// [`brief`] of each line.
#[track_caller]
pub fn briefs(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| brief(line)).collect()
}

/// What [`briefs`] of the inserts of these are.
pub fn inserts(ids: impl IntoIterator<Item = impl Display>) -> Vec<String> {
    ids.into_iter().map(|id| format!("insert {id}")).collect()
}

/// The resume token of a line, as text: key order counts.
#[track_caller]
pub fn token(line: &str) -> String {
    parsed(line)["_id"].to_string()
}

/// A position file, parsed.
#[track_caller]
pub fn position(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("a position file");
    parsed(&text)
}

/// The resume token in a position file, as text.
#[track_caller]
pub fn saved_token(file: &Path) -> String {
    position(file)["token"].to_string()
}

/// The cluster time of a line.
#[track_caller]
pub fn time(line: &str) -> Timestamp {
    timestamp(&parsed(line)["clusterTime"]["$timestamp"])
}

/// A cluster time in Extended JSON, as `--start` takes it.
pub fn as_start(time: Timestamp) -> String {
    let Timestamp { time, increment } = time;
    format!(r#"{{"$timestamp":{{"t":{time},"i":{increment}}}}}"#)
}

/// The time in a position file.
#[track_caller]
pub fn saved_time(file: &Path) -> Timestamp {
    timestamp(&position(file)["time"])
}

/// Waits until the position file holds a position at or after this time.
#[track_caller]
pub fn wait_saved_from(file: &Path, time: Timestamp) {
    let saved = poll(DEADLINE, || (saved_time(file) >= time).then_some(()));
    assert!(
        saved.is_some(),
        "{} did not come to {time}: {}",
        file.display(),
        position(file)
    );
}

#[track_caller]
fn timestamp(value: &Value) -> Timestamp {
    let part = |name: &str| value[name].as_u64().and_then(|part| part.try_into().ok());
    match (part("t"), part("i")) {
        (Some(time), Some(increment)) => Timestamp { time, increment },
        _ => panic!("no time: {value}"),
    }
}

/// Parses a line.
#[track_caller]
pub(crate) fn parsed(json: &str) -> Value {
    match serde_json::from_str(json) {
        Ok(value) => value,
        Err(error) => panic!("no JSON ({error}): {json}"),
    }
}
