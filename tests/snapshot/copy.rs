//! A copy of collections, made from lines: a snapshot, an insert or a replace is a whole document, an update changes fields, a delete removes.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use mongodb::Database;
use mongodb::bson::{Bson, Document};
use serde_json::Value;

use testkit::runtime::block_on;

/// Documents by the name of their collection and their `_id` in Extended JSON.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Copy(BTreeMap<(String, String), Document>);

impl Copy {
    /// Returns the documents that the server has in these collections.
    #[track_caller]
    pub(super) fn of(db: &Database, colls: &[&str]) -> Copy {
        let mut copy = Copy::default();
        for name in colls {
            let coll = db.collection::<Document>(name);
            let found: Vec<Document> =
                block_on(async { coll.find(Document::new()).await?.try_collect().await })
                    .expect("a find");
            for document in found {
                let id = id_of(&document);
                copy.0.insert(((*name).to_owned(), id), sorted(document));
            }
        }
        copy
    }

    /// Applies a line.
    #[track_caller]
    pub(super) fn apply(&mut self, line: &str) {
        let event = parsed(line);
        let kind = event.get_str("operationType").expect("an operation type");
        let coll = |field: &str| {
            let ns = event.get_document(field).expect("a namespace");
            ns.get_str("coll").expect("a collection").to_owned()
        };
        match kind {
            "snapshot" | "insert" | "replace" => {
                let document = event.get_document("fullDocument").expect("a document");
                self.0
                    .insert((coll("ns"), id_of(document)), sorted(document.clone()));
            }
            "update" => self.update((coll("ns"), key_of(&event)), &event),
            "delete" => {
                self.0.remove(&(coll("ns"), key_of(&event)));
            }
            "drop" => {
                let dropped = coll("ns");
                self.0.retain(|(coll, _), _| *coll != dropped);
            }
            "rename" => {
                let (from, to) = (coll("ns"), coll("to"));
                let all = std::mem::take(&mut self.0).into_iter();
                self.0 = all
                    .filter(|((coll, _), _)| *coll != to)
                    .map(|((coll, id), document)| match coll == from {
                        true => ((to.clone(), id), document),
                        false => ((coll, id), document),
                    })
                    .collect();
            }
            kind => panic!("unexpected: {kind}"),
        }
    }

    fn update(&mut self, key: (String, String), event: &Document) {
        match event.get("fullDocument") {
            Some(Bson::Document(document)) => {
                self.0.insert(key, sorted(document.clone()));
            }
            // Deleted since: an event follows.
            Some(_) => {}
            None => {
                let Some(document) = self.0.remove(&key) else {
                    return;
                };
                let mut document = Bson::Document(document);
                let change = event.get_document("updateDescription").expect("a change");
                for truncated in array(change, "truncatedArrays") {
                    let truncated = truncated.as_document().expect("an array");
                    let size = truncated.get_i32("newSize").expect("a size");
                    if let Some(Bson::Array(values)) =
                        at(&mut document, truncated.get_str("field").expect("a field"))
                    {
                        values.truncate(size.try_into().expect("a size"));
                    }
                }
                for removed in array(change, "removedFields") {
                    remove(&mut document, removed.as_str().expect("a field"));
                }
                for (path, value) in change.get_document("updatedFields").expect("fields") {
                    set(&mut document, path, value.clone());
                }
                let Bson::Document(document) = document else {
                    unreachable!("it was one")
                };
                self.0.insert(key, sorted(document));
            }
        }
    }

    /// Fails, and shows the first difference, unless both are the same.
    #[track_caller]
    pub(super) fn expect(&self, expected: &Copy, context: &str) {
        for (key, document) in &expected.0 {
            let copied = self.0.get(key);
            let shown: String = format!("{copied:?}, not {document:?}")
                .chars()
                .take(500)
                .collect();
            assert!(copied == Some(document), "{key:?} is {shown}\n{context}");
        }
        for key in self.0.keys() {
            assert!(
                expected.0.contains_key(key),
                "{key:?} exists no more {context}"
            );
        }
    }
}

/// Parses a line of canonical Extended JSON.
#[track_caller]
pub(super) fn parsed(line: &str) -> Document {
    let value: Value = serde_json::from_str(line).expect("JSON");
    match Bson::try_from(value) {
        Ok(Bson::Document(document)) => document,
        other => panic!("no document: {other:?}"),
    }
}

/// Returns whether a line is one of a snapshot.
pub(super) fn is_snapshot(line: &Document) -> bool {
    line.get_str("operationType")
        .is_ok_and(|kind| kind == "snapshot")
}

fn id_of(document: &Document) -> String {
    document
        .get("_id")
        .expect("an _id")
        .clone()
        .into_canonical_extjson()
        .to_string()
}

fn key_of(event: &Document) -> String {
    id_of(event.get_document("documentKey").expect("a documentKey"))
}

fn array<'a>(change: &'a Document, field: &str) -> &'a [Bson] {
    change.get_array(field).map_or(&[], Vec::as_slice)
}

/// Returns the value at a path; `None` if there is none.
fn at<'a>(value: &'a mut Bson, path: &str) -> Option<&'a mut Bson> {
    path.split('.').try_fold(value, |value, part| match value {
        Bson::Document(fields) => fields.get_mut(part),
        Bson::Array(values) => values.get_mut(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Returns the value that holds the last part of a path, and that part. `None` if a later event has changed what the path leads through.
fn holder<'a, 'p>(value: &'a mut Bson, path: &'p str) -> Option<(&'a mut Bson, &'p str)> {
    match path.rsplit_once('.') {
        Some((holder, last)) => Some((at(value, holder)?, last)),
        None => Some((value, path)),
    }
}

fn set(document: &mut Bson, path: &str, value: Bson) {
    match holder(document, path) {
        Some((Bson::Document(fields), name)) => {
            fields.insert(name, value);
        }
        Some((Bson::Array(values), index)) => {
            let Ok(index) = index.parse::<usize>() else {
                return;
            };
            if values.len() <= index {
                values.resize(index + 1, Bson::Null);
            }
            values[index] = value;
        }
        _ => {}
    }
}

fn remove(document: &mut Bson, path: &str) {
    if let Some((Bson::Document(fields), name)) = holder(document, path) {
        fields.remove(name);
    }
}

/// Returns the document with its fields sorted: an update does not report their order.
fn sorted(document: Document) -> Document {
    let mut fields: Vec<(String, Bson)> = document
        .into_iter()
        .map(|(name, value)| match value {
            Bson::Document(fields) => (name, Bson::Document(sorted(fields))),
            value => (name, value),
        })
        .collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields.into_iter().collect()
}
