//! Filter pipeline: aggregation stages from the filter flags, and the rules for stages in a change stream.

use bson::{Bson, Document, doc};

use super::OperationType;
use super::namespaces::{Namespaces, collections_stage};
use super::value;
use crate::error::Failure;

/// Stages that may follow `$changeStream`
/// (<https://www.mongodb.com/docs/manual/changeStreams/#modify-change-stream-output>).
const ALLOWED_STAGES: [&str; 8] = [
    "$match",
    "$project",
    "$addFields",
    "$set",
    "$unset",
    "$replaceRoot",
    "$replaceWith",
    "$redact",
];

/// Stage that splits events above 16 MB into fragments (MongoDB 6.0.9 and 7.0). cswatch adds it when an event needs it.
pub(crate) const SPLIT_STAGE: &str = "$changeStreamSplitLargeEvent";

/// The field of an event with the `_id` of its document.
pub(super) const EVENT_KEY: &str = "documentKey._id";

/// Values of the filter flags.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Filters<'a> {
    /// The database and the collections to keep from its stream; `None` when the scope of the stream is enough.
    pub(crate) collections: Option<(&'a str, &'a [String])>,
    /// `--ns-include` and `--ns-exclude`; `None` keeps every namespace.
    pub(crate) namespaces: Option<&'a Namespaces>,
    /// `--op`.
    pub(crate) op: &'a [String],
    /// `--expanded-events`.
    pub(crate) expanded_events: bool,
    /// `--id`, as typed.
    pub(crate) id: &'a [String],
    /// `--match`, as typed.
    pub(crate) matches: &'a [String],
    /// The name of `--pipeline` in messages, and its text (the content of FILE for `@FILE`).
    pub(crate) pipeline: Option<(&'a str, &'a str)>,
}

impl Filters<'_> {
    /// Returns the stages in the order in which they run: collections or namespaces, `--op`, `--id`, `--match`, `--pipeline`. Before each
    /// stage stands the flag that it came from, for messages.
    ///
    /// # Errors
    /// Exit code 2 when a value is invalid. The message names the flag, and the stage with its position.
    pub(crate) fn stages(&self) -> Result<Vec<(String, Document)>, Failure> {
        let mut stages = Vec::new();
        let mut push = |origin: &str, stage| stages.push((origin.to_owned(), stage));
        if let Some((db, colls)) = self.collections {
            push("--coll", collections_stage(db, colls));
        }
        if let Some(namespaces) = self.namespaces.filter(|namespaces| !namespaces.is_every()) {
            push(namespaces.flags(), namespaces.stage());
        }
        if !self.op.is_empty() {
            let op: Vec<String> = self.op.iter().map(|kind| kind.trim().to_owned()).collect();
            ensure_known_operation_types(&op, self.expanded_events)?;
            push("--op", doc! { "$match": { "operationType": any_of(&op) } });
        }
        if !self.id.is_empty() {
            let ids = self
                .id
                .iter()
                .map(|text| value::id("--id", text))
                .collect::<Result<Vec<_>, _>>()?;
            if let Some(regex) = ids
                .iter()
                .find(|id| matches!(id, Bson::RegularExpression(_)))
            {
                return Err(Failure::usage(format!(
                    "--id: {regex} is a regular expression, not an _id"
                ))
                .hint("use --match '{\"documentKey._id\":...}' to match a regular expression"));
            }
            push("--id", doc! { "$match": { EVENT_KEY: { "$in": ids } } });
        }
        for (index, text) in self.matches.iter().enumerate() {
            let origin = match self.matches.len() {
                1 => "--match".to_owned(),
                several => format!("--match, {} of {several}", index + 1),
            };
            push(
                &origin,
                doc! { "$match": value::document("--match", text)? },
            );
        }
        if let Some((flag, text)) = self.pipeline {
            for (index, stage) in stages_from_text(flag, text)?.into_iter().enumerate() {
                push(&format!("stage {} of {flag}", index + 1), stage);
            }
        }
        Ok(stages)
    }
}

