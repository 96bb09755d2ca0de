//! Resume tokens out of text: hex, Extended JSON, events and position files, one after the other, each with its last byte.
//! Whatever else an event holds is passed over, not kept.

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

/// The way out of what is no token.
pub(super) const FORMS: &str = "give the _data of an event's _id (hex), the whole _id or the event as Extended JSON, or a position file";

/// Where the text comes from.
pub(super) enum InputSource<'a> {
    /// The command line.
    Argument,
    /// A file named there.
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
    /// The line at which `taken` begins, from 1.
    line: usize,
    /// The text of the last token, and of what stood around it.
    taken: Vec<u8>,
}

/// The fields of an object that lead to a token.
#[derive(Deserialize)]
struct Object {
    /// Of a token.
    #[serde(rename = "_data")]
    data: Option<IgnoredAny>,
    /// Of an event.
    #[serde(rename = "_id")]
    id: Option<Value>,
    /// Of a position file.
    token: Option<Value>,
}

impl<'a, R: BufRead> Input<'a, R> {
    pub(super) fn new(source: InputSource<'a>, text: R) -> Self {
        Self {
            source,
            text,
            line: 1,
            taken: Vec::new(),
        }
    }

    /// The next token; `None` at the end of the text.
    ///
    /// # Errors
    /// Exit code 2, naming the place, when what comes next is no token, or the text cannot be read.
    pub(super) fn next_token(&mut self) -> Result<Option<ResumeToken>, Failure> {
        self.line += line_ends(&self.taken);
        self.taken.clear();
        let first = self
            .pass_blanks()
            .map_err(|error| self.unreadable(&error))?;
        let token = match first {
            None => return Ok(None),
            Some(b'{') => {
                let object = self.json()?;
                self.token_text(object)?
            }
            // As `jq ._id._data` prints it.
            Some(b'"') => self.json()?,
            Some(_) => {
                self.text
                    .read_until(b'\n', &mut self.taken)
                    .map_err(|error| self.unreadable(&error))?;
                String::from_utf8_lossy(&self.taken).into_owned()
            }
        };
        ResumeToken::parse(&token)
            .map(Some)
            .map_err(|error| self.refused(&error))
    }

    /// The failure of a text in which no token was found.
    pub(super) fn without_token(&self) -> Failure {
        Failure::usage(format!("{} holds no resume token", self.source)).hint(FORMS)
    }

    /// The first byte that is neither a blank nor a line end, still unread.
    fn pass_blanks(&mut self) -> io::Result<Option<u8>> {
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
            self.line += line_ends(&ready[..blanks]);
            let first = ready.get(blanks).copied();
            self.text.consume(blanks);
            if first.is_some() {
                return Ok(first);
            }
        }
    }

    /// One object or string. The parser takes no byte behind its end, and so waits for none.
    fn json<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let mut parser = serde_json::Deserializer::from_reader(&mut *self);
        let value = T::deserialize(&mut parser);
        value.map_err(|error| {
            if error.classify() == Category::Io {
                return self.unreadable(&error.into());
            }
            let message = error.to_string();
            // Counted from the beginning of this value.
            let place = format!(" at line {} column {}", error.line(), error.column());
            let what = message.strip_suffix(&place).unwrap_or(&message);
            let line = self.line + error.line().saturating_sub(1);
            let source = &self.source;
            Failure::usage(format!("{source}, line {line}: not JSON: {what}")).hint(FORMS)
        })
    }

    /// The text of the token that an object is or holds.
    fn token_text(&self, object: Object) -> Result<String, Failure> {
        let holds_data = |value: &Value| value.get("_data").is_some();
        if object.data.is_some() {
            return Ok(String::from_utf8_lossy(&self.taken).into_owned());
        }
        if let Some(id) = object.id.filter(holds_data) {
            return Ok(id.to_string());
        }
        let Some(token) = object.token.filter(holds_data) else {
            return Err(self.refused(&"it is no token, and neither an event nor a position"));
        };
        if let Some(why) = checkpoint::damage(&self.taken) {
            tracing::warn!("{} {why}; its token is shown as it stands", self.source);
        }
        Ok(token.to_string())
    }

    fn refused(&self, why: &dyn fmt::Display) -> Failure {
        let text = String::from_utf8_lossy(&self.taken);
        Failure::usage(format!(
            "{}, line {}: {why}: {}",
            self.source,
            self.line,
            shortened(text.trim_end(), 0)
        ))
        .hint(FORMS)
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::usage(format!("{} cannot be read: {error}", self.source))
            .hint("name a file that can be read, or pipe it in")
    }
}

/// For the JSON parser: what it was given is kept, for the checksum of a position file and for messages.
impl<R: BufRead> Read for Input<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.text.read(buffer)?;
        self.taken.extend_from_slice(&buffer[..length]);
        Ok(length)
    }
}

fn line_ends(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}
