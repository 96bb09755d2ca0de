//! Quoted text and regular expressions.

use bson::{Bson, Regex};

use super::SyntaxError;
use super::parser::Parser;
use super::scan::{is_identifier_part, is_line_end};
use super::syntax_error::quoted;

impl Parser<'_> {
    /// Parses text in double or single quotes, with the escapes of JavaScript.
    pub(super) fn string(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        let quote = self.next();
        let mut string = String::new();
        loop {
            let at = self.at;
            match self.next() {
                None => {
                    return Err(self
                        .error(start, "text without a closing quote")
                        .hint("write \\\" for a quote in text"));
                }
                Some(c) if Some(c) == quote => return Ok(string),
                // JavaScript allows U+2028 and U+2029 in text.
                Some('\n' | '\r') => {
                    return Err(self
                        .error(start, "text without a closing quote on its line")
                        .hint("write \\n for a newline in text"));
                }
                Some('\\') => string.extend(self.escape(at)?),
                Some(c) => string.push(c),
            }
        }
    }

    /// Parses the rest of an escape that begins at `at`. Returns its character; `None` for an escaped end of a line.
    fn escape(&mut self, at: usize) -> Result<Option<char>, SyntaxError> {
        let escaped = match self.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{C}',
            Some('v') => '\u{B}',
            Some('x') => return self.unit(at, 2).and_then(|unit| self.character(at, unit)),
            Some('u') => return self.unicode(at),
            Some('0') if !self.peek().is_some_and(|c| c.is_ascii_digit()) => '\0',
            Some(c) if c.is_ascii_digit() => {
                return Err(self
                    .error(at, "octal escapes are not supported")
                    .hint("write \\u and four hex digits, as in \\u0041"));
            }
            Some('\r') => {
                self.eat('\n');
                return Ok(None);
            }
            Some(c) if is_line_end(c) => return Ok(None),
            Some(c) => c,
            // The missing quote is reported.
            None => return Ok(None),
        };
        Ok(Some(escaped))
    }

    /// Parses `XXXX` or `{X...}` after `\u`, with the second half of a surrogate pair.
    fn unicode(&mut self, at: usize) -> Result<Option<char>, SyntaxError> {
        let unit = if self.eat('{') {
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            let unit = u32::from_str_radix(digits, 16);
            match unit {
                Ok(unit) if self.eat('}') => unit,
                _ => return Err(self.invalid_escape(at)),
            }
        } else {
            let first = self.unit(at, 4)?;
            if (0xD800..0xDC00).contains(&first) && self.rest().starts_with("\\u") {
                self.at += 2;
                let second = self.unit(at, 4)?;
                if !(0xDC00..0xE000).contains(&second) {
                    return Err(self.invalid_escape(at));
                }
                0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            } else {
                first
            }
        };
        self.character(at, unit)
    }

    /// Parses a number of `count` hex digits.
    fn unit(&mut self, at: usize, count: usize) -> Result<u32, SyntaxError> {
        let digits = self.rest().get(..count).unwrap_or_default();
        if digits.is_empty() || digits.contains(|c: char| !c.is_ascii_hexdigit()) {
            return Err(self.invalid_escape(at));
        }
        self.at += count;
        u32::from_str_radix(digits, 16).map_err(|_| self.invalid_escape(at))
    }

    fn character(&self, at: usize, unit: u32) -> Result<Option<char>, SyntaxError> {
        match char::from_u32(unit) {
            Some(c) => Ok(Some(c)),
            None => Err(self.invalid_escape(at)),
        }
    }

    fn invalid_escape(&self, at: usize) -> SyntaxError {
        self.error(at, "invalid escape in text").hint(
            "write \\u and four hex digits, as in \\u0041; two of them for a character above U+FFFF, as in \\ud83d\\ude00",
        )
    }

    /// Parses `/pattern/flags`.
    pub(super) fn regex(&mut self) -> Result<Bson, SyntaxError> {
        let start = self.at;
        self.at += 1;
        let from = self.at;
        let mut is_in_class = false;
        loop {
            let at = self.at;
            match self.next() {
                Some('/') if !is_in_class => {
                    let pattern = &self.text[from..at];
                    let flags_at = self.at;
                    let flags = self.take_while(is_identifier_part);
                    let options = options(flags)
                        .map_err(|what| self.error(flags_at, what).hint(FLAGS_HINT))?;
                    return regex(pattern, &options).map_err(|what| self.error(start, what));
                }
                Some('[') => is_in_class = true,
                Some(']') => is_in_class = false,
                Some('\\') if self.peek().is_some_and(|c| !is_line_end(c)) => {
                    self.next();
                }
                Some(c) if !is_line_end(c) => {}
                _ => {
                    return Err(self
                        .error(start, "regular expression without a closing '/'")
                        .hint("write /pattern/, with \\/ for a slash in the pattern"));
                }
            }
        }
    }
}

/// Hint about the flags of a regular expression.
pub(super) const FLAGS_HINT: &str =
    "use only i, m, s and x; a filter needs no g, because it matches anywhere in the text";

/// Returns the options of BSON for flags of JavaScript. The flag u has no meaning for the server, which always matches Unicode; mongosh does
/// not send it either.
///
/// # Errors
/// For flags that the server does not have. mongosh sends `g` as `s`, and drops `s` and others (measured on mongosh 2.12.0).
pub(super) fn options(flags: &str) -> Result<String, String> {
    for (at, flag) in flags.char_indices() {
        if !"imsxu".contains(flag) || flags[..at].contains(flag) {
            return Err(format!(
                "invalid flag {} of a regular expression",
                quoted(&flag.to_string())
            ));
        }
    }
    Ok(flags.replace('u', ""))
}

/// Returns a regular expression.
///
/// # Errors
/// When the pattern contains NUL, which BSON cannot represent.
pub(super) fn regex(pattern: &str, options: &str) -> Result<Bson, String> {
    // BSON keeps the options sorted.
    let mut options: Vec<char> = options.chars().collect();
    options.sort_unstable();
    let options = String::from_iter(options);
    match (pattern.try_into(), options.try_into()) {
        (Ok(pattern), Ok(options)) => Ok(Regex { pattern, options }.into()),
        _ => Err("regular expression with NUL, which BSON cannot represent".to_owned()),
    }
}
