//! The reply to a command that reads documents.

use bson::raw::RawBsonRef;
use bson::{RawDocument, Timestamp};
use mongodb::error::Error;
use mongodb::raw_batch_cursor::RawBatch;

use crate::snapshot::Documents;

use super::reader::ReadError;

/// A reply, as the bytes that the server sent.
pub(super) struct Reply {
    batch: RawBatch,
    /// The time of the deployment.
    pub(super) time: Timestamp,
}

impl AsRef<[u8]> for Reply {
    fn as_ref(&self) -> &[u8] {
        self.batch.as_raw_document().as_bytes()
    }
}

impl Reply {
    /// Takes a reply. `time` is the time of the deployment if the reply holds none.
    pub(super) fn new(batch: RawBatch, time: Timestamp) -> Self {
        let reported = batch.as_raw_document().get_timestamp("operationTime");
        Self {
            time: reported.unwrap_or(time),
            batch,
        }
    }

    /// Returns the documents.
    ///
    /// # Errors
    /// When the reply is malformed.
    pub(super) fn documents(&self) -> Result<Vec<&RawDocument>, ReadError> {
        let failed = |error| ReadError::Failed(error, None);
        let mut documents = Vec::new();
        for document in self.batch.doc_slices().map_err(failed)? {
            match document.map_err(|error| failed(error.into()))? {
                RawBsonRef::Document(document) => documents.push(document),
                other => {
                    let kind = other.element_type();
                    let error = format!("the server sent a value of type {kind:?} as a document");
                    return Err(failed(Error::custom(error)));
                }
            }
        }
        Ok(documents)
    }

    /// Returns the documents, with the bytes of the reply.
    ///
    /// # Errors
    /// As [`Self::documents`], and when a document has no `_id`.
    pub(super) fn into_documents(self) -> Result<Documents, ReadError> {
        Documents::new(self, Self::documents)?.ok_or(ReadError::ChangedId)
    }

    /// Returns whether the server cut the reply: it has a cursor for the rest.
    pub(super) fn is_cut(&self) -> bool {
        let cursor = self.batch.as_raw_document().get_document("cursor");
        cursor.is_ok_and(|cursor| cursor.get_i64("id").is_ok_and(|id| id != 0))
    }
}
