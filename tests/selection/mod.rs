//! The events that a watch prints: its scope and its filters.

/// Remarks about scopes and filters that are hardly meant.
mod advice;
/// `--op`, `--match`, `--id` and `--pipeline`.
mod filters;
/// More collections than the server looks for in the oplog.
mod many_collections;
/// Patterns of namespaces, renames, and names in lists.
mod namespaces;
/// mongosh syntax and Extended JSON in the values of these flags.
mod pasted_filters;
/// The same on a real server.
mod pasted_on_a_server;
/// A deployment, a database, one collection or several.
mod scopes;

use serde_json::Value;

/// Returns the operation type and the namespace of each line, with the target of a rename.
fn summaries(lines: &[String]) -> Vec<String> {
    let summary = |line: &String| {
        let event: Value = serde_json::from_str(line).expect("a line is JSON");
        let parts = [
            &event["operationType"],
            &event["ns"]["coll"],
            &event["to"]["coll"],
        ];
        let words: Vec<&str> = parts.iter().filter_map(|part| part.as_str()).collect();
        words.join(" ")
    };
    lines.iter().map(summary).collect()
}
