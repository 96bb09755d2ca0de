//! The lines of a part of a snapshot: documents in the form of an event. A line is larger than its document, which may have 16 MB, so the
//! server cannot send it. It is made when it is written, from the bytes of the server's reply.

use std::borrow::Cow;
use std::ops::Range;

use bson::raw::cstr;
use bson::spec::ElementType;
use bson::{RawDocument, RawDocumentBuf, Timestamp, rawdoc};

use crate::extjson::{self, Fidelity, Malformed, Mode};
use crate::token::ResumeToken;

use super::key::{self, ID, append, begun, finished};
use super::{Collection, OPERATION_TYPE};

/// The bytes of the largest document that is taken, far more than the 16 MB that a server allows. BSON has at most 2 GB, and a line holds
/// the document and its `_id` again.
const MAX_DOCUMENT_BYTES: usize = 512 * 1024 * 1024;

/// Why a line can be made of a document that was taken.
const FITS: &str = "a line of a document of at most 512 MiB has less than 2 GB";

/// What the lines of one part of a snapshot have in common.
#[derive(Debug)]
pub(crate) struct LineForm {
    /// The fields before the document.
    head: RawDocumentBuf,
    /// `ns`.
    namespace: RawDocumentBuf,
}

/// Documents in the bytes of a reply.
pub(crate) struct Documents {
    /// The bytes that the server sent.
    reply: Box<dyn AsRef<[u8]> + Send + Sync>,
    places: Vec<Place>,
    bytes: usize,
}

/// Where a document is in a reply.
#[derive(Debug)]
struct Place {
    document: Range<usize>,
    id_kind: ElementType,
    /// The value of its `_id`.
    id: Range<usize>,
}

/// The lines of a part of a snapshot.
#[derive(Debug)]
pub(crate) enum Lines {
    /// Documents as they are.
    Documents(LineForm, Documents),
    /// Lines that stages of the filter made of documents.
    Results(Vec<RawDocumentBuf>),
}

impl LineForm {
    /// Returns the form of lines with this token, of documents in this collection.
    pub(crate) fn new(token: &ResumeToken, collection: &Collection) -> Self {
        let Timestamp { time, increment } = token.time();
        Self {
            head: rawdoc! {
                "_id": token.as_raw().to_owned(),
                "operationType": OPERATION_TYPE,
                "clusterTime": Timestamp { time, increment },
            },
            namespace: rawdoc! { "db": &*collection.db, "coll": &*collection.coll },
        }
    }

    /// Returns the line of a document whose `_id` has this type and value.
    fn line(&self, document: &[u8], id_kind: ElementType, id: &[u8]) -> RawDocumentBuf {
        let head = self.head.as_bytes();
        let head = &head[4..head.len() - 1];
        let namespace = self.namespace.as_bytes();
        let mut fields = begun(head.len() + document.len() + namespace.len() + id.len() + 64);
        fields.extend_from_slice(head);
        let key = key::with_value(id_kind, ID, id).expect(FITS);
        for (name, value) in [
            (cstr!("fullDocument"), document),
            (cstr!("ns"), namespace),
            (cstr!("documentKey"), key.as_bytes()),
        ] {
            append(&mut fields, ElementType::EmbeddedDocument, name, value);
        }
        finished(fields).expect(FITS)
    }
}

