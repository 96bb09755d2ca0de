//! Subjects of messages: the namespace and type of an event, percent-encoded, and its partition.

use bson::RawDocument;
use bson::raw::RawBsonRef;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is encoded in a name: everything that has a meaning in a subject, and everything that is not readable on every terminal.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// What stands for a name that an event does not have.
const NONE: &str = "_";

/// A collection may have the name that stands for none. It is encoded too, so that every subject has one meaning.
const ENCODED_NONE: &str = "%5F";

/// The parts of an event that its subject is made of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Parts<'a> {
    db: Option<&'a str>,
    coll: Option<&'a str>,
    operation_type: Option<&'a str>,
    document_key: Option<&'a RawDocument>,
}

impl<'a> Parts<'a> {
    /// Returns the parts of `event`. A pipeline may have removed any of them, or replaced them by other values.
    pub(super) fn of(event: &'a RawDocument) -> Self {
        let mut parts = Self::default();
        for element in event.iter_elements().flatten() {
            let name = element.key().as_str();
            if !["operationType", "ns", "documentKey"].contains(&name) {
                continue;
            }
            match (name, element.value()) {
                ("operationType", Ok(RawBsonRef::String(name))) => {
                    parts.operation_type = Some(name);
                }
                ("ns", Ok(RawBsonRef::Document(ns))) => {
                    parts.db = ns.get_str("db").ok();
                    parts.coll = ns.get_str("coll").ok();
                }
                ("documentKey", Ok(RawBsonRef::Document(key))) => parts.document_key = Some(key),
                _ => {}
            }
        }
        parts
    }

    /// Returns the operation type.
    pub(super) fn operation_type(&self) -> Option<&'a str> {
        self.operation_type
    }

    /// Appends the subject below `prefix` to `subject`, with a partition below `partitions`.
    pub(super) fn append_subject(
        &self,
        prefix: &str,
        partitions: Option<u16>,
        subject: &mut String,
    ) {
        subject.push_str(prefix);
        for name in [self.db, self.coll, self.operation_type] {
            subject.push('.');
            match name {
                None => subject.push_str(NONE),
                Some(NONE) => subject.push_str(ENCODED_NONE),
                // No token of a subject is empty.
                Some("") => subject.push('%'),
                Some(name) => subject.extend(utf8_percent_encode(name, ENCODED)),
            }
        }
        if let Some(partitions) = partitions {
            subject.push('.');
            let partition = self.partition(partitions);
            subject.push_str(itoa::Buffer::new().format(partition));
        }
    }

    /// Returns the partition of the document: FNV-1a (64 bits) of the BSON of its key, modulo `partitions`; 0 without a key.
    fn partition(&self, partitions: u16) -> u64 {
        use std::hash::Hasher as _;
        let Some(key) = self.document_key else {
            return 0;
        };
        let mut hasher = fnv::FnvHasher::default();
        hasher.write(key.as_bytes());
        hasher.finish() % u64::from(partitions)
    }
}

#[cfg(test)]
mod tests {
    use bson::{doc, oid::ObjectId, rawdoc};

    use super::*;

    /// Returns the subject of an event.
    fn subject_of(event: &RawDocument, prefix: &str, partitions: Option<u16>) -> String {
        let mut subject = String::new();
        Parts::of(event).append_subject(prefix, partitions, &mut subject);
        subject
    }

    fn subject(db: &str, coll: &str) -> String {
        let event =
            rawdoc! { "_id": {}, "operationType": "insert", "ns": { "db": db, "coll": coll } };
        subject_of(&event, "cswatch", None)
    }

    #[test]
    fn encodes_what_has_a_meaning_in_a_subject() {
        for (coll, encoded) in [
            ("orders", "orders"),
            ("order-items_2", "order-items_2"),
            ("a.b", "a%2Eb"),
            ("*", "%2A"),
            (">", "%3E"),
            ("a b", "a%20b"),
            ("a\tb\r\nc", "a%09b%0D%0Ac"),
            ("\u{7f}\u{1}", "%7F%01"),
            ("100%", "100%25"),
            ("%2E", "%252E"),
            ("_", "%5F"),
            ("%5F", "%255F"),
            ("__", "__"),
            ("é\u{202e}", "%C3%A9%E2%80%AE"),
            ("", "%"),
            ("$cmd", "%24cmd"),
        ] {
            assert_eq!(
                subject("shop", coll),
                format!("cswatch.shop.{encoded}.insert")
            );
            assert_eq!(subject(coll, "a"), format!("cswatch.{encoded}.a.insert"));
        }
    }

    #[test]
    fn has_an_underscore_for_each_name_that_the_event_does_not_have() {
        for (event, expected) in [
            (
                doc! { "_id": {}, "operationType": "invalidate" },
                "p.q._._.invalidate",
            ),
            (
                doc! { "_id": {}, "operationType": "dropDatabase", "ns": { "db": "shop" } },
                "p.q.shop._.dropDatabase",
            ),
            (doc! { "_id": {} }, "p.q._._._"),
            (
                doc! { "_id": {}, "operationType": 5, "ns": "shop.orders" },
                "p.q._._._",
            ),
            (
                doc! { "_id": {}, "operationType": "new.type", "ns": { "db": 1, "coll": "c" } },
                "p.q._.c.new%2Etype",
            ),
        ] {
            let event = bson::RawDocumentBuf::try_from(&event).unwrap();
            assert_eq!(subject_of(&event, "p.q", None), expected);
        }
    }

    #[test]
    fn partitions_by_the_document_key_alone() {
        let event = |op: &str, id: ObjectId| {
            rawdoc! { "_id": {}, "operationType": op, "documentKey": { "_id": id } }
        };
        let ids: Vec<_> = (0..200_u8)
            .map(|number| ObjectId::from_bytes([number; 12]))
            .collect();
        let mut counts = [0; 3];
        for id in &ids {
            let partition = Parts::of(&event("insert", *id)).partition(3);
            assert_eq!(Parts::of(&event("delete", *id)).partition(3), partition);
            counts[usize::try_from(partition).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| *count > 30), "{counts:?}");
        let event =
            rawdoc! { "_id": {}, "operationType": "drop", "ns": { "db": "d", "coll": "c" } };
        assert_eq!(subject_of(&event, "p", Some(3)), "p.d.c.drop.0");
    }

    #[test]
    fn hashes_as_documented_for_consumers() {
        // FNV-1a, computed apart from this program: python3, 14695981039346656037 and 1099511628211, over the bytes of {_id: int32 7}.
        let event = rawdoc! { "documentKey": { "_id": 7 } };
        let hash = event
            .get_document("documentKey")
            .unwrap()
            .as_bytes()
            .iter()
            .fold(14_695_981_039_346_656_037_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211)
            });
        assert_eq!(Parts::of(&event).partition(1000), hash % 1000);
    }
}
