//! README.md and the pages in `docs/`: every command runs and prints what the page shows, links lead somewhere, figures were measured.

/// The commands in the fenced blocks.
mod commands;
/// The figures of README.md.
mod figures;
/// Parts of Markdown.
mod markdown;
/// Comparison of what a command prints with what a page shows.
mod output;
/// Links, lengths, options and messages.
mod references;
/// Where the commands run: programs, servers, directories.
mod sandbox;