impl Documents {
    /// Takes the documents that `documents` finds in a reply; `None` if one of them has no `_id`, is malformed before it, or is larger than
    /// any server allows.
    ///
    /// # Errors
    /// That of `documents`.
    pub(crate) fn new<T: AsRef<[u8]> + Send + Sync + 'static, E>(
        reply: T,
        documents: impl FnOnce(&T) -> Result<Vec<&RawDocument>, E>,
    ) -> Result<Option<Self>, E> {
        let start = reply.as_ref().as_ptr().addr();
        let place_of = |bytes: &[u8]| {
            let at = bytes.as_ptr().addr() - start;
            at..at + bytes.len()
        };
        let mut bytes = 0;
        let places = documents(&reply)?.into_iter().map(|document| {
            let id = key::field(document, ID)
                .filter(|_| document.as_bytes().len() <= MAX_DOCUMENT_BYTES)?;
            bytes += document.as_bytes().len();
            Some(Place {
                document: place_of(document.as_bytes()),
                id_kind: id.kind,
                id: place_of(id.value),
            })
        });
        let places = places.collect::<Option<_>>();
        Ok(places.map(|places| Self {
            reply: Box::new(reply),
            places,
            bytes,
        }))
    }

    /// Returns the number of documents.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns the key of the last document; `None` if there is none.
    pub(crate) fn last_key(&self) -> Option<RawDocumentBuf> {
        let place = self.places.last()?;
        key::with_value(place.id_kind, ID, self.get(&place.id))
    }

    fn get(&self, place: &Range<usize>) -> &[u8] {
        &(*self.reply).as_ref()[place.clone()]
    }
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents")
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl Default for Lines {
    /// Returns no lines.
    fn default() -> Self {
        Self::Results(Vec::new())
    }
}

impl Lines {
    /// Returns the number of lines.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Documents(_, documents) => documents.len(),
            Self::Results(lines) => lines.len(),
        }
    }

    /// Returns the number of bytes of BSON from the server.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Documents(_, documents) => documents.bytes,
            Self::Results(lines) => lines.iter().map(|line| line.as_bytes().len()).sum(),
        }
    }

    /// Returns a line.
    pub(crate) fn line(&self, index: usize) -> Cow<'_, RawDocument> {
        match self {
            Self::Documents(form, documents) => {
                let place = &documents.places[index];
                let (document, id) = (documents.get(&place.document), documents.get(&place.id));
                Cow::Owned(form.line(document, place.id_kind, id))
            }
            Self::Results(lines) => Cow::Borrowed(&lines[index]),
        }
    }

    /// Returns all lines.
    #[cfg_attr(not(feature = "nats"), cfg(test))]
    pub(crate) fn into_lines(self) -> Vec<RawDocumentBuf> {
        match self {
            Self::Documents(..) => (0..self.len())
                .map(|index| self.line(index).into_owned())
                .collect(),
            Self::Results(lines) => lines,
        }
    }

    /// Returns a writer of the lines as Extended JSON.
    ///
    /// # Errors
    /// As [`extjson::write_document`].
    pub(crate) fn writer(&self, mode: Mode) -> Result<LineWriter<'_>, Malformed> {
        let (mut before, mut after) = (String::new(), String::new());
        if let Self::Documents(form, _) = self {
            before = extjson::to_text(&form.head, mode)?;
            before.pop();
            before.push_str(r#","fullDocument":"#);
            let namespace = extjson::to_text(&form.namespace, mode)?;
            after = format!(r#","ns":{namespace},"documentKey":{{"_id":"#);
        }
        Ok(LineWriter {
            lines: self,
            mode,
            before,
            after,
        })
    }
}

/// Writes lines as Extended JSON. What all of them have in common is made once.
#[derive(Debug)]
pub(crate) struct LineWriter<'a> {
    lines: &'a Lines,
    mode: Mode,
    /// The text before the document.
    before: String,
    /// The text after the document, up to its `_id`.
    after: String,
}

