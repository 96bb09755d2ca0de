//! Patterns of namespaces (`--ns-include`, `--ns-exclude`), and the stages that select namespaces on the server.

use bson::{Bson, Document, doc};

use super::redacted;
use crate::error::Failure;

/// Largest number of names that the server compares one by one. A longer list is halved first: with 1,000 names, one list gives half of the
/// undivided rate, lists of 4 give 0.71, of 16 0.75, of 64 0.84 (measured on MongoDB 6.0.27).
const MAX_LIST: usize = 64;

/// Maximum number of names in a message; of more, the rest is counted.
const MAX_SHOWN: usize = 5;

/// Databases without a change stream.
pub(crate) const UNWATCHED: [&str; 3] = ["admin", "local", "config"];

/// Patterns of namespaces; the default selects every namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Namespaces {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// A pattern `db.coll`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    text: String,
    db: Glob,
    coll: Glob,
}

/// A name in which `*` stands for any characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Glob {
    /// The text before the first `*`, between two of them, and after the last one.
    parts: Vec<String>,
}

impl Namespaces {
    /// Parses the values of both flags. `db` is the database of `--db`.
    ///
    /// # Errors
    /// Exit code 2 when a pattern is invalid, or can never match.
    pub(crate) fn parse(
        include: &[String],
        exclude: &[String],
        db: Option<&str>,
    ) -> Result<Self, Failure> {
        let parsed = |flag, texts: &[String]| {
            texts
                .iter()
                .map(|text| Pattern::parse(flag, text, db))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            include: parsed("--ns-include", include)?,
            exclude: parsed("--ns-exclude", exclude)?,
        })
    }

    /// Returns whether every namespace is selected.
    pub(crate) fn is_every(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Returns the flags that gave the patterns, for messages.
    pub(crate) fn flags(&self) -> &'static str {
        match (self.include.is_empty(), self.exclude.is_empty()) {
            (false, true) => "--ns-include",
            (true, _) => "--ns-exclude",
            (false, false) => "--ns-include and --ns-exclude",
        }
    }

    /// Returns whether the collection is selected.
    pub(crate) fn contains(&self, db: &str, coll: &str) -> bool {
        let matches = |pattern: &Pattern| pattern.db.matches(db) && pattern.coll.matches(coll);
        (self.include.is_empty() || self.include.iter().any(matches))
            && !self.exclude.iter().any(matches)
    }

    /// Returns the patterns as text: `a.*, b.c except a.tmp`. `every` stands for no included pattern.
    pub(crate) fn describe(&self, every: &str) -> String {
        let texts = |patterns: &[Pattern]| listed(patterns.iter().map(|pattern| &*pattern.text));
        let mut text = match self.include.is_empty() {
            true => every.to_owned(),
            false => texts(&self.include),
        };
        if !self.exclude.is_empty() {
            text += " except ";
            text += &texts(&self.exclude);
        }
        text
    }

    /// Returns the stage that selects the events of these namespaces.
    ///
    /// A rename is selected by its source or its target, the drop of a database by the databases of the patterns. An invalidate has no
    /// namespace and is always selected.
    pub(crate) fn stage(&self) -> Document {
        let selected = |field: &str| {
            let mut tests = Vec::new();
            if !self.include.is_empty() {
                tests.push(any(Pattern::tests(&self.include, field)));
            }
            if !self.exclude.is_empty() {
                tests.push(not(any(Pattern::tests(&self.exclude, field))));
            }
            all(tests)
        };
        let mut database = vec![is_operation("dropDatabase")];
        if !self.include.is_empty() {
            let include = self.include.iter();
            database.push(any(include
                .map(|pattern| pattern.db.test("$ns.db"))
                .collect()));
        }
        let whole = self.exclude.iter().filter(|pattern| pattern.coll.is_any());
        database.extend(whole.map(|pattern| not(pattern.db.test("$ns.db"))));
        // Without a collection, `selected` could be true for patterns of which only the database is compared.
        let has_coll = doc! { "$ne": ["$operationType", "dropDatabase"] }.into();
        doc! { "$match": { "$expr": any(vec![
            all(vec![has_coll, selected("ns")]),
            all(vec![is_operation("rename"), selected("to")]),
            all(database),
            is_operation("invalidate"),
        ]) } }
    }
}

