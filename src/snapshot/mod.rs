//! Progress of a snapshot: how far the collections were read, as it is sent to the sink, saved in a checkpoint and recovered from a line.
//! Knows no server and no files.

pub(crate) mod key;
mod lines;

use bson::raw::{CStr, RawBsonRef, cstr};
use bson::{Bson, RawDocument, RawDocumentBuf, Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::extjson;
use crate::token::ResumeToken;

pub(crate) use self::lines::{Documents, LineForm, LineWriter, Lines};

/// The value of `operationType` in a line of a snapshot. No server sends it.
pub(crate) const OPERATION_TYPE: &str = "snapshot";

/// The field of a line's `_id` that holds the line's place, if the pipeline removed or changed the fields that show it.
pub(crate) const PLACE_FIELD: &CStr = cstr!("snapshot");

/// How far a snapshot has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SnapshotProgress {
    /// No document was printed yet.
    Begun,
    /// Everything was printed.
    Finished,
    /// Everything up to this position was printed.
    #[serde(untagged)]
    At(ScanPosition),
}

/// A position in the scan of the collections: they are scanned in the order of their UUIDs, and each one in the order of `_id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScanPosition {
    /// The collection.
    #[serde(flatten)]
    pub(crate) collection: Collection,
    /// The `documentKey` of the last document.
    #[serde(with = "base64_bson")]
    pub(crate) after: RawDocumentBuf,
    /// An earlier position, for a collection whose UUID is unknown: if it was renamed or dropped meanwhile, its place in the order is too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) earlier: Option<Box<ScanPosition>>,
}

/// A collection to scan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Collection {
    /// The UUID, which a rename keeps; `None` if it is unknown. It comes first because it decides the order.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "uuid_text")]
    pub(crate) uuid: Option<Uuid>,
    /// The database.
    pub(crate) db: String,
    /// The name of the collection.
    pub(crate) coll: String,
}

impl SnapshotProgress {
    /// Returns the progress as one line of JSON, which [`Self::parse`] reads.
    #[cfg_attr(not(feature = "nats"), cfg(test))]
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses what [`Self::to_text`] returned; `None` if it is something else.
    #[cfg_attr(not(feature = "nats"), cfg(test))]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl std::fmt::Display for Collection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.db, self.coll)
    }
}

/// Lines of a snapshot, from one collection, in the order of `_id`.
#[derive(Debug)]
pub(crate) struct SnapshotChunk {
    /// The lines, which have the shape of events.
    pub(crate) lines: Lines,
    /// The token of the stream when they were read.
    pub(crate) token: ResumeToken,
    /// The progress after all of them, which names the collection that they are from.
    pub(crate) progress: SnapshotProgress,
    /// The time of the deployment when they were read: no later event is in them.
    pub(crate) time: Timestamp,
}

impl SnapshotChunk {
    /// Returns the progress after `line`, one of the lines; `None` if it has no key.
    pub(crate) fn progress_after(&self, line: &RawDocument) -> Option<SnapshotProgress> {
        let SnapshotProgress::At(end) = &self.progress else {
            return None;
        };
        Some(SnapshotProgress::At(ScanPosition {
            collection: end.collection.clone(),
            after: key_of(line)?.to_owned(),
            earlier: None,
        }))
    }
}

/// Returns the key of the document that `line` is about.
fn key_of(line: &RawDocument) -> Option<&RawDocument> {
    let place = line
        .get_document("_id")
        .and_then(|id| id.get_document(PLACE_FIELD.as_str()));
    let holder = place.unwrap_or(line);
    match holder.get("documentKey") {
        Ok(Some(RawBsonRef::Document(key))) => Some(key),
        _ => None,
    }
}

/// What shows the place of a line of a snapshot, as it is in the line.
#[derive(Debug)]
pub(crate) struct LinePlace {
    ns: Value,
    document_key: Value,
}

