//! The command line of a watch.

/// `--explain`: the command that would be sent.
mod explain;
/// Help, completions, the manual page, and options from the environment and from files.
mod help;
/// Arguments that are refused before anything is connected.
mod invalid;
/// Connection strings in the wrong place, and passwords on the command line.
mod misplaced_uri;
