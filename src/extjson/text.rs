//! Text in JSON strings: copying, and replacement of invalid UTF-8.

use std::borrow::Cow;

use super::escapes::{Escapes, is_escaped};
use super::{Fidelity, hidden};

/// Number of bytes copied at once before it is known how many of them are plain. Most keys are shorter.
const BLOCK: usize = 16;

/// Number of bytes checked at once in long text. Enough for vector instructions, which are four times
/// as fast as blocks (measured on x86-64: 12 GB/s).
const STRETCH: usize = 64;

/// Number of bytes after a block or a stretch that decide whether its last byte begins a hidden character.
const AHEAD: usize = 2;

/// Appends `text` with all escapes that JSON requires, and with hidden characters escaped. Replaces invalid
/// UTF-8 by U+FFFD in the same way as [`String::from_utf8_lossy`].
pub(super) fn push_escaped(text: &[u8], out: &mut Vec<u8>) -> Fidelity {
    if text.is_ascii() {
        push_ascii(text, out);
        return Fidelity::Exact;
    }
    // On text outside ASCII, three to four times as fast as the standard library.
    if simdutf8::basic::from_utf8(text).is_ok() {
        push_utf8(text, out);
        return Fidelity::Exact;
    }
    push_utf8(String::from_utf8_lossy(text).as_bytes(), out);
    Fidelity::Replaced
}

/// Appends `text` with its characters sorted, as required for the options of a regular expression.
pub(super) fn push_sorted(text: &[u8], out: &mut Vec<u8>) -> Fidelity {
    if text.is_sorted() && text.is_ascii() {
        return push_escaped(text, out);
    }
    let whole = String::from_utf8_lossy(text);
    let mut characters: Vec<char> = whole.chars().collect();
    characters.sort_unstable();
    push_utf8(String::from_iter(characters).as_bytes(), out);
    match whole {
        Cow::Borrowed(_) => Fidelity::Exact,
        Cow::Owned(_) => Fidelity::Replaced,
    }
}

fn push_ascii(text: &[u8], out: &mut Vec<u8>) {
    let mut escapes = Escapes::default();
    let mut at = push_plain(text, out);
    while at < text.len() {
        at += escapes.push(&text[at..], out);
    }
}

fn push_utf8(text: &[u8], out: &mut Vec<u8>) {
    let mut escapes = Escapes::default();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += if is_escaped(byte) {
            escapes.push(&text[at..], out)
        } else {
            match push_visible(&text[at..], out) {
                0 => hidden::push_character(&text[at..], out),
                run => run,
            }
        };
    }
}

/// Appends the plain beginning of `text`, and returns its length. A byte is plain if it is ASCII and needs no
/// escape: not a quote, a backslash or a control character, such as the zero byte that ends a BSON string.
/// Copies whole blocks and truncates the excess, which is cheaper than finding the end first.
// Inlined into all callers: a call costs as much as a short key.
#[inline(always)]
pub(super) fn push_plain(text: &[u8], out: &mut Vec<u8>) -> usize {
    let mut run = 0;
    while let Some(block) = text[run..].first_chunk::<BLOCK>() {
        out.extend_from_slice(block);
        let plain = plain_prefix(block);
        if plain < BLOCK {
            out.truncate(out.len() - BLOCK + plain);
            return run + plain;
        }
        run += BLOCK;
        while let Some(stretch) = text[run..].first_chunk::<STRETCH>()
            && is_plain(stretch)
        {
            out.extend_from_slice(stretch);
            run += STRETCH;
        }
    }
    for &byte in &text[run..] {
        if is_escaped(byte) || !byte.is_ascii() {
            break;
        }
        out.push(byte);
        run += 1;
    }
    run
}

/// Returns whether all bytes of `stretch` are plain. Checks every byte without an early exit, which
/// compiles to vector instructions. Signed and one greater, DEL and bytes outside ASCII are not greater than a space.
#[inline]
fn is_plain(stretch: &[u8; STRETCH]) -> bool {
    stretch.iter().fold(true, |plain, &byte| {
        let is_text = byte.wrapping_add(1).cast_signed() > b' '.cast_signed();
        plain & is_text & (byte != b'"') & (byte != b'\\')
    })
}

