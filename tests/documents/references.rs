//! What the pages refer to exists: links, options, exit codes, messages, metrics. What they claim is true.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use testkit::cswatch::Cswatch;

use super::markdown::{page, pages_in, root, user_pages};

/// The longest README, in lines.
const README_LINES: usize = 150;

/// The longest line of README.md, in characters.
const README_COLUMNS: usize = 120;

/// Places where nothing is published yet.
const UNPUBLISHED: [&str; 5] = [
    "crates.io",
    "ghcr.io",
    "docker.io",
    "/releases",
    "cargo install cswatch",
];

/// Options in code spans that are those of other programs.
const OTHER_OPTIONS: [&str; 12] = [
    "--build",
    "--example",
    "--features",
    "--fork",
    "--install",
    "--keep",
    "--locked",
    "--logpath",
    "--no-default-features",
    "--path",
    "--profile",
    "--replSet",
];

/// Returns the Rust sources below a directory as one text, without the line breaks inside string literals.
fn sources(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("a source");
            let mut is_continued = false;
            for line in source.lines() {
                let line = if is_continued {
                    line.trim_start()
                } else {
                    line
                };
                is_continued = line.ends_with('\\');
                text.push_str(line.trim_end_matches('\\'));
                if !is_continued {
                    text.push('\n');
                }
            }
        }
    }
    text
}

#[track_caller]
fn help(arguments: &[&str]) -> String {
    let finished = Cswatch::new().args(arguments).run().expect_code(0);
    finished.stdout.join("\n")
}

#[test]
fn fits_the_readme_on_two_screens() {
    let readme = page("README.md");
    let lines: Vec<&str> = readme.text.lines().collect();
    assert!(lines.len() <= README_LINES, "{} lines", lines.len());
    for line in lines {
        assert!(line.chars().count() <= README_COLUMNS, "{line}");
    }
}

#[test]
fn links_to_files_and_headings_that_exist() {
    let mut pages = pages_in(".");
    pages.extend(pages_in("docs"));
    pages.extend(pages_in("tests/vectors"));
    let mut links = 0;
    for page in &pages {
        for link in page.links() {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let directory = Path::new(&page.path).parent().expect("a directory");
            let target = match file {
                "" => page.path.clone(),
                file => directory.join(file).to_str().expect("ASCII").to_owned(),
            };
            let context = format!("{} links to {link}", page.path);
            assert!(root().join(&target).exists(), "{context}");
            if !anchor.is_empty() {
                let anchors = super::markdown::page(&target).anchors();
                assert!(
                    anchors.iter().any(|found| found == anchor),
                    "{context}: {anchors:?}"
                );
            }
        }
    }
    assert!(links > 20, "{links}");
}

#[test]
fn claims_no_place_where_nothing_is_published() {
    for page in user_pages() {
        for place in UNPUBLISHED {
            assert!(!page.text.contains(place), "{} mentions {place}", page.path);
        }
    }
}

#[test]
fn names_only_options_that_exist() {
    let helps = [
        &["--help"][..],
        &["help", "check"],
        &["help", "token"],
        &["help", "health"],
    ]
    .map(help);
    let mut options = 0;
    for page in user_pages() {
        for span in page.code_spans() {
            let words = span.split(|symbol: char| !symbol.is_ascii_alphanumeric() && symbol != '-');
            for option in words.filter(|word| word.starts_with("--") && word.len() > 2) {
                options += 1;
                let is_known = OTHER_OPTIONS.contains(&option)
                    || helps.iter().any(|help| {
                        help.lines().any(|line| {
                            line.trim_start().starts_with('-')
                                && line.split([' ', ',', '=', '[']).any(|word| word == option)
                        })
                    });
                assert!(is_known, "{}: {option} in `{span}`", page.path);
            }
        }
    }
    assert!(options > 50, "{options}");
}

#[test]
fn lists_the_exit_codes_of_the_help() {
    let help = help(&["--help"]);
    let (_, codes) = help.split_once("Exit codes:\n").expect("exit codes");
    let codes = codes.lines().take_while(|line| !line.is_empty());
    // The line after a code that wraps is indented further.
    let of_help: BTreeSet<&str> = codes
        .filter_map(|line| Some(line.strip_prefix("  ")?.split_once("  ")?.0))
        .filter(|code| !code.is_empty())
        .collect();
    let troubleshooting = page("docs/troubleshooting.md");
    let table = troubleshooting.table("| code | meaning |");
    let of_page: BTreeSet<&str> = table.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(of_page, of_help);
}

#[test]
fn quotes_only_messages_of_the_program_and_of_the_server() {
    /// A message of the server, which cswatch repeats.
    const OF_THE_SERVER: &str = "The $changeStream stage is only supported on replica sets";
    // A message that the program puts together is in the test that provokes it.
    let mut known = sources(&root().join("src"));
    for directory in ["jetstream", "output", "resume", "server"] {
        known.push_str(&sources(&root().join("tests").join(directory)));
    }
    let troubleshooting = page("docs/troubleshooting.md");
    let rows = troubleshooting.table("| message | code | hint |");
    assert!(rows.len() > 15);
    let mut unknown = Vec::new();
    for row in rows {
        let messages: Vec<&str> = row[0].split('`').skip(1).step_by(2).collect();
        assert!(!messages.is_empty() || row[1].is_empty(), "{row:?}");
        for message in messages
            .into_iter()
            .filter(|message| *message != OF_THE_SERVER)
        {
            for part in message
                .split("...")
                .flat_map(|part| part.split("pid N").flat_map(|part| part.split(": ")))
            {
                if !known.contains(part.trim()) {
                    unknown.push(format!("{part:?} of {message:?}"));
                }
            }
        }
        for code in row[1].split(", ").filter(|code| !code.is_empty()) {
            assert!(matches!(code.parse(), Ok(1..=8)), "{row:?}");
        }
    }
    assert!(unknown.is_empty(), "in no source: {unknown:#?}");
}

#[test]
fn describes_only_metrics_that_are_served() {
    let program = sources(&root().join("src"));
    let monitoring = page("docs/monitoring.md");
    let words = monitoring
        .text
        .split(|symbol: char| !symbol.is_ascii_alphanumeric() && symbol != '_');
    let names: BTreeSet<&str> = words.filter(|word| word.starts_with("cswatch_")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(program.contains(&format!("\"{name}\"")), "{name}");
    }
}
