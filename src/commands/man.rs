//! `cswatch man`: the manual pages.

use std::io;

use clap::Arg;
use roff::{Inline, Roff, bold, italic, roman};

/// The date of the pages: that of the last change to their text.
const DATE: &str = "2026-11-28";

/// A term and its explanation, or the purpose of an example and the example.
pub(crate) type Entry = (&'static str, &'static str);

/// What a manual page has besides the arguments of its command.
pub(crate) struct Page {
    /// Exit codes and their meaning.
    pub(crate) exit_codes: &'static [Entry],
    /// Environment variables.
    pub(crate) environment: &'static [Entry],
    /// Files that are read or written without being named by an option.
    pub(crate) files: &'static [Entry],
    /// Examples, each with its purpose first.
    pub(crate) examples: &'static [Entry],
}

/// Writes the manual page of `command`, which is built, in roff.
///
/// # Errors
/// The error of `out`.
pub(crate) fn write(
    command: &mut clap::Command,
    page: &Page,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let usage = command.render_usage().to_string();
    let command = &*command;
    let name = page_name(command);
    let mut roff = Roff::new();
    let version = concat!("cswatch ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", [&*name.to_uppercase(), "1", DATE, version]);
    // Text that can be copied: no hyphens inserted, no lines justified.
    roff.control("nh", []).control("ad", ["l"]);
    roff.control("SH", ["NAME"]);
    let about = command.get_about().map(ToString::to_string);
    roff.text([roman(format!("{name} - {}", about.unwrap_or_default()))]);
    roff.control("SH", ["SYNOPSIS"]);
    synopsis(&mut roff, &usage);
    roff.control("SH", ["DESCRIPTION"]);
    let description = command.get_long_about().or_else(|| command.get_about());
    let description = description.map(ToString::to_string).unwrap_or_default();
    paragraphs(&mut roff, &description, "PP");
    options(&mut roff, command);
    commands(&mut roff, command);
    for (heading, entries) in [
        ("EXIT STATUS", page.exit_codes),
        ("ENVIRONMENT", page.environment),
        ("FILES", page.files),
    ] {
        if !entries.is_empty() {
            roff.control("SH", [heading]);
        }
        for (term, meaning) in entries {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*meaning)]);
        }
    }
    if !page.examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
    }
    for (index, (purpose, example)) in page.examples.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(format!("{purpose}:"))]);
        roff.control("PP", []).control("RS", ["4"]);
        verbatim(&mut roff, example);
        roff.control("RE", []);
    }
    see_also(&mut roff, command);
    // Characters that are printed as others unless they are named. No macro has them in its name.
    let text = roff.render();
    let text = text.replace('~', r"\(ti").replace('^', r"\(ha");
    out.write_all(text.replace('`', r"\(ga").as_bytes())
}

/// Returns the name of a manual page: `cswatch`, `cswatch-check`.
fn page_name(command: &clap::Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

/// Writes the forms of a command, with the words before the first argument in bold.
fn synopsis(roff: &mut Roff, usage: &str) {
    let usage = usage.trim_start_matches("Usage:");
    for (index, form) in usage.lines().map(str::trim).enumerate() {
        if index > 0 {
            roff.control("br", []);
        }
        let arguments = form.find(['[', '<', '-']).unwrap_or(form.len());
        let (words, arguments) = form.split_at(arguments);
        roff.text([bold(words), roman(arguments)]);
    }
}

/// Writes paragraphs that are separated by blank lines; `separator` is the macro between them. One that is a command line or begins with
/// an option is an example.
fn paragraphs(roff: &mut Roff, text: &str, separator: &str) {
    for (index, paragraph) in text.split("\n\n").enumerate() {
        if index > 0 {
            roff.control(separator, []);
        }
        match paragraph.starts_with("--") || paragraph.starts_with("cswatch -") {
            true => verbatim(roff, paragraph),
            false => _ = roff.text([roman(paragraph)]),
        }
    }
}

/// Writes text whose lines are not filled.
fn verbatim(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    roff.text([roman(text)]);
    roff.control("fi", []);
}

/// Writes the arguments and options by heading.
fn options(roff: &mut Roff, command: &clap::Command) {
    let shown: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .collect();
    let mut headings: Vec<Option<&str>> = vec![None];
    for arg in &shown {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    roff.control("SH", ["OPTIONS"]);
    for heading in headings {
        if let Some(heading) = heading {
            roff.control("SS", [heading]);
        }
        for arg in shown.iter().filter(|arg| arg.get_help_heading() == heading) {
            option(roff, arg);
        }
    }
}

fn option(roff: &mut Roff, arg: &Arg) {
    let mut header: Vec<Inline> = Vec::new();
    if let Some(short) = arg.get_short() {
        header.extend([bold(format!("-{short}")), roman(", ")]);
    }
    if let Some(long) = arg.get_long() {
        header.push(bold(format!("--{long}")));
    }
    if arg.get_action().takes_values() {
        let names = arg.get_value_names().unwrap_or_default();
        for name in names {
            let space = if header.is_empty() { "" } else { " " };
            header.extend([roman(space), italic(name.as_str())]);
        }
    }
    if let [default] = arg.get_default_values() {
        let default = default.display();
        header.push(roman(format!(" [default: {default}]")));
    }
    roff.control("TP", []);
    roff.text(header);
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    paragraphs(roff, &help, "IP");
    if !arg.is_hide_possible_values_set() && arg.get_action().takes_values() {
        let values = arg.get_possible_values();
        let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
        if !names.is_empty() {
            roff.control("IP", []);
            roff.text([roman(format!("One of {}.", names.join(", ")))]);
        }
    }
}

fn commands(roff: &mut Roff, command: &clap::Command) {
    let mut listed = subcommands(command).peekable();
    if listed.peek().is_some() {
        roff.control("SH", ["COMMANDS"]);
    }
    for listed in listed {
        roff.control("TP", []);
        roff.text([bold(listed.get_name())]);
        let about = listed.get_about().map(ToString::to_string);
        roff.text([roman(format!("{}.", about.unwrap_or_default()))]);
    }
}

/// Returns the subcommands that have a page.
fn subcommands(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command
        .get_subcommands()
        .filter(|listed| !listed.is_hide_set())
}

/// Names the pages of the commands, or on such a page the main one.
fn see_also(roff: &mut Roff, command: &clap::Command) {
    let mut pages: Vec<&str> = subcommands(command).map(page_name).collect();
    if pages.is_empty() {
        pages.push("cswatch");
    }
    roff.control("SH", ["SEE ALSO"]);
    let mut line: Vec<Inline> = Vec::new();
    for (index, page) in pages.iter().enumerate() {
        if index > 0 {
            line.push(roman(", "));
        }
        line.extend([bold(*page), roman("(1)")]);
    }
    roff.text(line);
}
