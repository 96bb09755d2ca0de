//! The tree that the parser builds, and its conversion to BSON.

use bson::error::ErrorKind;
use bson::{Bson, Document};
use serde_json::Value;

use super::SyntaxError;
use super::syntax_error::shortened;

/// Keys by which the `bson` crate recognizes a type wrapper of Extended JSON v2.
const WRAPPER_KEYS: [&str; 16] = [
    "$oid",
    "$symbol",
    "$regularExpression",
    "$numberInt",
    "$numberLong",
    "$numberDouble",
    "$numberDecimal",
    "$binary",
    "$uuid",
    "$code",
    "$timestamp",
    "$date",
    "$minKey",
    "$maxKey",
    "$dbPointer",
    "$undefined",
];

/// A value and its place in the text.
#[derive(Debug)]
pub(super) struct Node {
    /// Offset in bytes.
    pub(super) at: usize,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// A value of JSON without parts: a number, text, true, false or null.
    Json(Value),
    /// A value that JSON does not have, from a call or a literal of JavaScript.
    Typed(Bson),
    Array(Vec<Node>),
    /// The fields have distinct keys without NUL.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Converts the tree of `text` to BSON.
    ///
    /// # Errors
    /// When a type wrapper of Extended JSON is invalid.
    pub(super) fn into_bson(self, text: &str) -> Result<Bson, SyntaxError> {
        match self.content {
            Content::Typed(value) => Ok(value),
            Content::Array(items) => items
                .into_iter()
                .map(|item| item.into_bson(text))
                .collect::<Result<Vec<_>, _>>()
                .map(Bson::Array),
            Content::Object(fields) if !is_wrapper(&fields) => fields
                .into_iter()
                .map(|(key, field)| Ok((key, field.into_bson(text)?)))
                .collect::<Result<Document, _>>()
                .map(Bson::Document),
            Content::Json(_) | Content::Object(_) => {
                let at = self.at;
                Bson::try_from(self.into_json()).map_err(|error| {
                    let reason = match error.kind {
                        ErrorKind::ObjectId { kind, .. } => kind.to_string(),
                        kind => error.message.unwrap_or_else(|| kind.to_string()),
                    };
                    SyntaxError::new(
                        text,
                        at,
                        format_args!("not Extended JSON: {}", shortened(&reason)),
                    )
                    .hint(
                        "see https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/ \
                         for the form of each type",
                    )
                })
            }
        }
    }

    /// Converts the content of a type wrapper to JSON, in which calls become wrappers too.
    fn into_json(self) -> Value {
        match self.content {
            Content::Json(value) => value,
            Content::Typed(value) => value.into_canonical_extjson(),
            Content::Array(items) => items.into_iter().map(Self::into_json).collect(),
            Content::Object(fields) => fields
                .into_iter()
                .map(|(key, field)| (key, field.into_json()))
                .collect(),
        }
    }
}

fn is_wrapper(fields: &[(String, Node)]) -> bool {
    fields
        .iter()
        .any(|(key, _)| WRAPPER_KEYS.contains(&key.as_str()))
}
