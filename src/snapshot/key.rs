//! The key of a document: its `_id` as a document of its own, whatever its type and its bytes are. The text in it may be invalid UTF-8, so
//! the fields are handled as raw BSON.

use bson::raw::{CStr, cstr};
use bson::spec::ElementType;
use bson::{RawDocument, RawDocumentBuf};

/// The name of the field.
pub(crate) const ID: &CStr = cstr!("_id");

/// A field of a document.
pub(crate) struct Field<'a> {
    /// The type of its value.
    pub(crate) kind: ElementType,
    /// Where it begins in the document.
    pub(crate) start: usize,
    /// Where the next one begins.
    pub(crate) end: usize,
    /// The bytes of its value.
    pub(crate) value: &'a [u8],
}

/// Returns the first field of this name; `None` if there is none, or the document is malformed before it.
pub(crate) fn field<'a>(document: &'a RawDocument, name: &CStr) -> Option<Field<'a>> {
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

/// Returns the key of a document; `None` if it has no `_id`, or is malformed before it.
pub(crate) fn of(document: &RawDocument) -> Option<RawDocumentBuf> {
    let id = field(document, ID)?;
    with_value(id.kind, ID, id.value)
}

/// Returns a document whose only field has this type, name and value; `None` if it would be longer than BSON allows.
pub(crate) fn with_value(kind: ElementType, name: &CStr, value: &[u8]) -> Option<RawDocumentBuf> {
    let mut fields = begun(value.len() + name.len() + 2);
    append(&mut fields, kind, name, value);
    finished(fields)
}

/// Returns a document that has the `_id` of `key` as its only field, of this name.
pub(crate) fn renamed(key: &RawDocument, name: &CStr) -> Option<RawDocumentBuf> {
    let id = field(key, ID)?;
    with_value(id.kind, name, id.value)
}

/// Returns whether the query operators `$gt` and `$lte` select exactly the values of this type on their side of the `_id` of `key`. They
/// select no other types.
pub(crate) fn has_query_order(key: &RawDocument) -> bool {
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
pub(crate) fn are_of_one_type(one: &RawDocument, other: &RawDocument) -> bool {
    let kind = |key| field(key, ID).map(|id| id.kind);
    kind(one) == kind(other)
}

/// Begins a document whose fields have about this many bytes: a gap for its length.
pub(crate) fn begun(bytes: usize) -> Vec<u8> {
    let mut fields = Vec::with_capacity(4 + bytes + 1);
    fields.extend_from_slice(&[0; 4]);
    fields
}

/// Appends a field to a document that was [`begun`].
pub(crate) fn append(fields: &mut Vec<u8>, kind: ElementType, name: &CStr, value: &[u8]) {
    fields.push(kind as u8);
    fields.extend_from_slice(name.as_str().as_bytes());
    fields.push(0);
    fields.extend_from_slice(value);
}

/// Returns the document that was [`begun`]; `None` if it is longer than BSON allows.
pub(crate) fn finished(mut fields: Vec<u8>) -> Option<RawDocumentBuf> {
    fields.push(0);
    let length = i32::try_from(fields.len()).ok()?;
    fields[..4].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(fields).ok()
}

#[cfg(test)]
mod tests {
    use bson::{RawBson, oid::ObjectId, rawdoc};

    use super::*;

    #[test]
    fn keeps_any_type_and_any_text() {
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
            assert_eq!(of(&key).unwrap(), key);
            let literal = renamed(&key, cstr!("$literal")).unwrap();
            assert_eq!(literal.as_bytes().len(), key.as_bytes().len() + 5);
        }
        assert_eq!(of(&rawdoc! { "a": 1 }), None);
    }
}
