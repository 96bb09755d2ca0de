//! Comparison of what a command prints with what a page shows. Values that differ from run to run are compared by their type only.

use serde_json::Value;

/// Fields of an event that differ from run to run.
const VOLATILE: [&str; 3] = ["_id", "clusterTime", "wallTime"];

/// Fails unless stdout is what the page shows.
#[track_caller]
pub(super) fn assert_shown(command: &str, shown: &[&str], printed: &[String]) {
    let printed: Vec<&str> = printed.iter().map(String::as_str).collect();
    let context = || format!("{command}\n{}", printed.join("\n"));
    assert_eq!(printed.len(), shown.len(), "lines of {}", context());
    for (shown, printed) in shown.iter().zip(&printed) {
        if let (Ok(Value::Object(shown)), Ok(Value::Object(printed))) =
            (serde_json::from_str(shown), serde_json::from_str(printed))
        {
            let keys = |object: &serde_json::Map<String, Value>| -> Vec<String> {
                object.keys().cloned().collect()
            };
            assert_eq!(keys(&printed), keys(&shown), "{}", context());
            for (key, value) in &shown {
                if VOLATILE.contains(&key.as_str()) {
                    assert!(is_alike(value, &printed[key]), "{key} in {}", context());
                } else {
                    assert_eq!(&printed[key], value, "{key} in {}", context());
                }
            }
        } else {
            assert_eq!(stable(printed), stable(shown), "{}", context());
        }
    }
}

/// Fails unless stderr has the messages that the page shows, in their order.
#[track_caller]
pub(super) fn assert_reported(command: &str, shown: &[&str], stderr: &str) {
    let mut lines = stderr.lines();
    for message in shown {
        // A message in a file begins with its time.
        let expected = stable(message);
        let found = lines.any(|line| stable(line).ends_with(&expected));
        assert!(found, "{command} does not print {message}\n{stderr}");
    }
}

/// Returns whether two values have the same types and keys.
fn is_alike(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|((left_key, left), (right_key, right))| {
                        left_key == right_key && is_alike(left, right)
                    })
        }
        _ => std::mem::discriminant(left) == std::mem::discriminant(right),
    }
}

/// Returns the words of a line, with one `*` for successive words that differ from run to run: absolute paths, identifiers, times,
/// durations, versions and addresses.
fn stable(line: &str) -> Vec<&str> {
    let mut words: Vec<&str> = line
        .split_whitespace()
        .map(|word| if is_volatile(word) { "*" } else { word })
        .collect();
    words.dedup_by(|left, right| *left == "*" && *right == "*");
    words
}

fn is_volatile(word: &str) -> bool {
    let word = word.trim_matches(['(', ')', ':', ',']);
    let has_digit = word.contains(|symbol: char| symbol.is_ascii_digit());
    let is_uuid = word.len() == 36 && word.split('-').count() == 5;
    let is_duration = word.starts_with(|symbol: char| symbol.is_ascii_digit())
        && word.ends_with(['d', 'h', 'm', 's']);
    word.starts_with('/') || is_uuid || is_duration || has_digit && word.contains(['.', ':'])
}