impl LineWriter<'_> {
    /// Appends a line to `out`, without a newline.
    ///
    /// # Errors
    /// As [`extjson::write_document`]. `out` is then unchanged.
    pub(crate) fn write(&self, index: usize, out: &mut Vec<u8>) -> Result<Fidelity, Malformed> {
        let documents = match self.lines {
            Lines::Documents(_, documents) => documents,
            Lines::Results(lines) => {
                return extjson::write_document(lines[index].as_bytes(), self.mode, out);
            }
        };
        let place = &documents.places[index];
        let length = out.len();
        out.extend_from_slice(self.before.as_bytes());
        let fidelity = extjson::write_document(documents.get(&place.document), self.mode, out)
            .and_then(|fidelity| {
                out.extend_from_slice(self.after.as_bytes());
                let id = documents.get(&place.id);
                // The document has it too: what is replaced in it was replaced there.
                extjson::write_value(place.id_kind as u8, id, self.mode, out)
                    .map(|_: Fidelity| fidelity)
            });
        match fidelity {
            Ok(_) => out.extend_from_slice(b"}}"),
            Err(_) => out.truncate(length),
        }
        fidelity
    }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;

    use super::*;

    fn form() -> (ResumeToken, LineForm) {
        let token = ResumeToken::parse("826B032CA2000000022B0229296E04").unwrap();
        let orders = Collection {
            uuid: None,
            db: "shop".to_owned(),
            coll: "a \"b\"\n".to_owned(),
        };
        let form = LineForm::new(&token, &orders);
        (token, form)
    }

    fn documents(documents: &[RawDocumentBuf]) -> Option<Documents> {
        let reply: Vec<u8> = documents
            .iter()
            .flat_map(|document| document.as_bytes())
            .copied()
            .collect();
        let found = Documents::new(reply, |reply: &Vec<u8>| {
            let mut rest = &reply[..];
            let mut found = Vec::new();
            for document in documents {
                let (bytes, more) = rest.split_at(document.as_bytes().len());
                found.push(RawDocument::from_bytes(bytes).unwrap());
                rest = more;
            }
            Ok::<_, ()>(found)
        });
        found.unwrap()
    }

    #[test]
    fn have_the_form_of_an_event() {
        let (token, form) = form();
        let document = rawdoc! { "a": 1, "_id": { "x": 2 } };
        let expected = rawdoc! {
            "_id": token.as_raw().to_owned(),
            "operationType": "snapshot",
            "clusterTime": token.time(),
            "fullDocument": document.clone(),
            "ns": { "db": "shop", "coll": "a \"b\"\n" },
            "documentKey": { "_id": { "x": 2 } },
        };
        let lines = Lines::Documents(form, documents(&[document]).unwrap());
        assert_eq!(*lines.line(0), *expected);
        assert!(documents(&[rawdoc! { "_id": 1 }, rawdoc! { "a": 1 }]).is_none());
    }

    #[test]
    fn are_written_as_the_extended_json_of_what_they_are() {
        let (_, form) = form();
        let several = documents(&[
            rawdoc! { "_id": 1 },
            rawdoc! { "_id": ObjectId::new(), "a": { "b": ["c", 1.5] } },
            rawdoc! { "a": "\u{2028}", "_id": "x\"\n" },
            rawdoc! { "_id": bson::RawBson::MinKey },
        ]);
        let several = several.unwrap();
        assert_eq!(
            several.last_key().unwrap(),
            rawdoc! { "_id": bson::RawBson::MinKey }
        );
        let documents = Lines::Documents(form, several);
        let results = (0..documents.len()).map(|index| documents.line(index).into_owned());
        let results = Lines::Results(results.collect());
        for mode in [Mode::Canonical, Mode::Relaxed] {
            for lines in [&documents, &results] {
                let writer = lines.writer(mode).unwrap();
                for index in 0..lines.len() {
                    let mut text = Vec::new();
                    assert_eq!(writer.write(index, &mut text), Ok(Fidelity::Exact));
                    let expected = extjson::to_text(&lines.line(index), mode).unwrap();
                    assert_eq!(String::from_utf8(text).unwrap(), expected);
                }
            }
        }
    }

    #[test]
    fn that_are_malformed_leave_nothing_behind() {
        let (_, form) = form();
        let mut malformed = rawdoc! { "_id": 1, "a": true }.into_bytes();
        // The type of `a`, which no value has.
        malformed[13] = 0x55;
        assert_eq!(&malformed[13..15], b"\x55a");
        let malformed = RawDocumentBuf::from_bytes(malformed).unwrap();
        let lines = Lines::Documents(form, documents(&[malformed]).unwrap());
        let mut text = b"before".to_vec();
        let writer = lines.writer(Mode::Canonical).unwrap();
        assert!(writer.write(0, &mut text).is_err());
        assert_eq!(text, b"before");
    }
}
