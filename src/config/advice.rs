//! Advice about settings that are valid, but hardly what was meant: filters on fields that no event has, names that look like patterns.

use std::collections::BTreeSet;

use bson::{Bson, Document};

use super::Scope;

/// Top-level fields of an event (<https://www.mongodb.com/docs/manual/reference/change-events/>).
const EVENT_FIELDS: [&str; 19] = [
    "_id",
    "operationType",
    "clusterTime",
    "wallTime",
    "txnNumber",
    "lsid",
    "ns",
    "nsType",
    "to",
    "documentKey",
    "updateDescription",
    "fullDocument",
    "fullDocumentBeforeChange",
    "operationDescription",
    "stateBeforeChange",
    "collectionUUID",
    "splitEvent",
    "commitTimestamp",
    "reshardingUUID",
];

/// A remark about a setting, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advice {
    /// The remark.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) hint: String,
}

/// Returns the advice about a scope and the stages of its filter.
pub(crate) fn advice(scope: &Scope, stages: &[Document]) -> Vec<Advice> {
    let mut advice = about_names(scope);
    advice.extend(unknown_fields(stages).into_iter().map(|field| {
        Advice {
            message: format!("the filter tests the field {field}, which no event has"),
            hint: match EVENT_FIELDS
                .iter()
                .find(|known| known.eq_ignore_ascii_case(&field))
            {
                Some(known) => format!("did you mean {known}?"),
                None => format!("did you mean fullDocument.{field}?"),
            },
        }
    }));
    advice
}

/// Reports advice as warnings.
pub(crate) fn report(advice: &[Advice]) {
    for Advice { message, hint } in advice {
        tracing::warn!(hint, "{message}");
    }
}

fn about_names(scope: &Scope) -> Vec<Advice> {
    let is_pattern = |db: &str| db.contains('*');
    let about_db = match scope {
        Scope::Database(db) | Scope::Collection(db, _) | Scope::Collections(db, _)
            if is_pattern(db) =>
        {
            let coll = match scope {
                Scope::Collection(_, coll) => coll,
                _ => "*",
            };
            Some(Advice {
                message: format!("--db {db} is a name, not a pattern"),
                hint: format!("for a pattern, use --ns-include '{db}.{coll}'"),
            })
        }
        _ => None,
    };
    let (db, colls) = match scope {
        Scope::Collection(db, coll) => (db, std::slice::from_ref(coll)),
        Scope::Collections(db, colls) => (db, &**colls),
        Scope::Deployment | Scope::Database(_) => return about_db.into_iter().collect(),
    };
    let about = |coll: &String| {
        let (message, hint) = if let Some(name) = coll.strip_prefix(&format!("{db}.")) {
            (
                format!("--coll {coll} names the collection {db}.{coll}"),
                format!(
                    "if you mean {coll}, use --coll {name}: --coll takes the name without the database"
                ),
            )
        } else if coll.contains('*') {
            (
                format!("--coll {coll} is a name, not a pattern"),
                format!("for a pattern, use --ns-include '{db}.{coll}'"),
            )
        } else {
            return None;
        };
        Some(Advice { message, hint })
    };
    about_db
        .into_iter()
        .chain(colls.iter().filter_map(about))
        .collect()
}

/// Returns the fields that `$match` stages test, but neither an event nor an earlier stage has.
fn unknown_fields(stages: &[Document]) -> BTreeSet<String> {
    let mut known: BTreeSet<String> = EVENT_FIELDS.map(str::to_owned).into();
    let mut unknown = BTreeSet::new();
    for (name, body) in stages.iter().flatten() {
        match (name.as_str(), body) {
            ("$match", Bson::Document(query)) => {
                let mut paths = Vec::new();
                query_paths(query, &mut paths);
                let fields = paths.iter().map(|path| first_name(path));
                let fields = fields.filter(|field| is_plain(field) && !known.contains(*field));
                unknown.extend(fields.map(str::to_owned));
            }
            ("$addFields" | "$set" | "$project", Bson::Document(fields)) => {
                known.extend(fields.keys().map(|path| first_name(path).to_owned()));
            }
            // The event has other fields from here on.
            ("$replaceRoot" | "$replaceWith", _) => break,
            _ => {}
        }
    }
    unknown
}

fn first_name(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Collects the paths that a query tests.
fn query_paths(query: &Document, paths: &mut Vec<String>) {
    for (key, value) in query {
        match (key.as_str(), value) {
            ("$and" | "$or" | "$nor", Bson::Array(queries)) => {
                for query in queries.iter().filter_map(Bson::as_document) {
                    query_paths(query, paths);
                }
            }
            ("$expr", expression) => expression_paths(expression, paths),
            (key, _) if !key.starts_with('$') => paths.push(key.to_owned()),
            _ => {}
        }
    }
}

/// Collects the field paths in an expression. A variable starts with `$$`.
fn expression_paths(expression: &Bson, paths: &mut Vec<String>) {
    match expression {
        Bson::String(text) => {
            if let Some(path) = text.strip_prefix('$')
                && !path.starts_with('$')
            {
                paths.push(path.to_owned());
            }
        }
        Bson::Array(values) => values
            .iter()
            .for_each(|value| expression_paths(value, paths)),
        Bson::Document(fields) => {
            let operands = fields
                .iter()
                .filter(|(operator, _)| *operator != "$literal");
            operands.for_each(|(_, value)| expression_paths(value, paths));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn unknown(stages: &[Document]) -> Vec<String> {
        unknown_fields(stages).into_iter().collect()
    }

    #[test]
    fn finds_fields_that_no_event_has() {
        for query in [
            doc! { "status": 1 },
            doc! { "status.x": 1 },
            doc! { "$or": [{ "ns.coll": "a" }, { "$and": [{ "status": { "$gt": 1 } }] }] },
            doc! { "$nor": [{ "status": 1 }] },
            doc! { "$expr": { "$eq": ["$status", "$fullDocument.a"] } },
            doc! { "$expr": { "$let": { "vars": { "x": "$status.y" }, "in": { "$gt": ["$$x", 1] } } } },
        ] {
            assert_eq!(unknown(&[doc! { "$match": &query }]), ["status"], "{query}");
        }
    }

    #[test]
    fn accepts_fields_of_events_and_of_earlier_stages() {
        for stages in [
            vec![
                doc! { "$match": { "fullDocument.status": 1, "operationType": "insert", "$comment": "status" } },
            ],
            vec![doc! { "$match": { "$expr": { "$eq": ["$ns.db", { "$literal": "$status" }] } } }],
            vec![doc! { "$match": { "$expr": { "$eq": ["$$ROOT.ns.db", "$$CURRENT.to.db"] } } }],
            vec![
                doc! { "$addFields": { "status": 1 } },
                doc! { "$match": { "status": 1 } },
            ],
            vec![
                doc! { "$set": { "status.x": 1 } },
                doc! { "$match": { "status.x": 1 } },
            ],
            vec![
                doc! { "$project": { "status": "$ns" } },
                doc! { "$match": { "status": 1 } },
            ],
            vec![
                doc! { "$replaceWith": "$$ROOT" },
                doc! { "$match": { "status": 1 } },
            ],
        ] {
            assert_eq!(unknown(&stages), [""; 0], "{stages:?}");
        }
    }

    #[test]
    fn explains_a_field_in_another_case() {
        let found = advice(
            &Scope::Deployment,
            &[doc! { "$match": { "operationtype": 1 } }],
        );
        assert_eq!(found[0].hint, "did you mean operationType?");
    }
}
