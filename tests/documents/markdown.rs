//! Parts of Markdown: fenced blocks, prose, code spans, links, anchors.

use std::fs;
use std::path::{Path, PathBuf};

/// A page.
pub(super) struct Page {
    /// Its path from the root of the repository.
    pub(super) path: String,
    pub(super) text: String,
}

/// A fenced block.
pub(super) struct Block<'a> {
    pub(super) language: &'a str,
    pub(super) lines: Vec<&'a str>,
}

/// Returns the root of the repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the page with this path.
#[track_caller]
pub(super) fn page(path: &str) -> Page {
    let text =
        fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    Page {
        path: path.to_owned(),
        text,
    }
}

/// Returns the pages in a directory, in the order of their names.
#[track_caller]
pub(super) fn pages_in(directory: &str) -> Vec<Page> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root().join(directory))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.sort();
    let relative = |path: PathBuf| {
        let path = path.strip_prefix(root()).expect("inside").to_owned();
        page(path.to_str().expect("ASCII"))
    };
    paths.into_iter().map(relative).collect()
}

/// Returns README.md and the pages in `docs/`.
pub(super) fn user_pages() -> Vec<Page> {
    let mut pages = vec![page("README.md")];
    pages.extend(pages_in("docs"));
    pages
}

impl Page {
    /// Returns its fenced blocks.
    pub(super) fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let lines = lines.by_ref().take_while(|line| *line != "```").collect();
                blocks.push(Block { language, lines });
            }
        }
        blocks
    }

    /// Returns its lines outside fenced blocks.
    pub(super) fn prose(&self) -> Vec<&str> {
        let mut inside = false;
        let is_prose = |line: &&str| {
            let is_fence = line.starts_with("```");
            inside ^= is_fence;
            !inside && !is_fence
        };
        self.text.lines().filter(is_prose).collect()
    }

    /// Returns its code spans.
    pub(super) fn code_spans(&self) -> Vec<String> {
        // A span may contain a line break.
        let prose = self.prose().join("\n");
        let spans = prose.split('`').skip(1).step_by(2);
        spans.map(|span| span.replace('\n', " ")).collect()
    }

    /// Returns the targets of its links.
    pub(super) fn links(&self) -> Vec<String> {
        let prose = self.prose().join("\n");
        let targets = prose.split("](").skip(1);
        targets
            .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
            .collect()
    }

    /// Returns the anchors of its headings, as GitHub makes them.
    pub(super) fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.iter().filter(|line| line.starts_with('#'));
        headings
            .map(|heading| {
                let text = heading.trim_start_matches('#').trim().to_lowercase();
                text.chars()
                    .filter(|symbol| symbol.is_alphanumeric() || " -_".contains(*symbol))
                    .map(|symbol| if symbol == ' ' { '-' } else { symbol })
                    .collect()
            })
            .collect()
    }

    /// Returns the cells of its table with this header row, without the header; empty if it has none.
    pub(super) fn table(&self, header: &str) -> Vec<Vec<String>> {
        let lines = self.text.lines().skip_while(|line| *line != header).skip(2);
        lines
            .take_while(|line| line.starts_with('|'))
            .map(|line| {
                let cells = line.replace(r"\|", "\u{0}");
                let cells = cells.trim_matches('|').split('|');
                cells
                    .map(|cell| cell.trim().replace('\u{0}', "|"))
                    .collect()
            })
            .collect()
    }
}