fn any_of(values: &[String]) -> Bson {
    match values {
        [only] => Bson::String(only.clone()),
        several => doc! { "$in": several }.into(),
    }
}

fn ensure_known_operation_types(op: &[String], expanded_events: bool) -> Result<(), Failure> {
    for kind in op {
        if kind.is_empty() {
            return Err(Failure::usage("--op: empty operation type")
                .hint("separate the types with commas, as in --op insert,delete"));
        }
        match OperationType::index_of(kind).map(|index| OperationType::ALL[index]) {
            Some(known) if known.is_expanded && !expanded_events => {
                return Err(Failure::usage(format!(
                    "--op {kind}: the server sends this type only with --expanded-events"
                ))
                .hint("add --expanded-events"));
            }
            Some(_) => {}
            None => return Err(unknown_operation_type(kind)),
        }
    }
    Ok(())
}

/// Returns the failure for an unknown type. Suggests the known one if `kind` is a plural, a past tense or in another case.
fn unknown_operation_type(kind: &str) -> Failure {
    let names = OperationType::ALL.map(|known| known.name);
    let similar = names.iter().find(|known| {
        ["", "s", "d", "ed", "ped"]
            .iter()
            .any(|ending| format!("{known}{ending}").eq_ignore_ascii_case(kind.trim()))
    });
    let hint = match similar {
        Some(known) => format!("use --op {known}"),
        None => format!(
            "use one of {}; for any other type use --match '{{\"operationType\":\"{kind}\"}}'",
            names.join(", ")
        ),
    };
    Failure::usage(format!("--op: '{kind}' is not an operation type")).hint(hint)
}

/// Parses the stages of `--pipeline`, and checks that a change stream allows them.
fn stages_from_text(flag: &str, text: &str) -> Result<Vec<Document>, Failure> {
    let Bson::Array(values) = value::value(flag, text)? else {
        return Err(
            Failure::usage(format!("{flag}: must be an array of stages")).hint(SYNTAX_HINT),
        );
    };
    let mut stages = Vec::with_capacity(values.len());
    let count = values.len();
    for (index, value) in values.into_iter().enumerate() {
        let label = format!("{flag}: stage {} of {count}", index + 1);
        let stage = Stage::from_value(label, value)?;
        if stage.name == SPLIT_STAGE {
            return Err(stage
                .refused("is added by cswatch when an event needs it")
                .hint("remove the stage"));
        }
        if !ALLOWED_STAGES.contains(&stage.name.as_str()) {
            let similar = ALLOWED_STAGES.iter().find(|allowed| {
                allowed[1..].eq_ignore_ascii_case(stage.name.trim_start_matches('$'))
            });
            return Err(match similar {
                Some(allowed) => stage
                    .refused("is not a stage")
                    .hint(format!("write {allowed}")),
                None => stage
                    .refused("is not allowed in a change stream")
                    .hint(format!("use only {}", ALLOWED_STAGES.join(", "))),
            });
        }
        if stage.has_changed_id() {
            return Err(stage
                .refused("drops or changes _id, which is the event's resume token")
                .hint("keep _id as the server sent it"));
        }
        stages.push(stage.document);
    }
    Ok(stages)
}

/// Hint for a `--pipeline` that is not an array of stages.
const SYNTAX_HINT: &str = "write '[{\"$match\":{...}},{\"$unset\":...}]'";

/// One stage of `--pipeline`.
struct Stage {
    /// The flag and the position of the stage in it, for messages.
    label: String,
    /// Its only key.
    name: String,
    /// The whole stage.
    document: Document,
}

