//! Indentation and color of a line of JSON. Works on its text alone, so duplicate keys, order and the
//! digits of numbers do not change.

/// One level of indentation.
const INDENT: &[u8] = b"  ";

/// Kind of a token, which decides its color.
#[derive(Clone, Copy)]
enum Token {
    Key,
    Text,
    Number,
    Literal,
}

impl Token {
    /// Returns the ANSI sequence that starts the color: bold blue, green, yellow or magenta.
    fn color(self) -> &'static [u8] {
        match self {
            Token::Key => b"\x1b[1;34m",
            Token::Text => b"\x1b[32m",
            Token::Number => b"\x1b[33m",
            Token::Literal => b"\x1b[35m",
        }
    }
}

/// ANSI sequence that ends a color.
const RESET: &[u8] = b"\x1b[0m";

/// Appends `line`, a JSON value without whitespace between its tokens, with an indentation of two
/// spaces per level and without a newline at the end. `color` adds ANSI sequences around keys, strings,
/// numbers and literals. The layout is that of `jq .`: empty objects and arrays stay on one line.
pub fn indent(line: &[u8], color: bool, out: &mut Vec<u8>) {
    out.reserve(line.len() * 2);
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        let rest = &line[at..];
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                if let Some(&close @ (b'}' | b']')) = rest.get(1) {
                    out.push(close);
                    at += 1;
                } else {
                    depth += 1;
                    push_line_start(depth, out);
                }
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                push_line_start(depth, out);
                out.push(byte);
                at += 1;
            }
            b',' => {
                out.push(byte);
                push_line_start(depth, out);
                at += 1;
            }
            b':' => {
                out.extend_from_slice(b": ");
                at += 1;
            }
            _ => {
                let len = token_len(rest);
                let token = match byte {
                    b'"' if rest.get(len) == Some(&b':') => Token::Key,
                    b'"' => Token::Text,
                    b't' | b'f' | b'n' => Token::Literal,
                    _ => Token::Number,
                };
                push_token(&rest[..len], color.then_some(token), out);
                at += len;
            }
        }
    }
}

fn push_line_start(depth: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    for _ in 0..depth {
        out.extend_from_slice(INDENT);
    }
}

fn push_token(text: &[u8], colored: Option<Token>, out: &mut Vec<u8>) {
    if let Some(token) = colored {
        out.extend_from_slice(token.color());
        out.extend_from_slice(text);
        out.extend_from_slice(RESET);
    } else {
        out.extend_from_slice(text);
    }
}

/// Returns the length of the string, number or literal at the beginning of `text`, or the length of
/// `text` when the token is not terminated.
fn token_len(text: &[u8]) -> usize {
    if text[0] != b'"' {
        let end = |byte: &u8| matches!(byte, b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"');
        return text.iter().position(end).unwrap_or(text.len());
    }
    let mut escaped = false;
    for (at, &byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::indent;

    fn indented(line: &str, color: bool) -> String {
        let mut out = Vec::new();
        indent(line.as_bytes(), color, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn puts_each_field_and_item_on_its_own_line() {
        assert_eq!(
            indented(r#"{"a":{"b":[1,-2.5E+20,true]},"c":null}"#, false),
            r#"{
  "a": {
    "b": [
      1,
      -2.5E+20,
      true
    ]
  },
  "c": null
}"#
        );
    }

    #[test]
    fn keeps_empty_objects_and_arrays_on_one_line() {
        assert_eq!(
            indented(r#"{"a":{},"b":[],"c":[{},[]]}"#, false),
            "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    {},\n    []\n  ]\n}"
        );
        assert_eq!(indented("{}", false), "{}");
    }

    #[test]
    fn keeps_text_duplicate_keys_and_digits() {
        let line = r#"{"a":"{\"x\":[1,2]}, \\","a":1.0,"":"\u0000 é","a":"\\"}"#;
        let unindented: String = indented(line, false).split("\n  ").collect();
        let unindented = unindented.replace("\": ", "\":").replace('\n', "");
        assert_eq!(unindented, line);
    }

    #[test]
    fn colors_keys_strings_numbers_and_literals_differently() {
        assert_eq!(
            indented(r#"{"k":"s","n":-1,"l":[true,null]}"#, true),
            "{\n  \x1b[1;34m\"k\"\x1b[0m: \x1b[32m\"s\"\x1b[0m,\n  \
             \x1b[1;34m\"n\"\x1b[0m: \x1b[33m-1\x1b[0m,\n  \
             \x1b[1;34m\"l\"\x1b[0m: [\n    \x1b[35mtrue\x1b[0m,\n    \
             \x1b[35mnull\x1b[0m\n  ]\n}"
        );
    }

    #[test]
    fn appends_to_existing_content() {
        let mut out = b"before\n".to_vec();
        indent(b"[]", false, &mut out);
        assert_eq!(out, b"before\n[]");
    }

    #[test]
    fn accepts_truncated_lines() {
        let line = r#"{"a":["b\\",{"c":tr"#;
        for end in 0..=line.len() {
            let _ = indented(&line[..end], true);
        }
        let _ = indented("]}],:\"\\", true);
    }
}
