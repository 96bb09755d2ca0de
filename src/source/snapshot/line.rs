//! The lines of a snapshot: documents in the form of an event, as raw BSON. A line is larger than its document, which may have 16 MB, so the
//! server cannot send it.

use bson::raw::{CStr, cstr};
use bson::spec::ElementType;
use bson::{RawDocument, RawDocumentBuf, Timestamp, rawdoc};

use crate::snapshot::{Collection, OPERATION_TYPE, PLACE_FIELD};
use crate::token::ResumeToken;

const ID: &CStr = cstr!("_id");

/// The field of `_id` that holds the document's own `_id` in what the stages of the filter see and return.
pub(super) const KEY_FIELD: &CStr = cstr!("key");

/// The lines of the documents that one command read from a collection.
pub(super) struct LineBuilder<'a> {
    token: &'a RawDocument,
    /// What is before the document.
    head: Vec<u8>,
    /// `ns`.
    namespace: RawDocumentBuf,
}

impl<'a> LineBuilder<'a> {
    /// Creates a builder of lines with this token.
    pub(super) fn new(token: &'a ResumeToken, collection: &Collection) -> Self {
        let Timestamp { time, increment } = token.time();
        let mut head = Vec::new();
        append(
            &mut head,
            ElementType::EmbeddedDocument,
            ID,
            token.as_raw().as_bytes(),
        );
        let mut fields = RawDocumentBuf::new();
        fields.append(cstr!("operationType"), OPERATION_TYPE);
        fields.append(cstr!("clusterTime"), Timestamp { time, increment });
        let fields = fields.as_bytes();
        head.extend_from_slice(&fields[4..fields.len() - 1]);
        Self {
            token: token.as_raw(),
            head,
            namespace: rawdoc! { "db": &*collection.db, "coll": &*collection.coll },
        }
    }

    /// Returns the line of `document`; `None` if the document is not valid BSON or has no `_id`.
    pub(super) fn line(&self, document: &RawDocument) -> Option<RawDocumentBuf> {
        let key = key_of(document)?;
        let length = self.head.len() + document.as_bytes().len() + key.as_bytes().len();
        let mut fields = Vec::with_capacity(length + self.namespace.as_bytes().len() + 64);
        fields.extend_from_slice(&[0; 4]);
        fields.extend_from_slice(&self.head);
        let mut append_document = |name, document: &RawDocument| {
            append(
                &mut fields,
                ElementType::EmbeddedDocument,
                name,
                document.as_bytes(),
            );
        };
        append_document(cstr!("fullDocument"), document);
        append_document(cstr!("ns"), &self.namespace);
        append_document(cstr!("documentKey"), &key);
        finished(fields)
    }

    /// Returns the line of what the stages of the filter made of a document, and the key of that document: replaces `_id`, which also holds
    /// the key, by the token. If the stages removed or changed what shows the place of the line, `_id` keeps the place. `None` if the
    /// stages changed `_id`.
    pub(super) fn line_of_result(
        &self,
        result: &RawDocument,
    ) -> Option<(RawDocumentBuf, RawDocumentBuf)> {
        let id = field(result, ID)?;
        let key = self.key_of_result(id.value)?;
        let mut new_id = self.token.to_owned();
        if !self.shows_place(result, &key) {
            let mut place = self.namespace.clone();
            place.append(cstr!("documentKey"), key.clone());
            new_id.append(PLACE_FIELD, place);
        }
        let mut fields = Vec::with_capacity(result.as_bytes().len() + new_id.as_bytes().len());
        fields.extend_from_slice(&result.as_bytes()[..id.start]);
        append(
            &mut fields,
            ElementType::EmbeddedDocument,
            ID,
            new_id.as_bytes(),
        );
        fields.extend_from_slice(&result.as_bytes()[id.end..result.as_bytes().len() - 1]);
        Some((finished(fields)?, key))
    }

    /// Returns the key in the `_id` of a result; `None` if the `_id` was changed.
    fn key_of_result(&self, id: &[u8]) -> Option<RawDocumentBuf> {
        let id = RawDocument::from_bytes(id).ok()?;
        let key = field(id, KEY_FIELD)?;
        let token = self.token.as_bytes();
        let token = &token[4..token.len() - 1];
        // The key follows the fields of the token, and nothing follows the key.
        let is_kept = id.as_bytes()[4..key.start] == *token && key.end + 1 == id.as_bytes().len();
        is_kept.then(|| key.as_id()).flatten()
    }

    /// Returns whether the operation type, the namespace and the document key of a line are as they were.
    fn shows_place(&self, result: &RawDocument, key: &RawDocument) -> bool {
        let is_same = |name, expected: &RawDocument| {
            result
                .get_document(name)
                .is_ok_and(|found| found.as_bytes() == expected.as_bytes())
        };
        result
            .get_str("operationType")
            .is_ok_and(|found| found == OPERATION_TYPE)
            && is_same("ns", &self.namespace)
            && is_same("documentKey", key)
    }
}

/// A field of a document.
struct Field<'a> {
    kind: ElementType,
    /// Where it begins.
    start: usize,
    /// Where the next one begins.
    end: usize,
    /// The bytes of its value, whatever they are: text may be invalid UTF-8.
    value: &'a [u8],
}

impl Field<'_> {
    /// Returns a document whose only field has this value.
    fn alone(&self, name: &CStr) -> Option<RawDocumentBuf> {
        let mut fields = Vec::with_capacity(self.value.len() + name.len() + 7);
        fields.extend_from_slice(&[0; 4]);
        append(&mut fields, self.kind, name, self.value);
        finished(fields)
    }

    fn as_id(&self) -> Option<RawDocumentBuf> {
        self.alone(ID)
    }
}

