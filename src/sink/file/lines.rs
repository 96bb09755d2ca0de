//! Reads lines of an output file, however long and whatever program wrote them, in bounded memory. Changes nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::platform;
use crate::snapshot::{LinePlace, ScanPosition};
use crate::token::ResumeToken;

/// Bytes before the saved length that are compared on restart. They hold at least a part of a resume token, or all there is.
const TAIL_BYTES: u64 = 4096;

/// Maximum length of a line in bytes. An event holds up to three documents of 16 MiB, and a byte becomes at most six (`\u0000`).
const MAX_LINE: u64 = 512 * 1024 * 1024;

/// Bytes that are read at once while the beginning of the last line is searched.
const CHUNK: u64 = 64 * 1024;

/// What follows the saved length of an output file.
#[derive(Debug)]
pub(super) struct Appended {
    /// The end of the last whole line.
    pub(super) end: u64,
    /// The tokens of the first and the last whole line; `None` if there is no whole line.
    pub(super) tokens: Option<(ResumeToken, ResumeToken)>,
    /// Whether the first whole line is one of a snapshot, whose token may be that of the line before.
    pub(super) begins_with_snapshot: bool,
    /// The position of the last whole line of a snapshot whose key can be read.
    pub(super) snapshot: Option<ScanPosition>,
    /// The first byte after the last whole line.
    pub(super) torn: Option<u8>,
}

/// Why lines are not those of cswatch.
#[derive(Debug)]
pub(super) enum LineError {
    /// The file cannot be read.
    Io(io::Error),
    /// A line is not an event with a resume token, for this reason.
    Foreign(String),
}

impl From<io::Error> for LineError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Returns the SHA-256 (hex) of the last bytes before `length`.
///
/// # Errors
/// When they cannot be read.
pub(super) fn tail_checksum(file: &File, length: u64) -> io::Result<String> {
    let from = length.saturating_sub(TAIL_BYTES);
    let mut tail = vec![0; (length - from) as usize];
    platform::read_at(file, from, &mut tail)?;
    Ok(const_hex::encode(Sha256::digest(&tail)))
}

/// Reads the lines from `start` on. Moves the offset of `file`.
///
/// # Errors
/// When the file cannot be read, or a whole line is not an event of cswatch.
pub(super) fn appended(file: &File, start: u64) -> Result<Appended, LineError> {
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(start))?;
    let mut appended = Appended {
        end: start,
        tokens: None,
        begins_with_snapshot: false,
        snapshot: None,
        torn: None,
    };
    loop {
        let mut line = Line::new(&mut reader);
        let content = line.content();
        match line.skip_rest()? {
            LineEnd::Newline => {}
            LineEnd::Torn => {
                appended.torn = line.first;
                return Ok(appended);
            }
            LineEnd::TooLong => return Err(LineError::Foreign("it is too long".to_owned())),
        }
        appended.end += line.length;
        let LineContent { token, place } = content.map_err(LineError::Foreign)?;
        appended.tokens = Some(match appended.tokens.take() {
            None => {
                appended.begins_with_snapshot = place.is_some();
                (token.clone(), token)
            }
            Some((first, _)) => (first, token),
        });
        let position = place.and_then(|place| place.position());
        appended.snapshot = position.or(appended.snapshot.take());
    }
}

/// Checks that the last line of a file of `length` bytes, which ends with a newline, is an event of cswatch. Moves the offset of `file`.
///
/// # Errors
/// When the file cannot be read, or the line is another program's.
pub(super) fn ensure_last_line(file: &File, length: u64) -> Result<(), LineError> {
    let foreign = |why: &str| LineError::Foreign(why.to_owned());
    let start = last_line(file, length)?.ok_or_else(|| foreign("its last line is too long"))?;
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(start))?;
    let content = Line::new(&mut reader).content();
    content.map(drop).map_err(LineError::Foreign)
}

/// Returns where the last line of a file of `length` bytes, which ends with a newline, begins; `None` if it is longer than [`MAX_LINE`].
fn last_line(file: &File, length: u64) -> io::Result<Option<u64>> {
    let mut end = length.saturating_sub(1);
    let limit = end.saturating_sub(MAX_LINE);
    let mut chunk = vec![0; CHUNK as usize];
    while end > limit {
        let start = end.saturating_sub(CHUNK);
        let read = &mut chunk[..(end - start) as usize];
        platform::read_at(file, start, read)?;
        if let Some(at) = read.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(start + at as u64 + 1));
        }
        end = start;
    }
    Ok((limit == 0).then_some(0))
}

/// What a line tells of where it is in the output.
struct LineContent {
    token: ResumeToken,
    /// Its place, if it is a line of a snapshot.
    place: Option<LinePlace>,
}

/// How a line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Newline,
    /// At the end of the file or at a zero byte.
    Torn,
    /// After [`MAX_LINE`] bytes.
    TooLong,
}

