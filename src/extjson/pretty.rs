//! Indentation and colour for a finished line of JSON. Works on its text alone, so duplicate keys,
//! order and the digits of numbers stay as they are.

/// One level of indentation.
const INDENT: &[u8] = b"  ";

/// What a stretch of the line is, as far as colour goes.
#[derive(Clone, Copy)]
enum Token {
    Key,
    Text,
    Number,
    Literal,
}

impl Token {
    /// The ANSI sequence that switches its colour on: bold blue, green, yellow, magenta.
    fn colour(self) -> &'static [u8] {
        match self {
            Token::Key => b"\x1b[1;34m",
            Token::Text => b"\x1b[32m",
            Token::Number => b"\x1b[33m",
            Token::Literal => b"\x1b[35m",
        }
    }
}

/// The ANSI sequence that ends a colour.
const RESET: &[u8] = b"\x1b[0m";

/// Appends `line`, one JSON value without white space between its tokens, indented by two spaces a
/// level, without a line end. `colour` adds ANSI sequences around keys, strings, numbers and
/// literals. The layout is that of `jq .`; empty objects and arrays stay on one line.
pub fn indent(line: &[u8], colour: bool, out: &mut Vec<u8>) {
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
                push_token(&rest[..len], colour.then_some(token), out);
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

fn push_token(text: &[u8], coloured: Option<Token>, out: &mut Vec<u8>) {
    if let Some(token) = coloured {
        out.extend_from_slice(token.colour());
        out.extend_from_slice(text);
        out.extend_from_slice(RESET);
    } else {
        out.extend_from_slice(text);
    }
}

/// The length of the string, number or literal at the beginning of `text`; all of `text` when it
/// has no end.
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

    fn indented(line: &str, colour: bool) -> String {
        let mut out = Vec::new();
        indent(line.as_bytes(), colour, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn puts_each_field_and_item_on_a_line_of_its_own() {
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
    fn leaves_text_duplicate_keys_and_digits_as_they_are() {
        let line = r#"{"a":"{\"x\":[1,2]}, \\","a":1.0,"":"\u0000 é","a":"\\"}"#;
        let unindented: String = indented(line, false).split("\n  ").collect();
        let unindented = unindented.replace("\": ", "\":").replace('\n', "");
        assert_eq!(unindented, line);
    }

    #[test]
    fn colours_keys_strings_numbers_and_literals_apart() {
        assert_eq!(
            indented(r#"{"k":"s","n":-1,"l":[true,null]}"#, true),
            "{\n  \x1b[1;34m\"k\"\x1b[0m: \x1b[32m\"s\"\x1b[0m,\n  \
             \x1b[1;34m\"n\"\x1b[0m: \x1b[33m-1\x1b[0m,\n  \
             \x1b[1;34m\"l\"\x1b[0m: [\n    \x1b[35mtrue\x1b[0m,\n    \
             \x1b[35mnull\x1b[0m\n  ]\n}"
        );
    }

    #[test]
    fn appends_behind_what_is_there() {
        let mut out = b"before\n".to_vec();
        indent(b"[]", false, &mut out);
        assert_eq!(out, b"before\n[]");
    }

    #[test]
    fn copes_with_lines_that_are_cut_short() {
        let line = r#"{"a":["b\\",{"c":tr"#;
        for end in 0..=line.len() {
            let _ = indented(&line[..end], true);
        }
        let _ = indented("]}],:\"\\", true);
    }
}