/// Returns the stage that selects the events of collections of the database `db`. A rename is selected by its source or its target: a
/// collection that is replaced by `$out` is renamed onto.
pub(super) fn collections_stage(db: &str, colls: &[String]) -> Document {
    // `$expr` is faster than a query on `ns.coll`, with two names and with a thousand. The server rewrites the query into one on the oplog
    // with a regular expression for each name (measured on MongoDB 6.0.27).
    let test = |coll: &str| {
        any(vec![
            is_one_of(coll, colls),
            all(vec![
                is_operation("rename"),
                is_one_of("$to.db", &[db.to_owned()]),
                is_one_of("$to.coll", colls),
            ]),
        ])
    };
    // Behind `$let`, the server does not rewrite a long test into another one on the oplog, which it would run as well: 0.69 instead of
    // 0.40 of the undivided rate with 1,000 names (measured on MongoDB 6.0.27).
    let test = match colls.len() > MAX_LIST {
        true => doc! { "$let": { "vars": { "coll": "$ns.coll" }, "in": test("$$coll") } }.into(),
        false => test("$ns.coll"),
    };
    doc! { "$match": { "$expr": test } }
}

/// Returns names for a message.
pub(crate) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(MAX_SHOWN);
    let mut text = names.take(MAX_SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

fn is_operation(name: &str) -> Bson {
    doc! { "$eq": ["$operationType", name] }.into()
}

fn any(mut tests: Vec<Bson>) -> Bson {
    match tests.len() {
        1 => tests.remove(0),
        _ => doc! { "$or": tests }.into(),
    }
}

fn all(mut tests: Vec<Bson>) -> Bson {
    tests.retain(|test| *test != Bson::Boolean(true));
    match tests.len() {
        1 => tests.remove(0),
        _ => doc! { "$and": tests }.into(),
    }
}

fn not(test: Bson) -> Bson {
    doc! { "$not": [test] }.into()
}

/// Returns the test whether `value`, a field path, is one of `names`.
fn is_one_of(value: &str, names: &[String]) -> Bson {
    let mut names = names.to_vec();
    // The order of the server: by bytes.
    names.sort();
    names.dedup();
    if names.len() <= MAX_LIST {
        return is_in(value.to_owned(), &names);
    }
    doc! { "$let": { "vars": { "name": value }, "in": search(&names) } }.into()
}

/// Returns the test whether the variable `name` is one of `names`, which are sorted.
fn search(names: &[String]) -> Bson {
    if names.len() <= MAX_LIST {
        return is_in("$$name".to_owned(), names);
    }
    let (lower, upper) = names.split_at(names.len() / 2);
    let is_lower = doc! { "$lt": ["$$name", { "$literal": &upper[0] }] };
    doc! { "$cond": [is_lower, search(lower), search(upper)] }.into()
}

fn is_in(value: String, names: &[String]) -> Bson {
    match names {
        [only] => doc! { "$eq": [value, { "$literal": only }] }.into(),
        _ => doc! { "$in": [value, { "$literal": names }] }.into(),
    }
}

impl Pattern {
    fn parse(flag: &str, text: &str, only_db: Option<&str>) -> Result<Self, Failure> {
        const HINT: &str = "write db.coll, for example shop.orders or 'shop.*'";
        let shown = redacted(text);
        let invalid = |reason: &str| Failure::usage(format!("{flag}: '{shown}' {reason}"));
        if shown != text {
            return Err(invalid("is not a pattern").hint("use --uri for a connection string"));
        }
        let (mut db, mut coll) = (Glob::empty(), None);
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let literal = match c {
                '*' => None,
                '.' if coll.is_none() => {
                    coll = Some(Glob::empty());
                    continue;
                }
                '\\' => {
                    let Some(escaped) = chars.next() else {
                        return Err(invalid("ends with a backslash that escapes nothing")
                            .hint("write \\\\ for a backslash, \\* for a star"));
                    };
                    Some(escaped)
                }
                c => Some(c),
            };
            let part = coll.as_mut().unwrap_or(&mut db);
            match literal {
                Some(c) => part.push(c),
                None => part.parts.push(String::new()),
            }
        }
        let Some(coll) = coll else {
            let hint = match text.is_empty() {
                true => HINT.to_owned(),
                false => format!("{HINT}; '{text}.*' for every collection of {text}"),
            };
            return Err(invalid("has no collection").hint(hint));
        };
        let has = |glob: &Glob, forbidden: &[char]| {
            glob.parts.iter().any(|part| part.contains(forbidden))
        };
        if db.is_empty() || coll.is_empty() {
            return Err(invalid("lacks the database or the collection").hint(HINT));
        }
        if has(&db, &['/', '\\', '.', ' ', '"', '$', '\0']) || has(&coll, &['$', '\0']) {
            return Err(invalid("can never match").hint(
                "a database name contains no space and none of / \\ . \" $, a collection name no $",
            ));
        }
        if let [name] = &*db.parts
            && UNWATCHED.contains(&name.as_str())
        {
            return Err(
                invalid(&format!("can never match: {name} has no change stream"))
                    .hint("name another database"),
            );
        }
        if coll.parts[0].starts_with("system.") {
            return Err(
                invalid("can never match: system collections have no change stream")
                    .hint("name other collections"),
            );
        }
        if let Some(only_db) = only_db
            && !db.matches(only_db)
        {
            return Err(
                invalid(&format!("can never match with --db {only_db}")).hint(format!(
                    "write {only_db}. before the collection, or omit --db"
                )),
            );
        }
        let db = match only_db {
            // The stream has events of no other database.
            Some(_) => Glob::any(),
            None => db,
        };
        let text = text.to_owned();
        Ok(Self { text, db, coll })
    }

    /// Returns tests of which one is true if a pattern matches the namespace in `field`. Names without a star share one test for each
    /// database.
    fn tests(patterns: &[Self], field: &str) -> Vec<Bson> {
        let (db_field, coll_field) = (format!("${field}.db"), format!("${field}.coll"));
        let mut named: Vec<(&Glob, Vec<String>)> = Vec::new();
        let mut tests = Vec::new();
        for Self { db, coll, .. } in patterns {
            match &*coll.parts {
                [name] => match named.iter_mut().find(|(known, _)| *known == db) {
                    Some((_, names)) => names.push(name.clone()),
                    None => named.push((db, vec![name.clone()])),
                },
                _ => {
                    let coll = coll.test(&coll_field);
                    tests.push(all(vec![db.test(&db_field), coll]));
                }
            }
        }
        for (db, names) in named {
            tests.push(all(vec![
                db.test(&db_field),
                is_one_of(&coll_field, &names),
            ]));
        }
        tests
    }
}

