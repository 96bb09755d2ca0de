//! Patterns of namespaces (`--ns-include`, `--ns-exclude`), and the stages that select namespaces on the server.

use bson::{Document, doc};

use super::redacted;
use crate::error::Failure;

/// Largest number of collections that the server also looks for in the oplog, before it makes events of its entries. Of a backlog that is
/// all of watched collections, that keeps 0.82 of the undivided rate; where few are watched, it saves the server a third of its work. A
/// longer list costs more there than it saves: 0.71 of the rate with 1,000 names (measured on MongoDB 6.0.27).
const MAX_IN_OPLOG: usize = 64;

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
            let mut test = Document::new();
            if !self.include.is_empty() {
                test.insert("$or", Pattern::tests(&self.include, field));
            }
            if !self.exclude.is_empty() {
                test.insert("$nor", Pattern::tests(&self.exclude, field));
            }
            test
        };
        // Without a collection, `selected` could be true for patterns of which only the database is compared.
        let mut namespace = doc! { "operationType": { "$ne": "dropDatabase" } };
        namespace.extend(selected("ns"));
        let mut target = doc! { "operationType": "rename" };
        target.extend(selected("to"));
        let mut database = doc! { "operationType": "dropDatabase" };
        let is_in_database = |pattern: &Pattern| pattern.db.test("ns.db");
        if !self.include.is_empty() {
            let include = self.include.iter().map(is_in_database);
            database.insert("$or", include.collect::<Vec<_>>());
        }
        let whole = self.exclude.iter().filter(|pattern| pattern.coll.is_any());
        let exclude: Vec<Document> = whole.map(is_in_database).collect();
        if !exclude.is_empty() {
            database.insert("$nor", exclude);
        }
        any_event(vec![
            namespace,
            target,
            database,
            doc! { "operationType": "invalidate" },
        ])
    }
}

/// Returns the stage that selects the events of collections of the database `db`. A rename is selected by its source or its target: a
/// collection that is replaced by `$out` is renamed onto.
pub(super) fn collections_stage(db: &str, colls: &[String]) -> Document {
    if colls.len() > MAX_IN_OPLOG {
        return any_event(vec![
            doc! { "ns.coll": { "$in": colls } },
            doc! { "operationType": "rename", "to.db": db, "to.coll": { "$in": colls } },
        ]);
    }
    // As a query on `ns.coll`, the server would look for a regular expression for each name in the oplog, which takes it twice as long
    // with 60 names (measured on MongoDB 6.0.27).
    let is_one_of = |value: &str| doc! { "$in": [value, { "$literal": colls }] };
    doc! { "$match": { "$expr": { "$or": [
        is_one_of("$ns.coll"),
        { "$and": [
            { "$eq": ["$operationType", "rename"] },
            { "$eq": ["$to.db", { "$literal": db }] },
            is_one_of("$to.coll"),
        ] },
    ] } } }
}

/// Returns the stage that selects the events for which one of `tests` is true, and that the server runs on events only.
///
/// The server rewrites a test of the namespace into one on the oplog, and runs that as well: a pattern then keeps 0.46 of the undivided rate
/// instead of 0.88, 1,000 names 0.13 instead of 0.92 (measured on MongoDB 6.0.27). It rewrites no test of `_id`, hence no alternative to one.
/// `_id` is the resume token, and never null.
fn any_event(mut tests: Vec<Document>) -> Document {
    tests.push(doc! { "_id": null });
    doc! { "$match": { "$or": tests } }
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
    fn tests(patterns: &[Self], field: &str) -> Vec<Document> {
        let (db_field, coll_field) = (format!("{field}.db"), format!("{field}.coll"));
        let mut named: Vec<(&Glob, Vec<&str>)> = Vec::new();
        let mut tests = Vec::new();
        for Self { db, coll, .. } in patterns {
            match &*coll.parts {
                [name] => match named.iter_mut().find(|(known, _)| *known == db) {
                    Some((_, names)) => names.push(name),
                    None => named.push((db, vec![name])),
                },
                _ => {
                    let mut test = db.test(&db_field);
                    test.extend(coll.test(&coll_field));
                    tests.push(test);
                }
            }
        }
        for (db, names) in named {
            let mut test = db.test(&db_field);
            test.insert(&coll_field, doc! { "$in": names });
            tests.push(test);
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

    /// Returns the test whether `field` matches.
    fn test(&self, field: &str) -> Document {
        match &*self.parts {
            [name] => doc! { field: name },
            _ if self.is_any() => doc! {},
            parts => {
                let parts: Vec<String> = parts.iter().map(|part| escaped(part)).collect();
                // `$` would also match before a newline at the end of the name.
                let regex = format!("\\A{}\\z", parts.join(".*"));
                doc! { field: { "$regex": regex, "$options": "s" } }
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
    fn shortens_long_lists_in_messages() {
        let many: Vec<String> = (0..7).map(|number| format!("shop.c{number}")).collect();
        let namespaces = Namespaces::parse(&many, &["*.tmp".to_owned()], None).unwrap();
        assert_eq!(
            namespaces.describe("x"),
            "shop.c0, shop.c1, shop.c2, shop.c3, shop.c4 and 2 more except *.tmp"
        );
    }
}
