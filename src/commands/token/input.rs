//! Reader of resume tokens in text: hex, Extended JSON, events and resume files. Returns each token as soon as its last byte is read.
//! The rest of an event is skipped, not kept.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::error::Category;

use crate::checkpoint;
use crate::config::value::shortened;
use crate::error::Failure;
use crate::token::ResumeToken;

/// Hint about input that is not a resume token.
pub(super) const INPUT_HINT: &str = "give the _data of an event's _id (hex), the whole _id or the event as Extended JSON, or a resume file";

/// The largest value that is read, in bytes: far above the longest line of an event, which has up to 16 MB or is reassembled from
/// fragments of that size.
const MAX_VALUE_BYTES: usize = 256 * 1024 * 1024;

/// Bytes of a line that is not a token which are kept for the message about it.
const MAX_FOREIGN_BYTES: usize = 256;

/// Source of the text.
pub(super) enum InputSource<'a> {
    /// The command line.
    Argument,
    /// A file named on the command line.
    File(&'a Path),
    /// Standard input.
    Stdin,
}

impl fmt::Display for InputSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument => f.write_str("TOKEN"),
            Self::File(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("stdin"),
        }
    }
}

/// Text with resume tokens in it.
pub(super) struct Input<'a, R> {
    source: InputSource<'a>,
    text: R,
    /// Number of the line at which `value` starts, from 1.
    line: usize,
    /// Text of the last value read: a token, or the object around it.
    value: Vec<u8>,
}

/// The fields of an object by which a token is found.
#[derive(Deserialize)]
struct Object {
    /// Field of a token.
    #[serde(rename = "_data")]
    data: Option<IgnoredAny>,
    /// Field of an event.
    #[serde(rename = "_id")]
    id: Option<Value>,
    /// Field of a resume file.
    token: Option<Value>,
}

impl<'a, R: BufRead> Input<'a, R> {
    pub(super) fn new(source: InputSource<'a>, text: R) -> Self {
        Self {
            source,
            text,
            line: 1,
            value: Vec::new(),
        }
    }

    /// Returns the next token; `None` at the end of the text.
    ///
    /// # Errors
    /// Exit code 2, with the source and the line, when the next value is not a token, or the text cannot be read.
    pub(super) fn next_token(&mut self) -> Result<Option<ResumeToken>, Failure> {
        self.line += count_newlines(&self.value);
        self.value.clear();
        let first = self
            .skip_blanks()
            .map_err(|error| self.unreadable(&error))?;
        let token = match first {
            None => return Ok(None),
            Some(b'{') => {
                let object = self.json()?;
                self.token_text(object)?
            }
            // A string, as `jq ._id._data` prints it.
            Some(b'"') => self.json()?,
            Some(_) => {
                self.read_line().map_err(|error| self.unreadable(&error))?;
                String::from_utf8_lossy(&self.value).into_owned()
            }
        };
        ResumeToken::parse(&token)
            .map(Some)
            .map_err(|error| self.invalid(&error))
    }

    /// Returns the failure of a text in which there was no token.
    pub(super) fn without_token(&self) -> Failure {
        Failure::usage(format!("{} holds no resume token", self.source)).hint(INPUT_HINT)
    }

    /// Skips whitespace and returns the first byte after it, which stays unread.
    fn skip_blanks(&mut self) -> io::Result<Option<u8>> {
        loop {
            let ready = match self.text.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                ready => ready?,
            };
            if ready.is_empty() {
                return Ok(None);
            }
            let blanks = ready
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            self.line += count_newlines(&ready[..blanks]);
            let first = ready.get(blanks).copied();
            self.text.consume(blanks);
            if first.is_some() {
                return Ok(first);
            }
        }
    }

    /// Reads a line that should be a token in hex. Stops where it cannot be one: a device or a sparse file may hold a line without end.
    fn read_line(&mut self) -> io::Result<()> {
        loop {
            let ready = match self.text.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                ready => ready?,
            };
            let end = ready.iter().position(|byte| *byte == b'\n');
            let part = &ready[..end.map_or(ready.len(), |end| end + 1)];
            let is_hex = |byte: &u8| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace();
            let foreign = part.iter().position(|byte| !is_hex(byte));
            let kept = foreign.map_or(part.len(), |foreign| {
                part.len().min(foreign + MAX_FOREIGN_BYTES)
            });
            self.value.extend_from_slice(&part[..kept]);
            let length = part.len();
            self.text.consume(length);
            if length == 0 || end.is_some() || foreign.is_some() {
                return Ok(());
            }
            ensure_bounded(&self.value)?;
        }
    }

    /// Parses one object or string. The parser reads no byte after its end, so it never waits for one.
    fn json<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let mut parser = serde_json::Deserializer::from_reader(&mut *self);
        let value = T::deserialize(&mut parser);
        value.map_err(|error| {
            if error.classify() == Category::Io {
                return self.unreadable(&error.into());
            }
            let message = error.to_string();
            // The parser counts lines from the start of this value.
            let position = format!(" at line {} column {}", error.line(), error.column());
            let why = message.strip_suffix(&position).unwrap_or(&message);
            let line = self.line + error.line().saturating_sub(1);
            let source = &self.source;
            Failure::usage(format!("{source}, line {line}: invalid JSON: {why}")).hint(INPUT_HINT)
        })
    }

    /// Returns the text of the token that `object` is or holds.
    fn token_text(&self, object: Object) -> Result<String, Failure> {
        let holds_data = |value: &Value| value.get("_data").is_some();
        if object.data.is_some() {
            return Ok(String::from_utf8_lossy(&self.value).into_owned());
        }
        if let Some(id) = object.id.filter(holds_data) {
            return Ok(id.to_string());
        }
        let Some(token) = object.token.filter(holds_data) else {
            return Err(
                self.invalid(&"this object is not a resume token, an event or a resume file")
            );
        };
        if let Some(why) = checkpoint::damage(&self.value) {
            tracing::warn!("{} {why}; showing its token anyway", self.source);
        }
        Ok(token.to_string())
    }

    fn invalid(&self, why: &dyn fmt::Display) -> Failure {
        let text = String::from_utf8_lossy(&self.value);
        Failure::usage(format!(
            "{}, line {}: {why}: {}",
            self.source,
            self.line,
            shortened(text.trim_end(), 0)
        ))
        .hint(INPUT_HINT)
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::usage(format!("cannot read {}: {error}", self.source))
            .hint("name a file that can be read, or pipe the tokens in")
    }
}

/// Reads for the JSON parser, and keeps what it read: for the checksum of a resume file, and for messages.
impl<R: BufRead> Read for Input<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.text.read(buffer)?;
        self.value.extend_from_slice(&buffer[..length]);
        ensure_bounded(&self.value)?;
        Ok(length)
    }
}

fn ensure_bounded(value: &[u8]) -> io::Result<()> {
    if value.len() > MAX_VALUE_BYTES {
        let limit = MAX_VALUE_BYTES / (1024 * 1024);
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("a value in it is larger than {limit} MiB"),
        ));
    }
    Ok(())
}

fn count_newlines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}
