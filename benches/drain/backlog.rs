//! What is written for others to read: orders of a shop, about 600 bytes as an event, or what a table asks for.

use std::time::Duration;

use anyhow::Result;
use bson::oid::ObjectId;
use bson::{DateTime, Document, RawDocumentBuf, Timestamp, doc};
use testkit::runtime::block_on;

use crate::server::{DB, Server};

/// Bytes of documents that one request may have; the driver cuts what goes beyond its own limits.
const REQUEST_BYTES: usize = 1 << 20;

/// A backlog is only read side by side when it is at least two seconds old; and a server's time stands still while nothing is written.
const AGE: Duration = Duration::from_secs(3);

/// Events that wait to be read.
pub(crate) struct Backlog {
    pub(crate) coll: String,
    /// The first event is the first one at or after it.
    pub(crate) start: Timestamp,
    pub(crate) events: u64,
}

impl Backlog {
    /// Inserts `events` documents into a collection of their own, and lets some time pass.
    pub(crate) fn written(
        server: &Server,
        coll: String,
        events: u64,
        document: impl Fn(u64) -> Document,
    ) -> Result<Self> {
        let start = server.set.operation_time();
        let db = server.set.client().database(DB);
        let target = db.collection::<RawDocumentBuf>(&coll);
        let mut request = Vec::new();
        let mut bytes = 0;
        for number in 0..events {
            let document = RawDocumentBuf::try_from(&document(number))?;
            bytes += document.as_bytes().len();
            request.push(document);
            if bytes >= REQUEST_BYTES || number + 1 == events {
                block_on(target.insert_many(std::mem::take(&mut request)))?;
                bytes = 0;
            }
        }
        std::thread::sleep(AGE);
        block_on(db.collection::<Document>("later").insert_one(doc! {}))?;
        Ok(Self {
            coll,
            start,
            events,
        })
    }
}

/// An order, with a mark that is found again in the line of its event.
pub(crate) fn order(number: u64, mark: &str) -> Document {
    let number = number as i64;
    doc! {
        "_id": ObjectId::new(),
        "customer": number * 7919 % 100_003,
        "status": "paid",
        "email": "jane.doe@example.com",
        "total": 129.95 + (number % 1000) as f64 / 4.0,
        "currency": "EUR",
        "created": DateTime::from_millis(1_759_999_999_000 + number),
        "express": number % 3 == 0,
        "items": [
            { "sku": "A-1009-B", "quantity": 2, "price": 49.99 },
            { "sku": "C-77", "quantity": 1, "price": 29.97 },
        ],
        "note": "leave it with the neighbours",
        "mark": mark,
    }
}