impl LinePlace {
    /// Returns the place that a line with these fields shows, and leaves the resume token in its `_id`; `None` if the line is an event.
    pub(crate) fn take(
        id: &mut Value,
        operation_type: Option<&Value>,
        ns: Option<Value>,
        document_key: Option<Value>,
    ) -> Option<Self> {
        let fields = id.as_object_mut();
        if let Some(mut place) = fields.and_then(|id| id.remove(PLACE_FIELD.as_str())) {
            return Some(Self {
                document_key: place["documentKey"].take(),
                ns: place,
            });
        }
        if operation_type.and_then(Value::as_str) != Some(OPERATION_TYPE) {
            return None;
        }
        Some(Self {
            ns: ns.unwrap_or_default(),
            document_key: document_key.unwrap_or_default(),
        })
    }

    /// Returns the position after the line; `None` if the key cannot be read exactly as it is on the server. The UUID of the collection is
    /// not in the line.
    pub(crate) fn position(&self) -> Option<ScanPosition> {
        let name = |field: &str| Some(self.ns.get(field)?.as_str()?.to_owned());
        let Bson::Document(key) = Bson::try_from(self.document_key.clone()).ok()? else {
            return None;
        };
        let after = RawDocumentBuf::try_from(&key).ok()?;
        let is_as_printed = |mode| {
            let text = extjson::to_text(&after, mode).ok()?;
            let printed: Value = serde_json::from_str(&text).ok()?;
            // It may stand for text that is invalid UTF-8.
            Some(printed == self.document_key && !text.contains('\u{fffd}'))
        };
        let is_exact = [extjson::Mode::Canonical, extjson::Mode::Relaxed]
            .into_iter()
            .any(|mode| is_as_printed(mode) == Some(true));
        (is_exact && key.contains_key("_id")).then_some(ScanPosition {
            collection: Collection {
                uuid: None,
                db: name("db")?,
                coll: name("coll")?,
            },
            after,
            earlier: None,
        })
    }
}

impl SnapshotProgress {
    /// Moves on to `position`, which was recovered from a line that was printed after this progress was saved.
    pub(crate) fn move_to(&mut self, mut position: ScanPosition) {
        if let Self::At(saved) = self {
            let (old, new) = (&saved.collection, &mut position.collection);
            if (&old.db, &old.coll) == (&new.db, &new.coll) {
                new.uuid = old.uuid;
                position.earlier = saved.earlier.take();
            } else {
                position.earlier = Some(Box::new(saved.clone()));
            }
        }
        *self = Self::At(position);
    }
}

/// A BSON document as base64 in JSON. Extended JSON would not hold every document exactly.
mod base64_bson {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bson::RawDocumentBuf;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        document: &RawDocumentBuf,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(document.as_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<RawDocumentBuf, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        RawDocumentBuf::from_bytes(bytes).map_err(D::Error::custom)
    }
}

