//! Content of a resume token: as aligned lines for people, or as one JSON object. Both leave out the fields that the token lacks.

use std::fmt::{Display, Write as _};

use bson::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::text;
use crate::time;
use crate::token::{Decoded, Kind, ResumeToken};

/// The content of a token as it is printed.
pub(super) struct Report<'a> {
    time: Timestamp,
    type_bits: &'a [u8],
    /// The rest, or why it cannot be decoded.
    content: Result<Content, String>,
}

/// A decoded token, with its documents as Extended JSON.
struct Content {
    decoded: Decoded,
    document_key: Option<String>,
    operation_description: Option<String>,
}

impl Content {
    fn of(token: &ResumeToken) -> Result<Self, String> {
        let decoded = token.decode().map_err(|error| error.to_string())?;
        let document_key = decoded.document_key_text();
        let operation_description = decoded.operation_description_text();
        Ok(Self {
            document_key: document_key.map_err(|error| error.to_string())?,
            operation_description: operation_description.map_err(|error| error.to_string())?,
            decoded,
        })
    }
}

impl<'a> Report<'a> {
    pub(super) fn of(token: &'a ResumeToken) -> Self {
        Self {
            time: token.time(),
            type_bits: token.type_bits(),
            content: Content::of(token),
        }
    }

    /// Returns whether more than the time was decoded.
    pub(super) fn is_complete(&self) -> bool {
        self.content.is_ok()
    }

    /// Appends one line for each field of the token.
    pub(super) fn write_lines(&self, zone: &TimeZone, out: &mut String) {
        let mut text = time::rfc3339(self.time);
        if let Some(local) = time::rfc3339_in(zone, self.time) {
            text = format!("{text} ({local} local time)");
        }
        let mut line = |label: &str, value: &dyn Display| {
            // Writing into a String cannot fail.
            let _ = writeln!(out, "{label:15} {value}");
        };
        line("time", &text);
        line("cluster time", &cluster_time(self.time));
        match &self.content {
            Ok(content) => {
                let decoded = &content.decoded;
                match decoded.kind {
                    Kind::Event => line("kind", &"event"),
                    Kind::HighWaterMark => line("kind", &"high-water mark"),
                    Kind::Invalidate => line("kind", &"invalidate"),
                    Kind::Fragment(number) => line("kind", &format_args!("fragment {number}")),
                }
                line("ordinal", &decoded.ordinal);
                line("version", &decoded.version);
                if let Some(uuid) = decoded.collection_uuid {
                    line("collection UUID", &uuid);
                }
                if let Some(key) = &content.document_key {
                    line("document key", key);
                }
                if let Some(operation) = &decoded.operation_type {
                    line("operation type", &text::escaped(operation));
                }
                if let Some(description) = &content.operation_description {
                    line("description", description);
                }
            }
            Err(why) => line("not decoded", &text::message(why)),
        }
        if !self.type_bits.is_empty() {
            line("type bits", &const_hex::encode(self.type_bits));
        }
    }

    /// Appends one JSON object on one line.
    pub(super) fn write_json(&self, out: &mut String) {
        let mut separator = '{';
        let mut field = |name: &str, value: &dyn Display| {
            // Writing into a String cannot fail.
            let _ = write!(out, "{separator}\"{name}\":{value}");
            separator = ',';
        };
        let text = |text: &str| text::escaped_json(&Value::from(text).to_string()).into_owned();
        field("time", &text(&time::rfc3339(self.time)));
        field("clusterTime", &cluster_time(self.time));
        match &self.content {
            Ok(content) => {
                let decoded = &content.decoded;
                match decoded.kind {
                    Kind::Event => field("kind", &text("event")),
                    Kind::HighWaterMark => field("kind", &text("highWaterMark")),
                    Kind::Invalidate => field("kind", &text("invalidate")),
                    Kind::Fragment(number) => {
                        field("kind", &text("fragment"));
                        field("fragment", &number);
                    }
                }
                field("ordinal", &decoded.ordinal);
                field("version", &decoded.version);
                if let Some(uuid) = decoded.collection_uuid {
                    field("collectionUUID", &text(&uuid.to_string()));
                }
                // As text: a JSON tree would merge the duplicate keys that a document may have.
                if let Some(key) = &content.document_key {
                    field("documentKey", key);
                }
                if let Some(operation) = &decoded.operation_type {
                    field("operationType", &text(operation));
                }
                if let Some(description) = &content.operation_description {
                    field("operationDescription", description);
                }
            }
            Err(why) => field("notDecoded", &text(why)),
        }
        if !self.type_bits.is_empty() {
            field("typeBits", &text(&const_hex::encode(self.type_bits)));
        }
        out.push_str("}\n");
    }
}

fn cluster_time(time: Timestamp) -> String {
    let Timestamp { time, increment } = time;
    format!("{{\"$timestamp\":{{\"t\":{time},\"i\":{increment}}}}}")
}