/// Returns the number of plain bytes at the beginning of `block`.
#[inline]
fn plain_prefix(block: &[u8; BLOCK]) -> usize {
    let (words, _) = block.as_chunks::<8>();
    let first = special_bytes(u64::from_le_bytes(words[0]));
    if first != 0 {
        return first.trailing_zeros() as usize / 8;
    }
    let second = special_bytes(u64::from_le_bytes(words[1]));
    8 + second.trailing_zeros() as usize / 8
}

/// Returns `word` with the high bit set in each byte that is not plain, and all other bits cleared. Exact
/// up to the first such byte: after it, the subtractions may have borrowed and the addition carried.
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    const SPACES: u64 = ONES * b' ' as u64;
    const QUOTES: u64 = ONES * b'"' as u64;
    const BACKSLASHES: u64 = ONES * b'\\' as u64;
    // The subtraction of spaces sets the bit for control characters and from 0xa0 on, the addition from DEL to 0xfe.
    HIGH_BITS
        & (word.wrapping_sub(SPACES)
            | word.wrapping_add(ONES)
            | (word ^ QUOTES).wrapping_sub(ONES)
            | (word ^ BACKSLASHES).wrapping_sub(ONES))
}

/// Appends the beginning of `text`, which is UTF-8, up to the first byte that needs an escape or may begin a
/// hidden character. Returns the number of bytes.
#[inline(never)]
fn push_visible(text: &[u8], out: &mut Vec<u8>) -> usize {
    let mut run = 0;
    // Whether bytes were found with which hidden characters begin. More of them will follow, so that the first check is then left out.
    let mut is_suspect = false;
    while run < text.len() {
        let left = &text[run..];
        let mut padded = [0; BLOCK + AHEAD];
        let window = left.first_chunk().unwrap_or_else(|| {
            padded[..left.len()].copy_from_slice(left);
            &padded
        });
        let block = views::<BLOCK>(window);
        out.extend_from_slice(block[0]);
        // The padding needs an escape.
        let visible = visible_prefix(block);
        if visible < BLOCK {
            out.truncate(out.len() - BLOCK + visible);
            return run + visible;
        }
        // A constant: the processor then need not wait for the check before it reads on.
        run += BLOCK;
        while let Some(window) = text[run..].first_chunk::<{ STRETCH + AHEAD }>() {
            let stretch = views::<STRETCH>(window);
            is_suspect = is_suspect
                || any(stretch, |[byte, ..]| {
                    is_escaped(byte) | hidden::may_begin_with(byte)
                });
            if is_suspect && any(stretch, needs_escape) {
                break;
            }
            out.extend_from_slice(stretch[0]);
            run += STRETCH;
        }
    }
    run
}

/// Returns whether the first of three bytes needs an escape, or may begin a hidden character.
#[inline(always)]
fn needs_escape(bytes: [u8; 3]) -> bool {
    is_escaped(bytes[0]) | hidden::may_begin(bytes)
}

/// Returns the first `N` bytes of `window`, those one byte later, and those two bytes later.
#[inline(always)]
fn views<const N: usize>(window: &[u8]) -> [&[u8; N]; 3] {
    [0, 1, 2].map(|ahead| {
        let view = window[ahead..].first_chunk();
        view.expect("a window is longer by AHEAD")
    })
}

/// Returns whether `test` holds anywhere. Tests everywhere, which compiles to vector instructions.
#[inline(always)]
fn any<const N: usize>(
    [first, second, third]: [&[u8; N]; 3],
    test: impl Fn([u8; 3]) -> bool,
) -> bool {
    (0..N).fold(false, |any, at| {
        any | test([first[at], second[at], third[at]])
    })
}

/// Returns the number of bytes before the first one that [`needs_escape`].
#[inline(always)]
fn visible_prefix([first, second, third]: [&[u8; BLOCK]; 3]) -> usize {
    let mut found = [0; BLOCK];
    for (at, found) in found.iter_mut().enumerate() {
        *found = u8::from(needs_escape([first[at], second[at], third[at]]));
    }
    u128::from_le_bytes(found).trailing_zeros() as usize / 8
}