impl Stage {
    fn from_value(label: String, value: Bson) -> Result<Self, Failure> {
        let Bson::Document(document) = value else {
            return Err(Failure::usage(format!("{label} is not an object")).hint(SYNTAX_HINT));
        };
        let mut keys = document.keys();
        let (Some(name), None) = (keys.next(), keys.next()) else {
            let count = document.len();
            return Err(Failure::usage(format!(
                "{label} has {count} keys instead of one, the name of the stage"
            ))
            .hint(SYNTAX_HINT));
        };
        Ok(Self {
            name: name.clone(),
            document,
            label,
        })
    }

    fn refused(&self, reason: &str) -> Failure {
        Failure::usage(format!("{} ({}) {reason}", self.label, self.name))
    }

    /// Returns whether the stage drops or rewrites `_id`, as far as that is visible without running it. The server detects the rest at
    /// the first event.
    fn has_changed_id(&self) -> bool {
        let body = self.document.get(&self.name);
        match (self.name.as_str(), body) {
            ("$project" | "$addFields" | "$set", Some(Bson::Document(fields))) => {
                fields.iter().any(|(path, value)| {
                    is_id_path(path) && !(path == "_id" && is_id_kept(&self.name, value))
                })
            }
            ("$unset", Some(Bson::String(path))) => is_id_path(path),
            ("$unset", Some(Bson::Array(paths))) => paths
                .iter()
                .any(|path| path.as_str().is_some_and(is_id_path)),
            ("$replaceWith", Some(root)) => is_root_without_id(root),
            ("$replaceRoot", Some(Bson::Document(arguments))) => {
                arguments.get("newRoot").is_some_and(is_root_without_id)
            }
            _ => false,
        }
    }
}

fn is_id_path(path: &str) -> bool {
    path == "_id" || path.starts_with("_id.")
}

/// Returns whether `_id: value` in a `$project`, a `$set` or a literal new root keeps the `_id` unchanged.
fn is_id_kept(stage: &str, value: &Bson) -> bool {
    let included = match value {
        Bson::Boolean(included) => *included,
        Bson::Int32(number) => *number != 0,
        Bson::Int64(number) => *number != 0,
        Bson::Double(number) => *number != 0.0,
        _ => false,
    };
    (included && stage == "$project") || matches!(value.as_str(), Some("$_id" | "$$ROOT._id"))
}