impl Glob {
    fn any() -> Self {
        Self {
            parts: vec![String::new(), String::new()],
        }
    }

    fn empty() -> Self {
        Self {
            parts: vec![String::new()],
        }
    }

    fn push(&mut self, c: char) {
        if let Some(part) = self.parts.last_mut() {
            part.push(c);
        }
    }

    fn is_empty(&self) -> bool {
        matches!(&*self.parts, [only] if only.is_empty())
    }

    /// Returns whether it matches every name.
    fn is_any(&self) -> bool {
        self.parts.len() > 1 && self.parts.iter().all(String::is_empty)
    }

    fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = &*self.parts else {
            return self.parts.first().is_some_and(|only| only == name);
        };
        let Some(mut rest) = name.strip_prefix(&**first) else {
            return false;
        };
        for part in middle {
            match rest.split_once(&**part) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(&**last)
    }

    /// Returns the test whether `value`, a field path, matches.
    fn test(&self, value: &str) -> Bson {
        match &*self.parts {
            [name] => is_in(value.to_owned(), std::slice::from_ref(name)),
            _ if self.is_any() => Bson::Boolean(true),
            parts => {
                let parts: Vec<String> = parts.iter().map(|part| escaped(part)).collect();
                // `$` would also match before a newline at the end of the name.
                let regex = format!("\\A{}\\z", parts.join(".*"));
                doc! { "$regexMatch": { "input": value, "regex": regex, "options": "s" } }.into()
            }
        }
    }
}

