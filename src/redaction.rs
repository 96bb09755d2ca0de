//! Redaction of connection strings and logins in text that leaves the program: messages, errors, and what commands print.

/// What a connection string begins with, in lower case: as typed, percent-encoded, and in JSON with escaped slashes.
const BEGINNINGS: [&str; 15] = [
    "mongodb://",
    "mongodb+srv://",
    "mongodb%3a%2f%2f",
    "mongodb%2bsrv%3a%2f%2f",
    "mongodb:\\/\\/",
    "mongodb+srv:\\/\\/",
    "nats://",
    "nats%3a%2f%2f",
    "nats:\\/\\/",
    "tls://",
    "tls%3a%2f%2f",
    "tls:\\/\\/",
    "ws://",
    "wss://",
    "ws%3a%2f%2f",
];

/// Parts of connection strings in hints that show a form, not a secret.
const PLACEHOLDERS: [&str; 3] = ["[user:password@]", "USER:PASSWORD@", "HOST:PORT"];

/// What is printed in the place of a secret.
const MASK: &str = "...";

/// Returns `text` without secrets: of each connection string that may have one, only the scheme remains, and of `user:password@host` only
/// the host.
pub(crate) fn redacted(text: &str) -> String {
    text.split_inclusive('\n').map(redacted_line).collect()
}

/// Returns whether a value is a connection string, or the name of a file that is one.
pub(crate) fn is_connection_string(value: &str) -> bool {
    let value = value.trim_start().to_ascii_lowercase();
    let value = value.strip_prefix('@').unwrap_or(&value);
    BEGINNINGS.iter().any(|begin| value.starts_with(begin))
}

/// Returns whether a value is one or more URLs of NATS servers.
pub(crate) fn is_nats_url(value: &str) -> bool {
    let value = value.trim_start().to_ascii_lowercase();
    let nats = BEGINNINGS
        .iter()
        .filter(|begin| !begin.starts_with("mongodb"));
    nats.into_iter().any(|begin| value.starts_with(begin))
}

/// Returns `line` without secrets. A password in it may hold what looks like the end of a line.
pub(crate) fn redacted_line(line: &str) -> String {
    // Of the same length as the line.
    let lower = line.to_ascii_lowercase();
    let mut text = String::with_capacity(line.len());
    let mut done = 0;
    while let Some(body) = next_body(&lower, done) {
        text.push_str(&redacted_logins(&line[done..body]));
        let rest = &line[body..];
        // A password may contain what else ends a word.
        let login_end = rest.rfind('@').filter(|_| !is_placeholder(rest));
        let end = login_end.unwrap_or_default();
        let end = end + word_end(&rest[end..]);
        let has_secret = login_end.is_some() || !is_harmless(&rest[..end]);
        text.push_str(if has_secret { MASK } else { &rest[..end] });
        done = body + end;
    }
    text.push_str(&redacted_logins(&line[done..]));
    text
}

/// Returns where the next connection string continues after its scheme.
fn next_body(lower: &str, from: usize) -> Option<usize> {
    let bodies = BEGINNINGS.iter().filter_map(|begin| {
        let found = lower[from..].find(begin)?;
        Some(from + found + begin.len())
    });
    bodies.min()
}

fn is_placeholder(text: &str) -> bool {
    PLACEHOLDERS.iter().any(|form| text.contains(form))
}

/// Returns whether a connection string after its scheme is only hosts, ports and a database, or a form in a hint.
fn is_harmless(body: &str) -> bool {
    if is_placeholder(body) {
        return true;
    }
    if body.contains('%') {
        return false;
    }
    let (hosts, rest) = body.split_once('/').unwrap_or((body, ""));
    let is_host = |host: &str| match host.rsplit_once(':') {
        Some((_, port)) => port.bytes().all(|byte| byte.is_ascii_digit()) || host.ends_with(']'),
        None => true,
    };
    hosts.split(',').all(is_host) && !rest.contains(['?', ':'])
}

/// Returns the length of the word that `text` begins with. A word ends before a space, a quote, or what a terminal or JSON interprets.
fn word_end(text: &str) -> usize {
    text.find(ends_word).unwrap_or(text.len())
}

fn ends_word(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(character, '\'' | '"' | '`' | '\\' | '>' | ')')
}

/// Masks what stands before the last `@` of each word that has a colon before it.
fn redacted_logins(text: &str) -> String {
    text.split_inclusive(ends_word)
        .map(|word| match word.rfind('@') {
            // A form in a hint has no host after it.
            Some(end)
                if word[..end].contains(':')
                    && word_end(&word[end + 1..]) > 0
                    && !is_placeholder(word) =>
            {
                let option = word[..end]
                    .split_once('=')
                    .filter(|(name, _)| !name.contains(':'));
                let kept = option.map_or(0, |(name, _)| name.len() + 1);
                format!("{}{MASK}{}", &word[..kept], &word[end..])
            }
            _ => word.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_the_scheme_of_a_connection_string_with_a_login() {
        for (text, shown) in [
            ("mongodb://user:one@host/db?tls=true", "mongodb://..."),
            (
                "'MongoDB+SRV://user:one@host' found",
                "'MongoDB+SRV://...' found",
            ),
            (
                "@mongodb://user:one@host: not found",
                "@mongodb://... not found",
            ),
            (
                "mongodb%3A%2F%2Fuser%3Aone%40host x",
                "mongodb%3A%2F%2F... x",
            ),
            (r"mongodb:\/\/user:one@host\/ x", r"mongodb:\/\/...\/ x"),
            ("mongodb://user:one 'two\"@host x", "mongodb://... x"),
            ("mongodb://user:one", "mongodb://..."),
            (
                "mongodb://host/?authMechanismProperties=A:one",
                "mongodb://...",
            ),
            (
                "a\nmongodb://user:one@host\nb@c\n",
                "a\nmongodb://...\nb@c\n",
            ),
            ("nats://user:one@host:4222 refused", "nats://... refused"),
            ("tls://token@host,tls://b is", "tls://... is"),
            ("nats://a:1,nats://user:one@b", "nats://..."),
            ("https://user:one@host/", "...@host/"),
            ("'user:one@two@host' is", "'...@host' is"),
            ("--db=user:one@host", "--db=...@host"),
        ] {
            assert_eq!(redacted(text), shown, "{text}");
        }
    }

    #[test]
    fn keeps_text_without_secrets() {
        for text in [
            "",
            "2026-11-28T18:53:47Z cswatch: watching shop.orders",
            "mongodb://localhost:27017",
            "mongodb://[::1]:27017,b/shop is",
            "write mongodb://[user:password@]host[:port][,...]/[?options] and more",
            "user@host",
            "nats://localhost:4222",
            "write user:password@ before the host",
            "add --uri mongodb://HOST:PORT/DB, or mongodb://USER:PASSWORD@HOST:PORT",
            "give --uri mongodb://...",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn recognizes_a_connection_string_in_the_place_of_a_value() {
        assert!(is_connection_string("mongodb://h"));
        assert!(is_connection_string("@MONGODB+SRV://h"));
        assert!(!is_connection_string(r#"{"url":"mongodb://h"}"#));
        assert!(!is_connection_string("mongodb"));
        assert!(is_connection_string("nats://h"));
        assert!(is_nats_url(" TLS://h") && !is_nats_url("mongodb://h"));
    }
}
