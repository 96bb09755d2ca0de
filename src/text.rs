//! Text from outside on its way to a terminal, a log or JSON: names, documents, messages of a server. Masks secrets, escapes what would
//! control a terminal, forge a line or be invisible, and bounds the length. Knows nothing about where the text goes.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::redaction::redacted_line;

/// The longest message that is shown whole, in characters. Enough for a path and an error about it.
const MAX_MESSAGE: usize = 2000;

/// The longest hint that is shown whole, in characters. A hint may hold a resume token, which is of no use when it is cut; the token of an
/// event holds the `_id` of its document.
const MAX_HINT: usize = 20_000;

/// Part of a text that is too long which is shown of its end. An error often states its reason there.
const END_FRACTION: usize = 4;

/// Returns whether a character shows nothing itself, but may change what is shown around it: a control character, a line or paragraph
/// separator, a bidirectional control, a zero-width character or another invisible format character.
///
/// These are the Unicode categories Cc, Zl, Zp and Cf without the marks that stand around numbers, which are visible (0600 to 0605, 06DD,
/// 070F, 0890, 0891, 08E2, 110BD and 110CD), and the unassigned characters of the blocks of format characters.
pub(crate) fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Returns a message as it is printed: without secrets, on one line, with hidden characters escaped, and with its middle left out if it is
/// very long.
pub(crate) fn message(text: &str) -> String {
    escaped(&message_for_json(text)).into_owned()
}

/// Returns a hint as it is printed, like [`message`], but whole up to a far greater length.
pub(crate) fn hint(text: &str) -> String {
    escaped(&hint_for_json(text)).into_owned()
}

/// Returns a message for JSON, whose writer escapes it: without secrets, and with its middle left out if it is very long.
pub(crate) fn message_for_json(text: &str) -> String {
    shortened(&redacted_line(text), MAX_MESSAGE).into_owned()
}

/// Returns a hint for JSON, like [`message_for_json`].
pub(crate) fn hint_for_json(text: &str) -> String {
    shortened(&redacted_line(text), MAX_HINT).into_owned()
}

/// Returns `text` with hidden characters in a visible form: `\n`, `\x1b`, `\u{202e}`.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        // Writing to a string cannot fail.
        let _ = match character {
            '\t' | '\n' | '\r' => write!(escaped, "{}", character.escape_default()),
            '\0'..='\u{7f}' if is_hidden(character) => {
                write!(escaped, "\\x{:02x}", u32::from(character))
            }
            _ if is_hidden(character) => write!(escaped, "{}", character.escape_unicode()),
            _ => escaped.write_char(character),
        };
    }
    Cow::Owned(escaped)
}

/// Returns JSON with the hidden characters of its strings as `\uXXXX`: the same value. The whitespace between its tokens stays.
pub(crate) fn escaped_json(json: &str) -> Cow<'_, str> {
    // A writer of JSON has already escaped the other control characters.
    let is_raw = |character: char| character > ' ' && is_hidden(character);
    if !json.contains(is_raw) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_raw(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Returns `text` with at most `limit` of its characters: the beginning, the number of those left out, and the end.
fn shortened(text: &str, limit: usize) -> Cow<'_, str> {
    // A character has at least one byte.
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let count = text.chars().count();
    if count <= limit {
        return Cow::Borrowed(text);
    }
    let end = limit / END_FRACTION;
    let position = |index| {
        text.char_indices()
            .nth(index)
            .map_or(text.len(), |(at, _)| at)
    };
    let (beginning, end) = (
        &text[..position(limit - end)],
        &text[position(count - end)..],
    );
    let omitted = match count - limit {
        1 => "1 more character".to_owned(),
        more => format!("{more} more characters"),
    };
    Cow::Owned(format!("{beginning}… ({omitted}) …{end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_controls_a_terminal_or_is_invisible() {
        for (text, shown) in [
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\x1b[2J\0\x7f", r"\x1b[2J\x00\x7f"),
            ("\u{9b}2J\u{85}", r"\u{9b}2J\u{85}"),
            (
                "a\u{202e}b\u{2066}\u{200f}\u{61c}",
                r"a\u{202e}b\u{2066}\u{200f}\u{61c}",
            ),
            ("\u{2028}\u{2029}", r"\u{2028}\u{2029}"),
            (
                "\u{200b}\u{200d}\u{feff}\u{ad}",
                r"\u{200b}\u{200d}\u{feff}\u{ad}",
            ),
            ("\u{e0041}\u{1d173}", r"\u{e0041}\u{1d173}"),
        ] {
            assert_eq!(escaped(text), shown);
        }
    }

    #[test]
    fn keeps_visible_text_unchanged() {
        let text = r"zwölf “Boxkämpfer” – 日本語, مرحبا, ❤️ 👋🏽 \n C:\temp {a}";
        assert_eq!(escaped(text), text);
        assert_eq!(message(text), text);
    }

    #[test]
    fn escapes_json_to_the_same_value() {
        let value = serde_json::json!({"a\u{9b}": "\u{7f}\u{202e}\u{e0041}\n☃"});
        let json = serde_json::to_string_pretty(&value).unwrap();
        let escaped = escaped_json(&json);
        assert_eq!(
            escaped,
            "{\n  \"a\\u009b\": \"\\u007f\\u202e\\udb40\\udc41\\n☃\"\n}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&escaped).unwrap(),
            value
        );
    }

    #[test]
    fn leaves_out_the_middle_of_a_long_text() {
        assert_eq!(shortened("ä☃ö😀", 4), "ä☃ö😀");
        assert_eq!(shortened("12345678☃", 8), "123456… (1 more character) …8☃");
        let long = "\n".repeat(1_000_000);
        let shown = message(&long);
        assert!(shown.chars().count() < 3 * MAX_MESSAGE, "{}", shown.len());
        assert!(shown.contains("… (998000 more characters) …\\n"), "{shown}");
        assert!(!shown.contains('\n'));
    }
}