/// The bytes of one line, up to its newline, which is not among them.
struct Line<R> {
    reader: R,
    /// The first byte.
    first: Option<u8>,
    /// Bytes read so far, the newline included.
    length: u64,
    end: Option<LineEnd>,
}

impl<R: BufRead> Line<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            first: None,
            length: 0,
            end: None,
        }
    }

    /// Reads the token that the line carries as its `_id`, and what shows its place if it is one of a snapshot. What else is in it is
    /// skipped, not kept.
    fn content(&mut self) -> Result<LineContent, String> {
        #[derive(Deserialize)]
        struct Event {
            #[serde(rename = "_id")]
            id: Value,
            #[serde(rename = "operationType")]
            operation_type: Option<Value>,
            ns: Option<Value>,
            #[serde(rename = "documentKey")]
            document_key: Option<Value>,
        }
        // Of the bytes of a foreign file as few as possible are read.
        if self.peek().map_err(|error| error.to_string())? != Some(b'{') {
            return Err("it is not a JSON object".to_owned());
        }
        let mut event: Event =
            serde_json::from_reader(&mut *self).map_err(|error| error.to_string())?;
        let place = LinePlace::take(
            &mut event.id,
            event.operation_type.as_ref(),
            event.ns,
            event.document_key,
        );
        let token = ResumeToken::parse(&event.id.to_string());
        Ok(LineContent {
            token: token.map_err(|error| error.to_string())?,
            place,
        })
    }

    /// Reads up to the end of the line.
    fn skip_rest(&mut self) -> io::Result<LineEnd> {
        let mut skipped = [0; 4096];
        while self.read(&mut skipped)? > 0 {}
        Ok(self.end.unwrap_or(LineEnd::Torn))
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        let first = self.reader.fill_buf()?.first().copied();
        self.first = first;
        Ok(first)
    }
}

impl<R: BufRead> Read for Line<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.end.is_some() || bytes.is_empty() {
            return Ok(0);
        }
        let ready = self.reader.fill_buf()?;
        if ready.is_empty() || self.length > MAX_LINE {
            self.end = Some(match ready.is_empty() {
                true => LineEnd::Torn,
                false => LineEnd::TooLong,
            });
            return Ok(0);
        }
        let part = &ready[..ready.len().min(bytes.len())];
        // A line of JSON holds no zero byte, but a power loss may leave some where data never reached the disk.
        let at = part.iter().position(|byte| matches!(byte, b'\n' | 0));
        let count = at.unwrap_or(part.len());
        bytes[..count].copy_from_slice(&part[..count]);
        let mut consumed = count;
        if let Some(at) = at {
            let is_newline = part[at] == b'\n';
            consumed += usize::from(is_newline);
            self.end = Some(match is_newline {
                true => LineEnd::Newline,
                false => LineEnd::Torn,
            });
        }
        self.length += consumed as u64;
        self.reader.consume(consumed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// High-water marks recorded on MongoDB 6.0.27.
    const FIRST: &str = r#"{"_id":{"_data":"826B032CA2000000022B0229296E04"},"a":1}"#;
    const LAST: &str = r#"{"_id":{"_data":"826B032CA2000000072B0229296E04"}}"#;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn finds_the_tokens_of_whole_lines_and_what_is_torn() {
        let whole = format!("{FIRST}\n{LAST}\n");
        for (torn, first) in [
            ("", None),
            ("{\"_id\"", Some(b'{')),
            ("a word", Some(b'a')),
            ("\0\0\n{}\n", Some(0)),
            ("{\"_id\0\n", Some(b'{')),
        ] {
            let found = appended(&file(format!("{whole}{torn}").as_bytes()), 0).unwrap();
            assert_eq!(found.end, whole.len() as u64, "{torn}");
            assert_eq!(found.torn, first, "{torn}");
            let (one, other) = found.tokens.unwrap();
            assert!(one.data().ends_with("022B0229296E04"));
            assert!(other.data().ends_with("072B0229296E04"));
        }
    }

    #[test]
    fn refuses_a_foreign_line_between_others() {
        for foreign in ["a word", "", "{\"a\":1}", "{\"_id\":1}", "[1]"] {
            let content = format!("{FIRST}\n{foreign}\n{LAST}\n");
            let found = appended(&file(content.as_bytes()), 0);
            assert!(matches!(found, Err(LineError::Foreign(_))), "{foreign}");
        }
    }

    #[test]
    fn finds_the_last_line_across_chunks() {
        for padding in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let line = format!("{}\n", "x".repeat(padding as usize));
            for before in ["", "\n", "before\n"] {
                let content = format!("{before}{line}");
                let start = last_line(&file(content.as_bytes()), content.len() as u64).unwrap();
                assert_eq!(start, Some(before.len() as u64), "{padding}");
            }
        }
    }
}