/// Returns whether a new root certainly lacks the `_id` of the event. An expression (`$mergeObjects`, ...) may keep it.
fn is_root_without_id(root: &Bson) -> bool {
    match root {
        Bson::String(path) => !matches!(path.as_str(), "$$ROOT" | "$$CURRENT"),
        Bson::Document(fields) => {
            let is_expression = fields.keys().any(|key| key.starts_with('$'));
            !is_expression
                && !fields
                    .get("_id")
                    .is_some_and(|value| is_id_kept("$replaceWith", value))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(text: &str) -> Result<Vec<(String, Document)>, Failure> {
        Filters {
            pipeline: Some(("--pipeline", text)),
            ..Filters::default()
        }
        .stages()
    }

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn runs_filters_in_their_documented_order() {
        let (origins, stages): (Vec<_>, Vec<_>) = Filters {
            collections: Some(("shop", &strings(&["a", "b"]))),
            namespaces: None,
            op: &strings(&[" insert"]),
            expanded_events: false,
            id: &strings(&["7", "\"x\""]),
            matches: &strings(&[r#"{"a":1}"#, r#"{"b":2}"#]),
            pipeline: Some(("--pipeline", r#"[{"$set":{"x":1}}]"#)),
        }
        .stages()
        .unwrap()
        .into_iter()
        .unzip();
        assert_eq!(
            origins,
            [
                "--coll",
                "--op",
                "--id",
                "--match, 1 of 2",
                "--match, 2 of 2",
                "stage 1 of --pipeline",
            ]
        );
        assert_eq!(
            stages,
            [
                collections_stage("shop", &strings(&["a", "b"])),
                doc! { "$match": { "operationType": "insert" } },
                doc! { "$match": { "documentKey._id": { "$in": [7, "x"] } } },
                doc! { "$match": { "a": 1 } },
                doc! { "$match": { "b": 2 } },
                doc! { "$set": { "x": 1 } },
            ]
        );
    }

    #[test]
    fn suggests_a_similar_operation_type() {
        let op = |kind: &str, expanded_events| {
            Filters {
                op: &strings(&[kind]),
                expanded_events,
                ..Filters::default()
            }
            .stages()
        };
        let refused = |kind: &str| op(kind, false).unwrap_err().hint;
        assert!(refused("inserts").contains("use --op insert"));
        assert!(refused("Delete").contains("use --op delete"));
        assert!(refused("dropdatabase").contains("use --op dropDatabase"));
        assert!(refused("nonsense").contains("--match"));
        assert!(refused("createIndexes").contains("--expanded-events"));
        for OperationType { name, is_expanded } in OperationType::ALL {
            assert!(op(name, true).is_ok(), "{name}");
            assert_eq!(op(name, false).is_err(), is_expanded, "{name}");
        }
    }

    #[test]
    fn refuses_stages_that_change_streams_do_not_allow() {
        for stage in [
            "$group",
            "$sort",
            "$limit",
            "$out",
            "$lookup",
            "$changeStream",
        ] {
            let failure = pipeline(&format!(r#"[{{"$match":{{}}}},{{"{stage}":{{}}}}]"#))
                .unwrap_err()
                .to_string();
            assert!(
                failure.contains(&format!("--pipeline: stage 2 of 2 ({stage})")),
                "{failure}"
            );
        }
        assert!(pipeline(r#"{"$match":{}}"#).is_err());
        assert!(pipeline(r#"[{"$match":{},"$set":{}}]"#).is_err());
        assert!(pipeline(r#"["$match"]"#).is_err());
    }

    #[test]
    fn refuses_a_pipeline_that_drops_or_changes_the_id() {
        for text in [
            r#"[{"$project":{"_id":0}}]"#,
            r#"[{"$project":{"_id":false,"ns":1}}]"#,
            r#"[{"$project":{"_id._data":0}}]"#,
            r#"[{"$project":{"_id":"$documentKey._id"}}]"#,
            r#"[{"$unset":"_id"}]"#,
            r#"[{"$unset":["ns","_id._data"]}]"#,
            r#"[{"$set":{"_id":1}}]"#,
            r#"[{"$addFields":{"_id.x":1}}]"#,
            r#"[{"$replaceRoot":{"newRoot":"$fullDocument"}}]"#,
            r#"[{"$replaceWith":{"ns":"$ns"}}]"#,
        ] {
            let failure = pipeline(text).unwrap_err();
            assert!(failure.message.contains("_id"), "{text}: {failure}");
        }
    }

    #[test]
    fn accepts_a_pipeline_that_keeps_the_id() {
        for text in [
            r#"[]"#,
            r#"[{"$project":{"_id":1,"ns":1}}]"#,
            r#"[{"$project":{"ns":0}}]"#,
            r#"[{"$set":{"_id":"$_id","x":1}}]"#,
            r#"[{"$unset":["fullDocument.secret"]}]"#,
            r#"[{"$replaceWith":{"_id":"$_id","ns":"$ns"}}]"#,
            r#"[{"$replaceRoot":{"newRoot":{"$mergeObjects":["$$ROOT",{"x":1}]}}}]"#,
            r#"[{"$redact":"$$KEEP"}]"#,
            r#"[{"$match":{"operationType":"insert"}},{"$addFields":{"seen":true}}]"#,
        ] {
            assert!(pipeline(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_a_regular_expression_as_an_id() {
        let regex = strings(&[r#"{"$regularExpression":{"pattern":"a","options":""}}"#]);
        let filters = Filters {
            id: &regex,
            ..Filters::default()
        };
        assert!(filters.stages().is_err());
    }
}
