//! Events as they are printed.

/// Documents of any content.
mod content;
/// The Extended JSON writer against the BSON corpus and pymongo.
mod extended_json;
/// Canonical and relaxed, on one line and indented, with and without color.
mod format;
/// Documents before and after a change.
mod images;
/// Every kind of event.
mod kinds;
/// Events above 16 MB.
mod large;