/// Returns `text` for a regular expression that matches exactly it.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(include: &[&str], exclude: &[&str], db: Option<&str>) -> Result<Namespaces, Failure> {
        let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        Namespaces::parse(&strings(include), &strings(exclude), db)
    }

    #[test]
    fn matches_names_by_patterns() {
        for (pattern, matching, others) in [
            (
                "shop.orders",
                &["orders"][..],
                &["orders2", "Orders", "xorders"][..],
            ),
            ("shop.*", &["a", "a.b", "a,b", " ", "*"], &[]),
            ("*.tmp_*", &["tmp_", "tmp_1"], &["tmp", "xtmp_1"]),
            (
                "shop.a.*.z",
                &["a..z", "a.b.z", "a.b.c.z"],
                &["a.z", "a.b.zz"],
            ),
            (r"shop.a\*b", &["a*b"], &["axb", r"a\*b"]),
            (r"shop.a\\*", &[r"a\", r"a\b"], &["ab"]),
            ("s*p.*a*a", &["aa", "baba"], &["a"]),
        ] {
            let namespaces = parse(&[pattern], &[], None).unwrap();
            let inverse = parse(&[], &[pattern], None).unwrap();
            for (names, expected) in [(matching, true), (others, false)] {
                for name in names {
                    assert_eq!(
                        namespaces.contains("shop", name),
                        expected,
                        "{pattern} {name}"
                    );
                    assert_eq!(
                        inverse.contains("shop", name),
                        !expected,
                        "{pattern} {name}"
                    );
                }
            }
        }
    }

    #[test]
    fn refuses_patterns_that_are_invalid_or_never_match() {
        for (pattern, db) in [
            ("", None),
            ("shop", None),
            ("*", None),
            (".orders", None),
            ("shop.", None),
            ("shop.a\\", None),
            ("a b.c", None),
            ("shop.$x", None),
            ("local.*", None),
            ("shop.system.views", None),
            ("other.*", Some("shop")),
            ("mongodb://user:secret@host/a.b", None),
        ] {
            for failure in [
                parse(&[pattern], &[], db).unwrap_err(),
                parse(&[], &[pattern], db).unwrap_err(),
            ] {
                assert!(!failure.hint.is_empty(), "{pattern}");
                assert!(!failure.message.contains("secret"), "{failure}");
            }
        }
        assert!(parse(&["s*.x"], &[], Some("shop")).is_ok());
    }

    #[test]
    fn finds_each_name_of_a_long_list_in_few_comparisons() {
        let names: Vec<String> = (0..1000).map(|number| format!("c{number}")).collect();
        let text = is_one_of("$ns.coll", &names).to_string();
        for name in &names {
            assert_eq!(
                text.matches(&format!("\"{name}\"")).count().min(1),
                1,
                "{name}"
            );
        }
        fn longest(test: &Bson) -> usize {
            match test {
                Bson::Document(fields) => fields.values().map(longest).max().unwrap_or(0),
                Bson::Array(values) if values.iter().all(|v| v.as_str().is_some()) => values.len(),
                Bson::Array(values) => values.iter().map(longest).max().unwrap_or(0),
                _ => 0,
            }
        }
        assert!(longest(&is_one_of("$ns.coll", &names)) <= MAX_LIST);
    }

    #[test]
    fn shortens_long_lists_in_messages() {
        let many: Vec<String> = (0..7).map(|number| format!("shop.c{number}")).collect();
        let namespaces = Namespaces::parse(&many, &["*.tmp".to_owned()], None).unwrap();
        assert_eq!(
            namespaces.describe("x"),
            "shop.c0, shop.c1, shop.c2, shop.c3, shop.c4 and 2 more except *.tmp"
        );
    }
}
