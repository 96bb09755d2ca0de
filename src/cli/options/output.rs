//! Form and destination of the lines.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::Color;

use super::boolish;

/// Form and destination of the lines.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Extended JSON v2 mode [default: canonical].
    ///
    /// canonical preserves every type; relaxed is easier to read.
    #[arg(
        long,
        env = "CSWATCH_FORMAT",
        value_name = "canonical|relaxed",
        hide_possible_values = true
    )]
    pub(crate) format: Option<Format>,
    /// Indent events, in color on a terminal.
    #[arg(long, env = "CSWATCH_PRETTY", value_parser = boolish())]
    pub(crate) pretty: bool,
    /// When to use color.
    ///
    /// Applies to --pretty and the output of check. auto: on a terminal, unless NO_COLOR is set.
    #[arg(
        long,
        env = "CSWATCH_COLOR",
        value_name = "auto|always|never",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) color: Color,
    /// Append to a file, each event exactly once.
    ///
    /// A regular file, instead of stdout. A restart removes an incomplete last line and resumes after the last complete one. SIGHUP
    /// reopens the file by its name, for log rotation.
    #[arg(short, long, env = "CSWATCH_OUTPUT", value_name = "FILE", conflicts_with_all = ["no_resume", "pretty"])]
    pub(crate) output: Option<PathBuf>,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Every type preserved, in a type wrapper.
    Canonical,
    /// Plain numbers and readable dates where JSON has them.
    Relaxed,
}
