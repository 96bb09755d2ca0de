//! Backlogs of events for the programs to read: orders of a shop, about 600 bytes per event, or the documents of a table.

use std::time::Duration;

use anyhow::Result;
use bson::oid::ObjectId;
use bson::{DateTime, Document, RawDocumentBuf, Timestamp, doc};
use testkit::runtime::block_on;

use crate::server::{DB, Server};

/// Bytes of documents per insert; the driver splits an insert above its own limits.
const INSERT_BYTES: usize = 1 << 20;

/// Age of a backlog before it is read. cswatch reads only a backlog of at least two seconds with several streams, and a server's cluster
/// time advances only with writes.
pub(crate) const AGE: Duration = Duration::from_secs(3);

/// Events that no program has read yet.
pub(crate) struct Backlog {
    pub(crate) coll: String,
    /// Cluster time at or after which the first event is.
    pub(crate) start: Timestamp,
    pub(crate) events: u64,
}

impl Backlog {
    /// Inserts `events` documents into the new collection `coll`, and waits until they are old enough.
    pub(crate) fn write(
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
            if bytes >= INSERT_BYTES || number + 1 == events {
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

/// Returns an order with a mark, by which the line of its event is recognized.
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
        "note": "please leave it at the door.",
        "mark": mark,
    }
}
