//! The command line of a watch.

/// Shell completions.
mod completions;
/// `--explain`: the command that would be sent.
mod explain;
mod explain_for_mongosh;
/// Arguments of other tools, and errors of the parser.
mod habits;
/// Help, and options from the environment and from files.
mod help;
/// Arguments that are refused before anything is connected.
mod invalid;
mod invalid_values;
/// The manual pages.
mod manual;
/// Connection strings in the wrong place, and passwords on the command line.
mod misplaced_uri;
