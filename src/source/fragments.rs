//! Assembly of events larger than 16 MB from the fragments of `$changeStreamSplitLargeEvent`
//! (<https://www.mongodb.com/docs/manual/reference/operator/aggregation/changeStreamSplitLargeEvent/>).

use bson::raw::{RawBsonRef, RawDocument};
use bson::{RawDocumentBuf, rawdoc};

/// The field that marks a fragment. It holds the fragment's number and the number of fragments.
const SPLIT_EVENT: &str = "splitEvent";

/// Sizes in BSON (<https://bsonspec.org>): a document's length field, an element's type byte, the terminator of its key.
const LENGTH_BYTES: usize = 4;
const TYPE_BYTES: usize = 1;
const TERMINATOR_BYTES: usize = 1;

/// The fragments of an event that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct FragmentAssembler {
    fragments: Vec<RawDocumentBuf>,
}

impl FragmentAssembler {
    /// Returns whether no fragment waits for the rest of its event.
    pub(super) fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// Adds what the server sent. Returns an event once it is complete; an event that was not split is returned at once.
    pub(super) fn add(&mut self, event: RawDocumentBuf) -> Option<RawDocumentBuf> {
        let Some((number, of)) = fragment(&event) else {
            return Some(event);
        };
        self.fragments.push(event);
        (number == of).then(|| join(&std::mem::take(&mut self.fragments)))
    }
}

/// Returns the number of a fragment and the number of fragments; `None` for an event that was not split.
fn fragment(event: &RawDocument) -> Option<(i64, i64)> {
    let split = event.get_document(SPLIT_EVENT).ok()?;
    let number = |key| match split.get(key) {
        Ok(Some(RawBsonRef::Int32(number))) => Some(i64::from(number)),
        Ok(Some(RawBsonRef::Int64(number))) => Some(number),
        _ => None,
    };
    Some((number("fragment")?, number("of")?))
}

/// Returns the event that was split: its fields in the server's order, with the `_id` of the last fragment. A stream that resumes after
/// that token continues after the whole event.
fn join(fragments: &[RawDocumentBuf]) -> RawDocumentBuf {
    let mut bytes = vec![0; LENGTH_BYTES];
    if let Some(fragment) = fragments.last() {
        copy_fields(fragment, |key| key == "_id", &mut bytes);
    }
    for fragment in fragments {
        copy_fields(
            fragment,
            |key| key != "_id" && key != SPLIT_EVENT,
            &mut bytes,
        );
    }
    bytes.push(0);
    // The sum of the fragments, 16 MB each, is far below the 2 GB that BSON's length field can hold.
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(bytes).unwrap_or_else(|_| rawdoc! {})
}

/// Copies the top-level fields whose key is wanted, byte for byte, because a value need not be valid UTF-8.
fn copy_fields(fragment: &RawDocument, is_wanted: impl Fn(&str) -> bool, bytes: &mut Vec<u8>) {
    let mut at = LENGTH_BYTES;
    for element in fragment.iter_elements().map_while(Result::ok) {
        let length = TYPE_BYTES + element.key().len() + TERMINATOR_BYTES + element.size();
        if is_wanted(element.key().as_str()) {
            bytes.extend_from_slice(&fragment.as_bytes()[at..at + length]);
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_fragments_in_order_with_the_last_token() {
        let mut assembler = FragmentAssembler::default();
        let first = rawdoc! {
            "_id": { "_data": "01" }, "splitEvent": { "fragment": 1, "of": 2 },
            "operationType": "update", "ns": { "db": "d" },
        };
        let second = rawdoc! {
            "_id": { "_data": "02" }, "splitEvent": { "fragment": 2, "of": 2 }, "fullDocument": { "x": 1 },
        };
        assert_eq!(assembler.add(first), None);
        assert!(!assembler.is_empty());
        assert_eq!(
            assembler.add(second).unwrap(),
            rawdoc! {
                "_id": { "_data": "02" }, "operationType": "update", "ns": { "db": "d" }, "fullDocument": { "x": 1 },
            }
        );
        assert!(assembler.is_empty());
    }

    #[test]
    fn returns_an_event_that_was_not_split_at_once() {
        let event = rawdoc! { "_id": { "_data": "01" }, "operationType": "insert" };
        assert_eq!(FragmentAssembler::default().add(event.clone()), Some(event));
    }
}
