//! Watches MongoDB change streams: one line of Extended JSON for each event, nothing lost across restarts.
//!
//! Data goes one way: `cli` (what was typed) → `settings` (what it means) → `source` (raw BSON, async) → `queue` → `writer`
//! (`extjson` → `output` → `resume_file`). `watch` puts them together and owns how a watch begins and ends. The one invariant: a
//! position is saved only after the bytes of its event were written.
//!
//! A library only so that tests, benchmarks and fuzz targets reach the rooms; its interface is the command line.

pub mod cli;
pub mod commands;
pub mod connection_string;
pub mod error;
pub mod explain;
pub mod extjson;
pub mod flag_value;
pub mod ledger;
pub mod logging;
pub mod memory;
pub mod output;
pub mod pipeline;
mod platform;
pub mod pretty;
pub mod queue;
pub mod resume_file;
pub mod settings;
pub mod shutdown;
pub mod source;
pub mod stream_spec;
pub mod telemetry;
pub mod token;
pub mod watch;
pub mod writer;
