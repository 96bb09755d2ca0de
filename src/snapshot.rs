//! Progress of a snapshot: how far the collections were read, as it is sent to the sink, saved in a checkpoint and recovered from a line.
//! Knows no server and no files.

use bson::raw::{CStr, RawBsonRef, cstr};
use bson::{RawDocument, RawDocumentBuf, Timestamp, Uuid};
use serde::{Deserialize, Serialize};

use crate::token::ResumeToken;

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
}

/// A collection to scan.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for a sink whose messages hold the progress")
    )]
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses what [`Self::to_text`] returned; `None` if it is something else.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for a sink whose messages hold the progress")
    )]
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
    pub(crate) lines: Vec<RawDocumentBuf>,
    /// The token of the stream when they were read.
    pub(crate) token: ResumeToken,
    /// The collection that they are from.
    pub(crate) collection: Collection,
    /// The progress after all of them.
    pub(crate) progress: SnapshotProgress,
    /// The time of the deployment when they were read: no later event is in them.
    pub(crate) time: Timestamp,
}

impl SnapshotChunk {
    /// Returns the progress after `line`, one of the lines; `None` if it has no key.
    pub(crate) fn progress_after(&self, line: &RawDocument) -> Option<SnapshotProgress> {
        Some(SnapshotProgress::At(ScanPosition {
            collection: self.collection.clone(),
            after: key_of(line)?.to_owned(),
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
    fn is_the_same_after_it_was_text() {
        let position = |uuid| {
            SnapshotProgress::At(ScanPosition {
                collection: Collection {
                    uuid,
                    db: "shop".to_owned(),
                    coll: "a \"b\"\n".to_owned(),
                },
                after: rawdoc! { "_id": { "a": f64::NAN, "b": "\u{fffd}" } },
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
