//! Escapes in JSON strings. Where they are close together, as in JSON or a path in a string, a group of bytes is escaped at once and without
//! branches: that is twice as fast as one by one, and slower where escapes are rare (measured on x86-64).

use super::hidden;
use super::text::push_plain;

/// Number of bytes that are escaped at once.
const GROUP: usize = 16;

/// Largest distance from one escape to the next at which they are close together.
const CLOSE: usize = 8;

/// Number of such distances in a row after which a group is tried.
const CLOSE_IN_A_ROW: i32 = 3;

/// Least number of escapes in a group after which the next group is tried.
const DENSE: usize = 3;

/// The control character at the end of ASCII.
const DELETE: u8 = 0x7f;

/// What is written for each byte in a group: the byte and zero, or a backslash and a character. Two zeros for bytes that need a longer escape,
/// and for bytes with which a hidden character may begin.
static WRITTEN: [[u8; 2]; 256] = {
    let mut written = [[0; 2]; 256];
    let mut byte = u8::MAX;
    loop {
        if let Some(character) = short_escape(byte) {
            written[byte as usize] = [b'\\', character];
        } else if !is_escaped(byte) && !hidden::may_begin_with(byte) {
            written[byte as usize] = [byte, 0];
        }
        if byte == 0 {
            break written;
        }
        byte -= 1;
    }
};

/// Returns whether a byte of ASCII needs an escape.
#[inline(always)]
pub(super) const fn is_escaped(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\') | (byte == DELETE)
}

/// Returns the character that follows the backslash in the short escape of a byte, if it has one.
#[inline(always)]
const fn short_escape(byte: u8) -> Option<u8> {
    match byte {
        b'"' | b'\\' => Some(byte),
        0x08 => Some(b'b'),
        b'\t' => Some(b't'),
        b'\n' => Some(b'n'),
        0x0c => Some(b'f'),
        b'\r' => Some(b'r'),
        _ => None,
    }
}

/// The escapes of one text.
#[derive(Default)]
pub(super) struct Escapes {
    /// Number of escapes in a row that were close to the one before. Negative where a group would be tried in vain.
    close: i32,
}

impl Escapes {
    /// Appends the escape of the first byte of `text`, which is UTF-8, and the plain bytes after it. Returns the number of bytes.
    #[inline(always)]
    pub(super) fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> usize {
        push_escape(text[0], out);
        let mut run = 1 + push_plain(&text[1..], out);
        self.close = if run <= CLOSE { self.close + 1 } else { 0 };
        if self.close == CLOSE_IN_A_ROW {
            let groups = push_groups(&text[run..], out);
            self.close = if groups == 0 { i32::MIN } else { 0 };
            run += groups;
            run += push_plain(&text[run..], out);
        }
        run
    }
}

// Inlined: it is called for every third character of JSON in a string.
#[inline(always)]
fn push_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    if let Some(character) = short_escape(byte) {
        out.extend_from_slice(&[b'\\', character]);
        return;
    }
    let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
    out.extend_from_slice(b"\\u00");
    out.extend_from_slice(&digits);
}

/// Appends groups of `text`, which is UTF-8, until one has few escapes, or has a byte that cannot be written in a group. Returns the number of
/// bytes.
#[inline(never)]
fn push_groups(text: &[u8], out: &mut Vec<u8>) -> usize {
    let mut run = 0;
    while let Some(group) = text[run..].first_chunk::<GROUP>() {
        // The zero after a byte is overwritten by the next one.
        let mut escaped = [0; 2 * GROUP + 1];
        let mut length = 0;
        let mut is_whole = true;
        for &byte in group {
            let [first, second] = WRITTEN[usize::from(byte)];
            escaped[length] = first;
            escaped[length + 1] = second;
            length += 1 + usize::from(second != 0);
            is_whole &= first != 0;
        }
        if !is_whole {
            break;
        }
        out.extend_from_slice(&escaped);
        out.truncate(out.len() - escaped.len() + length);
        run += GROUP;
        if length < GROUP + DENSE {
            break;
        }
    }
    run
}
