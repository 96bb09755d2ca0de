//! What is watched: the database, the collections, and the patterns of namespaces.

use crate::cli::options::ConnectionArgs;
use crate::config::{self, Namespaces, Scope, UNWATCHED};
use crate::error::Failure;

use super::URI_HINT;

/// Returns what is watched. `uri_db` is the database in the connection string.
///
/// # Errors
/// Exit code 2 when a name is invalid, or cannot be watched.
pub(super) fn scope(args: &ConnectionArgs, uri_db: Option<&str>) -> Result<Scope, Failure> {
    // A database without change streams is in a connection string only for the login.
    let uri_db = uri_db.filter(|db| !UNWATCHED.contains(db));
    let Some(db) = args.db.as_deref().or(uri_db) else {
        if args.coll.is_empty() {
            return Ok(Scope::Deployment);
        }
        let namespace = args.coll.iter().find_map(|coll| coll.split_once('.'));
        let hint = match namespace {
            Some((db, coll)) if ensure_name("--db", db).is_ok() => {
                format!("use --db {db} --coll {coll}")
            }
            _ => "add --db DB, or name the database in --uri: mongodb://HOST:PORT/DB".to_owned(),
        };
        return Err(Failure::usage("--coll: no database is given").hint(hint));
    };
    ensure_name("--db", db)?;
    let mut colls: Vec<String> = args
        .coll
        .iter()
        .flat_map(|text| split_names(text))
        .collect();
    colls.sort();
    colls.dedup();
    for coll in &colls {
        ensure_name("--coll", coll)?;
        if coll.starts_with("system.") {
            return Err(Failure::usage(format!(
                "--coll {coll}: system collections have no change stream"
            ))
            .hint("name another collection, or omit --coll to watch the whole database"));
        }
    }
    if UNWATCHED.contains(&db) {
        return Err(
            Failure::usage(format!("--db {db}: this database has no change stream"))
                .hint("name another database, or omit --db to watch the whole deployment"),
        );
    }
    Ok(match colls.len() {
        0 => Scope::Database(db.to_owned()),
        1 => Scope::Collection(db.to_owned(), colls.remove(0)),
        _ => Scope::Collections(db.to_owned(), colls),
    })
}

/// Returns the names in a list that is separated by commas, without the spaces around them. A backslash makes a comma, a space or a
/// backslash part of a name.
fn split_names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    // Length of the name up to its last character that is not a space to drop.
    let mut length = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' => {
                name.truncate(length);
                names.push(std::mem::take(&mut name));
                length = 0;
            }
            '\\' => {
                let is_escape = |next: &char| matches!(next, ',' | '\\') || next.is_whitespace();
                name.push(chars.next_if(is_escape).unwrap_or(c));
                length = name.len();
            }
            c if c.is_whitespace() => {
                if !name.is_empty() {
                    name.push(c);
                }
            }
            c => {
                name.push(c);
                length = name.len();
            }
        }
    }
    name.truncate(length);
    names.push(name);
    names
}

/// Returns the namespaces whose events are printed.
///
/// # Errors
/// Exit code 2 when a pattern is invalid, or combined with `--coll`.
pub(super) fn namespaces(args: &ConnectionArgs, scope: &Scope) -> Result<Namespaces, Failure> {
    let db = match scope {
        Scope::Deployment => None,
        scope => Some(scope.database()),
    };
    let namespaces = Namespaces::parse(&args.ns_include, &args.ns_exclude, db)?;
    if let (false, Some(db), [coll, ..]) = (namespaces.is_every(), db, &*args.coll) {
        let flag = match args.ns_include.is_empty() {
            true => "--ns-exclude",
            false => "--ns-include",
        };
        let coll = config::redacted(coll);
        return Err(
            Failure::usage(format!("{flag} cannot be combined with --coll")).hint(format!(
                "write --ns-include '{db}.{coll}' instead of --coll {coll}"
            )),
        );
    }
    Ok(namespaces)
}

fn ensure_name(flag: &str, name: &str) -> Result<(), Failure> {
    let (forbidden, rule): (&[char], _) = match flag {
        "--db" => (
            &['/', '\\', '.', ' ', '"', '$', '\0'],
            "a database name must not be empty or contain a space or any of / \\ . \" $",
        ),
        _ => (
            &['$', '\0'],
            "a collection name must not be empty or contain $",
        ),
    };
    if !name.is_empty() && !name.contains(forbidden) {
        return Ok(());
    }
    let shown = config::redacted(name);
    let hint = if shown != name {
        URI_HINT.to_owned()
    } else if let ("--db", Some((db, coll))) = (flag, name.split_once('.'))
        && ensure_name("--db", db).is_ok()
        && ensure_name("--coll", coll).is_ok()
    {
        format!("use --db {db} --coll {coll} for a collection")
    } else {
        rule.to_owned()
    };
    Err(Failure::usage(format!("{flag}: '{shown}' is not a valid MongoDB name")).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_names_at_commas_and_drops_the_spaces_around_them() {
        for (text, names) in [
            ("a", &["a"][..]),
            ("a,b", &["a", "b"]),
            (" a , b c ", &["a", "b c"]),
            (r"a\,b,c", &["a,b", "c"]),
            (r"\ a\ , b", &[" a ", "b"]),
            (r"a\\,b", &[r"a\", "b"]),
            (r"a\b", &[r"a\b"]),
            ("x,,y", &["x", "", "y"]),
            (" ", &[""]),
        ] {
            assert_eq!(split_names(text), names, "{text}");
        }
    }
}