/// Returns the first field of this name; `None` if there is none, or the document is malformed before it.
fn field<'a>(document: &'a RawDocument, name: &CStr) -> Option<Field<'a>> {
    let mut start = 4;
    for element in document.iter_elements() {
        let element = element.ok()?;
        let value = start + 1 + element.key().len() + 1;
        let end = value + element.size();
        if element.key() == name {
            return Some(Field {
                kind: element.element_type(),
                start,
                end,
                value: document.as_bytes().get(value..end)?,
            });
        }
        start = end;
    }
    None
}

/// Returns the `_id` of a document as a document of its own; `None` if it has none, or is malformed before it.
pub(super) fn key_of(document: &RawDocument) -> Option<RawDocumentBuf> {
    field(document, ID)?.as_id()
}

/// Returns a document that has the `_id` of `key` as its only field, of this name.
pub(super) fn renamed(key: &RawDocument, name: &CStr) -> Option<RawDocumentBuf> {
    field(key, ID)?.alone(name)
}

/// Returns whether the query operators `$gt` and `$lte` select exactly the values of this type on their side of the `_id` of `key`. They
/// select no other types.
pub(super) fn has_query_order(key: &RawDocument) -> bool {
    const TYPES: [ElementType; 6] = [
        ElementType::ObjectId,
        ElementType::Int32,
        ElementType::Int64,
        ElementType::String,
        ElementType::DateTime,
        ElementType::EmbeddedDocument,
    ];
    field(key, ID).is_some_and(|id| TYPES.contains(&id.kind))
}

/// Returns whether both keys are of the same type.
pub(super) fn are_of_one_type(one: &RawDocument, other: &RawDocument) -> bool {
    let kind = |key| field(key, ID).map(|id| id.kind);
    kind(one) == kind(other)
}

fn append(fields: &mut Vec<u8>, kind: ElementType, name: &CStr, value: &[u8]) {
    fields.push(kind as u8);
    fields.extend_from_slice(name.as_str().as_bytes());
    fields.push(0);
    fields.extend_from_slice(value);
}

/// Returns the document of these fields, which begin with a gap for its length.
fn finished(mut fields: Vec<u8>) -> Option<RawDocumentBuf> {
    fields.push(0);
    let length = i32::try_from(fields.len()).ok()?;
    fields[..4].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(fields).ok()
}

#[cfg(test)]
mod tests {
    use bson::{RawBson, oid::ObjectId};

    use super::*;

    fn token() -> ResumeToken {
        ResumeToken::parse("826B032CA2000000022B0229296E04").unwrap()
    }

    fn orders() -> Collection {
        Collection {
            uuid: None,
            db: "shop".to_owned(),
            coll: "orders".to_owned(),
        }
    }

    #[test]
    fn has_the_form_of_an_event() {
        let token = token();
        let lines = LineBuilder::new(&token, &orders());
        let document = rawdoc! { "a": 1, "_id": { "x": 2 } };
        let expected = rawdoc! {
            "_id": token.as_raw().to_owned(),
            "operationType": "snapshot",
            "clusterTime": token.time(),
            "fullDocument": document.clone(),
            "ns": { "db": "shop", "coll": "orders" },
            "documentKey": { "_id": { "x": 2 } },
        };
        assert_eq!(lines.line(&document).unwrap(), expected);
        assert_eq!(lines.line(&rawdoc! { "a": 1 }), None);
    }

    #[test]
    fn keeps_keys_of_any_type_and_any_text() {
        let invalid = [
            0x10, 0, 0, 0, 2, b'_', b'i', b'd', 0, 2, 0, 0, 0, 0xff, 0, 0,
        ];
        let invalid = RawDocument::from_bytes(&invalid).unwrap();
        for key in [
            rawdoc! { "_id": RawBson::MinKey },
            rawdoc! { "_id": ObjectId::new() },
            rawdoc! { "_id": "x" },
            invalid.to_owned(),
        ] {
            assert_eq!(key_of(&key).unwrap(), key);
            let literal = renamed(&key, cstr!("$literal")).unwrap();
            assert_eq!(literal.as_bytes().len(), key.as_bytes().len() + 5);
        }
    }

    #[test]
    fn replaces_the_id_of_a_result_by_the_token() {
        let token = token();
        let lines = LineBuilder::new(&token, &orders());
        let mut id = token.as_raw().to_owned();
        id.append(KEY_FIELD, 7);
        let result = |id: RawDocumentBuf, key: i32| {
            rawdoc! {
                "operationType": "snapshot",
                "_id": id,
                "ns": { "db": "shop", "coll": "orders" },
                "documentKey": { "_id": key },
            }
        };
        let (line, key) = lines.line_of_result(&result(id.clone(), 7)).unwrap();
        assert_eq!(line, result(token.as_raw().to_owned(), 7));
        assert_eq!(key, rawdoc! { "_id": 7 });
        // The line does not show its place any more.
        let (line, key) = lines.line_of_result(&result(id.clone(), 8)).unwrap();
        assert_eq!(key, rawdoc! { "_id": 7 });
        let place = line
            .get_document("_id")
            .unwrap()
            .get_document("snapshot")
            .unwrap();
        let expected = rawdoc! { "db": "shop", "coll": "orders", "documentKey": { "_id": 7 } };
        assert_eq!(place.as_bytes(), expected.as_bytes());
        for changed in [
            rawdoc! {},
            rawdoc! { "key": 7 },
            token.as_raw().to_owned(),
            rawdoc! { "_data": "82", "key": 7 },
        ] {
            assert_eq!(lines.line_of_result(&result(changed, 7)), None);
        }
    }
}
