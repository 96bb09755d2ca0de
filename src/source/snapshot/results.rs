//! The lines of a snapshot whose documents passed stages of the filter: what the stages made of a document, with the token as its `_id`.

use bson::raw::{CStr, cstr};
use bson::spec::ElementType;
use bson::{RawDocument, RawDocumentBuf, rawdoc};

use crate::snapshot::key::{ID, append, begun, field, finished, with_value};
use crate::snapshot::{Collection, OPERATION_TYPE, PLACE_FIELD};
use crate::token::ResumeToken;

/// The field of `_id` that holds the document's own `_id` in what the stages of the filter see and return.
pub(super) const KEY_FIELD: &CStr = cstr!("key");

/// Makes lines of the results of one command.
pub(super) struct ResultLines<'a> {
    token: &'a RawDocument,
    /// `ns`.
    namespace: RawDocumentBuf,
}

impl<'a> ResultLines<'a> {
    /// Makes lines with this token, of documents in this collection.
    pub(super) fn new(token: &'a ResumeToken, collection: &Collection) -> Self {
        Self {
            token: token.as_raw(),
            namespace: rawdoc! { "db": &*collection.db, "coll": &*collection.coll },
        }
    }

    /// Returns the line of what the stages of the filter made of a document, and the key of that document: replaces `_id`, which also holds
    /// the key, by the token. If the stages removed or changed what shows the place of the line, `_id` keeps the place. `None` if the
    /// stages changed `_id`.
    pub(super) fn line(&self, result: &RawDocument) -> Option<(RawDocumentBuf, RawDocumentBuf)> {
        let id = field(result, ID)?;
        let key = self.key_of_result(id.value)?;
        let mut new_id = self.token.to_owned();
        if !self.shows_place(result, &key) {
            let mut place = self.namespace.clone();
            place.append(cstr!("documentKey"), key.clone());
            new_id.append(PLACE_FIELD, place);
        }
        let mut fields = begun(result.as_bytes().len() + new_id.as_bytes().len());
        fields.extend_from_slice(&result.as_bytes()[4..id.start]);
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
        is_kept.then(|| with_value(key.kind, ID, key.value))?
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

#[cfg(test)]
mod tests {
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
    fn replaces_the_id_of_a_result_by_the_token() {
        let token = token();
        let lines = ResultLines::new(&token, &orders());
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
        let (line, key) = lines.line(&result(id.clone(), 7)).unwrap();
        assert_eq!(line, result(token.as_raw().to_owned(), 7));
        assert_eq!(key, rawdoc! { "_id": 7 });
        // The line does not show its place any more.
        let (line, key) = lines.line(&result(id.clone(), 8)).unwrap();
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
            assert_eq!(lines.line(&result(changed, 7)), None);
        }
    }
}
