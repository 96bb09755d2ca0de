//! The lines that cswatch prints for events.

/// Documents with every type and with unusual content.
mod content;
/// The Extended JSON writer compared with the BSON corpus and pymongo.
mod extended_json;
/// Events that a stage of the pipeline fails on.
mod failing_event;
/// Canonical and relaxed, on one line and indented, with and without color.
mod format;
/// Documents before and after a change.
mod images;
/// Every kind of event.
mod kinds;
/// Events above 16 MB.
mod large;
/// A field of the pipeline that is named like the number of a fragment.
mod split_event_field;
