//! The manual pages.

use super::help::{all_options, examples, help_of, option_examples, printed};

/// Returns the text of a page as a terminal shows it, as far as the escapes go that the pages use.
fn text(page: &[String]) -> String {
    let mut text = page.join("\n");
    for (escape, character) in [
        (r"\*(Aq", "'"),
        (r"\(ti", "~"),
        (r"\(ha", "^"),
        (r"\(ga", "`"),
        (r"\-", "-"),
        (r"\fB", ""),
        (r"\fI", ""),
        (r"\fR", ""),
        (r"\&", ""),
        (r"\\", r"\"),
    ] {
        text = text.replace(escape, character);
    }
    text
}

/// Returns the headings of a page.
fn sections(page: &[String]) -> Vec<&str> {
    let sections = page.iter().filter_map(|line| line.strip_prefix(".SH "));
    sections.map(|section| section.trim_matches('"')).collect()
}

#[test]
fn lists_every_option_in_the_manual_page() {
    let help = printed(&["--help"]);
    let page = printed(&["man"]).join("\n");
    assert!(page.contains("\n.TH CSWATCH 1 "), "{page}");
    for option in all_options(&help) {
        let written = format!(r"\-\-{}", option.replace('-', r"\-"));
        assert!(page.contains(&written), "{option}");
    }
}

#[test]
fn has_the_sections_of_a_manual_page() {
    assert_eq!(
        sections(&printed(&["man"])),
        [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "COMMANDS",
            "EXIT STATUS",
            "ENVIRONMENT",
            "FILES",
            "EXAMPLES",
            "SEE ALSO",
        ]
    );
}

#[test]
fn has_a_page_for_each_command_that_it_refers_to() {
    let page = text(&printed(&["man"]));
    let (_, references) = page.split_once(".SH \"SEE ALSO\"\n").expect("references");
    let commands: Vec<&str> = references
        .split(", ")
        .filter_map(|page| page.trim().strip_prefix("cswatch-")?.strip_suffix("(1)"))
        .collect();
    assert_eq!(commands, ["check", "token", "health", "completions", "man"]);
    for command in commands {
        let page = printed(&["man", command]);
        let title = format!(r".TH CSWATCH\-{} 1 ", command.to_uppercase());
        let title = title.replace(r"\-", "-");
        assert!(page.iter().any(|line| line.starts_with(&title)), "{page:?}");
        assert!(sections(&page).contains(&"EXAMPLES"), "{command}");
        assert!(text(&page).ends_with("cswatch(1)"), "{command}");
    }
}

#[test]
fn shows_every_example_as_it_is_typed() {
    for command in [None, Some("check"), Some("token"), Some("completions")] {
        let mut arguments = vec!["man"];
        arguments.extend(command);
        let page = printed(&arguments);
        let source = page.join("\n");
        // Without hyphenation and justification, and with every hyphen and quote escaped.
        assert!(source.contains("\n.nh\n.ad l\n"), "{source}");
        let shown = text(&page);
        let help = help_of(command, "--help");
        for example in examples(&help).into_iter().chain(option_examples(&help)) {
            let verbatim = format!("\n.nf\n{example}\n.fi\n");
            assert!(shown.contains(&verbatim), "{example}\n{shown}");
        }
        for line in page.iter().filter(|line| !line.starts_with('.')) {
            let without = line.replace(r"\-", "");
            assert!(!without.contains(['-', '\'', '~', '^', '`']), "{line}");
        }
    }
}
