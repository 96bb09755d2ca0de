//! The events to print.

use clap::{Args, ValueEnum};

use crate::config::OperationType;

use super::boolish;

/// The events to print.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Filter")]
pub(crate) struct FilterArgs {
    /// Print only events of these types.
    #[arg(
        long,
        env = "CSWATCH_OP",
        value_name = "TYPE,...",
        value_delimiter = ',',
        long_help = op_help()
    )]
    pub(crate) op: Vec<String>,
    /// Print only events matching a query.
    ///
    /// Repeatable: an event must match all of them. The body of a $match stage over the event, as typed in mongosh or as Extended JSON:
    ///
    /// --match '{"fullDocument.at": {$gt: ISODate("2026-01-31")}}'
    ///
    /// --match '{"wallTime": {"$gt": {"$date": "2026-01-31T00:00:00Z"}}}'
    ///
    /// A number is an int32 or int64 if it is written as an integer, else a double.
    #[arg(
        long = "match",
        env = "CSWATCH_MATCH",
        value_name = "QUERY",
        allow_hyphen_values = true
    )]
    pub(crate) matches: Vec<String>,
    /// Print only events of this document.
    ///
    /// Repeatable: events of any of the documents are printed. The document's _id as typed in mongosh or as Extended JSON, compared with
    /// documentKey._id:
    ///
    /// --id 7
    ///
    /// --id '"abc"'
    ///
    /// --id 'UUID("0f0e0d0c-0b0a-0908-0706-050403020100")'
    ///
    /// --id '{"$numberDecimal": "1.10"}'
    ///
    /// 24 hex digits are an ObjectId:
    ///
    /// --id 65a1b2c3d4e5f60718293a4b
    #[arg(
        long,
        env = "CSWATCH_ID",
        value_name = "ID",
        allow_hyphen_values = true
    )]
    pub(crate) id: Vec<String>,
    /// Append aggregation stages.
    ///
    /// An array of stages, inline or from @FILE, as typed in mongosh or as Extended JSON:
    ///
    /// --pipeline '[{$unset: "fullDocument.notes"}]'
    ///
    /// A change stream allows $match, $project, $addFields, $set, $unset, $replaceRoot,
    /// $replaceWith and $redact. The stages run after the other filters and must keep the event's _id, which is its resume token.
    #[arg(long, env = "CSWATCH_PIPELINE", value_name = "STAGES|@FILE")]
    pub(crate) pipeline: Option<String>,
    /// Updated document.
    ///
    /// The full document in update events. default: none, only the changed fields. updateLookup: the document as it is when the event is read, null if it was deleted.
    /// whenAvailable, required: the document right after the change, from the collection's stored post-images (MongoDB 6.0,
    /// changeStreamPreAndPostImages); without a post-image, null or an error respectively.
    #[arg(
        long,
        env = "CSWATCH_FULL_DOCUMENT",
        value_name = "MODE",
        default_value = "default",
        hide_possible_values = true
    )]
    pub(crate) full_document: FullDocument,
    /// Previous document.
    ///
    /// The document before the change in update, replace and delete events. off: none. whenAvailable, required: the document, from the collection's stored
    /// pre-images (MongoDB 6.0, changeStreamPreAndPostImages); without a pre-image, null or an error respectively.
    #[arg(
        long,
        env = "CSWATCH_FULL_DOCUMENT_BEFORE_CHANGE",
        value_name = "MODE",
        default_value = "off",
        hide_possible_values = true
    )]
    pub(crate) full_document_before_change: FullDocumentBeforeChange,
    /// Include create, modify and others.
    ///
    /// For the types, see --op. Requires MongoDB 6.0. Sets showExpandedEvents.
    #[arg(long, env = "CSWATCH_EXPANDED_EVENTS", value_parser = boolish())]
    pub(crate) expanded_events: bool,
    /// Print the aggregate command and exit.
    ///
    /// Shows the command that would be sent, without connecting to a server: as a call that can be pasted into mongosh, or with
    /// --format as Extended JSON. With --snapshot, also the command that reads documents.
    #[arg(long, env = "CSWATCH_EXPLAIN", value_parser = boolish())]
    pub(crate) explain: bool,
}

/// `--full-document`, with the server's own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FullDocument {
    /// The server's default: only inserts and replaces include the document.
    #[value(name = "default")]
    Default,
    /// The document as it is when the event is read.
    #[value(name = "updateLookup")]
    UpdateLookup,
    /// The stored post-image, or null if there is none.
    #[value(name = "whenAvailable")]
    WhenAvailable,
    /// The stored post-image, or an error if there is none.
    #[value(name = "required")]
    Required,
}

/// `--full-document-before-change`, with the server's own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FullDocumentBeforeChange {
    /// No pre-image.
    #[value(name = "off")]
    Off,
    /// The stored pre-image, or null if there is none.
    #[value(name = "whenAvailable")]
    WhenAvailable,
    /// The stored pre-image, or an error if there is none.
    #[value(name = "required")]
    Required,
}

/// Returns the help text of `--op`, with the list of types by which `config` validates it.
fn op_help() -> String {
    let names = |is_expanded| {
        let types = OperationType::ALL
            .iter()
            .filter(|kind| kind.is_expanded == is_expanded);
        types.map(|kind| kind.name).collect::<Vec<_>>().join(", ")
    };
    format!(
        "Print only events of these types.\n\n\
         As the server names them: {}; with --expanded-events also {}. For a type not in this list:\n\n\
         --match '{{operationType: \"...\"}}'",
        names(false),
        names(true)
    )
}
