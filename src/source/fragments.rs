//! Assembly of events larger than 16 MB from the fragments of `$changeStreamSplitLargeEvent`
//! (<https://www.mongodb.com/docs/manual/reference/operator/aggregation/changeStreamSplitLargeEvent/>).

use bson::raw::{RawBsonRef, RawDocument};
use bson::{RawDocumentBuf, rawdoc};

use crate::error::{Failure, Kind};
use crate::token::{self, ResumeToken};

/// The field of a fragment that holds its number and the number of fragments. An event that was not split may have a field of this name too:
/// one that the pipeline added. Only the token says which events are fragments.
const SPLIT_EVENT: &str = "splitEvent";

/// Maximum size of the fragments of one event in bytes. Both images and the update description have at most 16 MB each; the rest is for
/// fields that the pipeline adds.
const MAX_BYTES: usize = 128 * 1024 * 1024;

/// Sizes in BSON (<https://bsonspec.org>): a document's length field, an element's type byte, the terminator of its key.
const LENGTH_BYTES: usize = 4;
const TYPE_BYTES: usize = 1;
const TERMINATOR_BYTES: usize = 1;

/// The fragments of an event that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct FragmentAssembler {
    fragments: Vec<RawDocumentBuf>,
    /// The number of fragments of the event, as its first fragment has it.
    of: i64,
    bytes: usize,
}

impl FragmentAssembler {
    /// Returns whether no fragment waits for the rest of its event.
    pub(super) fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// Adds what the server sent. Returns an event once it is complete; an event that was not split is returned at once.
    ///
    /// # Errors
    /// Exit code 8 when the fragments are not those of one event in ascending order, or too large.
    pub(super) fn add(&mut self, event: RawDocumentBuf) -> Result<Option<RawDocumentBuf>, Failure> {
        let Some(number) = fragment_number(&event) else {
            return match self.is_empty() {
                true => Ok(Some(event)),
                false => Err(self.refusal("an event that is no fragment")),
            };
        };
        let of = split_event(&event, "of").unwrap_or_default();
        if self.is_empty() {
            self.of = of;
        }
        let expected = i64::try_from(self.fragments.len() + 1).unwrap_or(i64::MAX);
        if number != expected || split_event(&event, "fragment") != Some(number) {
            return Err(self.refusal(&format!("fragment {number}")));
        }
        if of != self.of || of < number {
            return Err(self.refusal(&format!("fragment {number} of {of}")));
        }
        self.bytes += event.as_bytes().len();
        if self.bytes > MAX_BYTES {
            return Err(self.refusal(&format!(
                "more than {} MB of fragments",
                MAX_BYTES / 1024 / 1024
            )));
        }
        self.fragments.push(event);
        if number < of {
            return Ok(None);
        }
        self.bytes = 0;
        Ok(Some(join(&std::mem::take(&mut self.fragments))))
    }

    fn refusal(&self, sent: &str) -> Failure {
        let after = match self.fragments.len() {
            0 => "before the first fragment of a large event".to_owned(),
            number => format!("after fragment {number} of {} of a large event", self.of),
        };
        Failure::new(Kind::Refused, format!("the server sent {sent} {after}")).hint(
            "the checkpoint is before the event, so a restart reads it again; if that fails too, look for a proxy or a fault of the server",
        )
    }
}

/// Returns the events that a server sent, those that it split as one event each. For the fuzz target of replies.
///
/// # Errors
/// Exit code 8 for fragments that are not those of one event in ascending order.
pub fn assemble(
    sent: impl IntoIterator<Item = RawDocumentBuf>,
) -> Result<Vec<RawDocumentBuf>, Failure> {
    let mut assembler = FragmentAssembler::default();
    let added = sent.into_iter().map(|event| assembler.add(event));
    added.filter_map(Result::transpose).collect()
}

/// Returns the number of a fragment, from its token; `None` for an event that was not split.
fn fragment_number(event: &RawDocument) -> Option<i64> {
    // Reading the token takes longer than finding out that there is no such field.
    event.get_document(SPLIT_EVENT).ok()?;
    match ResumeToken::of_event(event)?.kind() {
        token::Kind::Fragment(number) => Some(number.into()),
        _ => None,
    }
}

/// Returns a number in the server's [`SPLIT_EVENT`], which comes before fields of the event.
fn split_event(fragment: &RawDocument, key: &str) -> Option<i64> {
    let split = fragment.get_document(SPLIT_EVENT).ok()?;
    match split.get(key) {
        Ok(Some(RawBsonRef::Int32(number))) => Some(number.into()),
        Ok(Some(RawBsonRef::Int64(number))) => Some(number),
        _ => None,
    }
}