/// A UUID as text in JSON.
mod uuid_text {
    use bson::Uuid;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        uuid: &Option<Uuid>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        uuid.map(|uuid| uuid.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Uuid>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let parsed = text.map(Uuid::parse_str).transpose();
        parsed.map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn is_recovered_from_a_line_whose_key_is_exact() {
        let position = |key: &RawDocument, mode| {
            let key: Value = serde_json::from_str(&extjson::to_text(key, mode).unwrap()).unwrap();
            let ns = serde_json::json!({ "db": "shop", "coll": "orders" });
            let mut id = serde_json::json!({ "_data": "82" });
            let snapshot = Value::from(OPERATION_TYPE);
            let place = LinePlace::take(&mut id, Some(&snapshot), Some(ns), Some(key));
            place.unwrap().position()
        };
        for key in [
            rawdoc! { "_id": 1 },
            rawdoc! { "_id": 1.5 },
            rawdoc! { "_id": f64::NAN },
            rawdoc! { "_id": -0.0 },
            rawdoc! { "_id": { "a": 1, "b": "x" } },
            rawdoc! { "_id": bson::RawBson::MinKey },
            rawdoc! { "_id": bson::DateTime::from_millis(-1) },
            rawdoc! { "_id": bson::DateTime::MAX },
            rawdoc! { "_id": bson::oid::ObjectId::new() },
            rawdoc! { "_id": bson::Binary::from(Uuid::from_bytes([7; 16])) },
        ] {
            for mode in [extjson::Mode::Canonical, extjson::Mode::Relaxed] {
                let position = position(&key, mode).unwrap();
                assert_eq!(position.after.as_bytes(), key.as_bytes(), "{key:?}");
                assert_eq!(position.collection.coll, "orders");
            }
        }
        let long = rawdoc! { "_id": 1_i64 };
        let relaxed = position(&long, extjson::Mode::Relaxed).unwrap();
        // Equal for the server.
        assert_eq!(relaxed.after, rawdoc! { "_id": 1 });
        let replaced = rawdoc! { "_id": "\u{fffd}" };
        assert_eq!(position(&replaced, extjson::Mode::Canonical), None);
    }

    #[test]
    fn keeps_the_uuid_or_the_earlier_position_when_it_moves_to_a_recovered_one() {
        let position = |uuid, coll: &str, id: i32| ScanPosition {
            collection: Collection {
                uuid,
                db: "shop".to_owned(),
                coll: coll.to_owned(),
            },
            after: rawdoc! { "_id": id },
            earlier: None,
        };
        let uuid = Some(Uuid::from_bytes([7; 16]));
        let saved = position(uuid, "a", 1);
        let mut progress = SnapshotProgress::At(saved.clone());
        progress.move_to(position(None, "a", 2));
        assert_eq!(progress, SnapshotProgress::At(position(uuid, "a", 2)));
        progress.move_to(position(None, "b", 1));
        let mut expected = position(None, "b", 1);
        expected.earlier = Some(Box::new(position(uuid, "a", 2)));
        assert_eq!(progress, SnapshotProgress::At(expected.clone()));
        progress.move_to(position(None, "b", 2));
        expected.after = rawdoc! { "_id": 2 };
        assert_eq!(progress, SnapshotProgress::At(expected));
    }

    #[test]
    fn takes_the_place_out_of_an_id() {
        let mut id = serde_json::json!({
            "_data": "82",
            "snapshot": { "db": "shop", "coll": "orders", "documentKey": { "_id": 7 } },
        });
        let place = LinePlace::take(&mut id, None, None, None).unwrap();
        assert_eq!(id, serde_json::json!({ "_data": "82" }));
        assert_eq!(place.position().unwrap().after, rawdoc! { "_id": 7 });
        let insert = Value::from("insert");
        assert!(LinePlace::take(&mut id, Some(&insert), None, None).is_none());
    }

    #[test]
    fn is_the_same_after_it_was_text() {
        let position = |uuid| {
            SnapshotProgress::At(ScanPosition {
                collection: Collection {
                    uuid,
                    db: "shop".to_owned(),
                    coll: "a \"b\"\n".to_owned(),
                },
                after: rawdoc! { "_id": { "a": f64::NAN, "b": "\u{fffd}" } },
                earlier: None,
            })
        };
        for progress in [
            SnapshotProgress::Begun,
            SnapshotProgress::Finished,
            position(None),
            position(Some(Uuid::from_bytes([7; 16]))),
        ] {
            let text = progress.to_text();
            let parsed = SnapshotProgress::parse(&text).expect(&text);
            assert_eq!(parsed.to_text(), text);
            assert!(!text.contains('\n'));
        }
        assert_eq!(
            SnapshotProgress::parse("\"begun\""),
            Some(SnapshotProgress::Begun)
        );
        assert_eq!(SnapshotProgress::parse("{}"), None);
    }
}