/// Returns the event that was split: its fields in the server's order, with the `_id` of the last fragment. A stream that resumes after
/// that token continues after the whole event.
fn join(fragments: &[RawDocumentBuf]) -> RawDocumentBuf {
    let mut bytes = vec![0; LENGTH_BYTES];
    if let Some(fragment) = fragments.last() {
        copy_fields(fragment, |key| key == "_id", &mut bytes);
    }
    for fragment in fragments {
        let mut is_first = true;
        let is_of_event = |key: &str| match key {
            "_id" => false,
            // Only the first one is the server's.
            SPLIT_EVENT => !std::mem::take(&mut is_first),
            _ => true,
        };
        copy_fields(fragment, is_of_event, &mut bytes);
    }
    bytes.push(0);
    // At most `MAX_BYTES`, which is far below the 2 GB that BSON's length field can hold.
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(bytes).unwrap_or_else(|_| rawdoc! {})
}

/// Copies the top-level fields whose key is wanted, byte for byte, because a value need not be valid UTF-8.
fn copy_fields(
    fragment: &RawDocument,
    mut is_wanted: impl FnMut(&str) -> bool,
    bytes: &mut Vec<u8>,
) {
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

    /// The token of an insert, version 2, without the number of the fragment.
    const HEAD: &str = "826B032D55000000022B042C0100296E5A10049EF0029ED84B4882B631005E1938BFD4463C6F7065726174696F6E54797065003C696E736572740046646F63756D656E744B657900461E5F6964002B020000";

    fn id(number: u8) -> RawDocumentBuf {
        let number = match number {
            0 => String::new(),
            1 => "29".to_owned(),
            number => format!("2B{:02X}", 2 * (number - 1)),
        };
        rawdoc! { "_data": format!("{HEAD}{number}04") }
    }

    fn fragment(number: i32, of: i32) -> RawDocumentBuf {
        let token = id(u8::try_from(number).unwrap());
        rawdoc! { "_id": token, "splitEvent": { "fragment": number, "of": of } }
    }

    #[test]
    fn joins_fragments_in_order_with_the_last_token() {
        let mut assembler = FragmentAssembler::default();
        let first = rawdoc! {
            "_id": id(1), "splitEvent": { "fragment": 1, "of": 2 }, "operationType": "update", "ns": { "db": "d" },
        };
        let second = rawdoc! {
            "_id": id(2), "splitEvent": { "fragment": 2, "of": 2 }, "fullDocument": { "x": 1 },
        };
        assert_eq!(assembler.add(first).unwrap(), None);
        assert!(!assembler.is_empty());
        assert_eq!(
            assembler.add(second).unwrap().unwrap(),
            rawdoc! {
                "_id": id(2), "operationType": "update", "ns": { "db": "d" }, "fullDocument": { "x": 1 },
            }
        );
        assert!(assembler.is_empty());
    }

    #[test]
    fn keeps_a_field_of_the_pipeline_with_the_name_of_the_fragment_number() {
        let mut assembler = FragmentAssembler::default();
        let field = rawdoc! { "fragment": 1, "of": 2 };
        let whole = rawdoc! { "_id": id(0), "splitEvent": field.clone() };
        assert_eq!(assembler.add(whole.clone()), Ok(Some(whole)));
        let mut split = fragment(1, 1);
        split.append(bson::raw::cstr!("splitEvent"), field.clone());
        let joined = rawdoc! { "_id": id(1), "splitEvent": field };
        assert_eq!(assembler.add(split), Ok(Some(joined)));
    }

    #[test]
    fn returns_an_event_that_was_not_split_at_once() {
        let event = rawdoc! { "_id": id(0), "operationType": "insert" };
        let mut assembler = FragmentAssembler::default();
        assert_eq!(assembler.add(event.clone()), Ok(Some(event)));
    }

    #[test]
    fn refuses_fragments_that_are_not_those_of_one_event_in_order() {
        let whole = rawdoc! { "_id": id(0) };
        for (fragments, sent) in [
            (vec![fragment(2, 3)], "fragment 2 before the first"),
            (
                vec![fragment(1, 3), fragment(1, 3)],
                "fragment 1 after fragment 1 of 3",
            ),
            (
                vec![fragment(1, 3), fragment(3, 3)],
                "fragment 3 after fragment 1 of 3",
            ),
            (
                vec![fragment(1, 3), fragment(2, 4)],
                "fragment 2 of 4 after fragment 1 of 3",
            ),
            (vec![fragment(1, 0)], "fragment 1 of 0 before the first"),
            (
                vec![fragment(1, 3), whole],
                "an event that is no fragment after fragment 1 of 3",
            ),
        ] {
            let mut assembler = FragmentAssembler::default();
            let added: Result<Vec<_>, _> = fragments
                .into_iter()
                .map(|event| assembler.add(event))
                .collect();
            let failure = added.unwrap_err();
            assert_eq!(failure.kind, Kind::Refused);
            assert!(failure.message.contains(sent), "{}", failure.message);
        }
    }

    #[test]
    fn refuses_fragments_above_the_limit() {
        let mut assembler = FragmentAssembler::default();
        let text = "x".repeat(15 * 1024 * 1024);
        let failure = (1..20).find_map(|number| {
            let mut event = fragment(number, 20);
            event.append(bson::raw::cstr!("text"), &*text);
            assembler.add(event).err()
        });
        let message = failure.unwrap().message;
        assert!(
            message.contains("more than 128 MB of fragments after fragment 8 of 20"),
            "{message}"
        );
    }
}
