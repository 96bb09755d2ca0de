//! Hidden characters in UTF-8, such as bidirectional controls: where they may begin, and their escapes.
//! [`is_hidden`] decides; the tests of bytes only rule out most text. They compile to vector instructions: no branches, a few operations.

use crate::text::is_hidden;

/// Returns whether a hidden character may begin with this byte. False for the letters of most scripts.
#[inline(always)]
pub(super) const fn may_begin_with(byte: u8) -> bool {
    (byte | 0x20 == 0xe2) | (byte == 0xd8) | (byte == 0xe1) | (byte >= 0xef)
}

/// Returns whether a hidden character may begin with these bytes. False for quotation marks, dashes, letters and most emoji; true for all
/// hidden characters outside ASCII, and for a few rare visible ones.
#[inline(always)]
pub(super) fn may_begin([first, second, third]: [u8; 3]) -> bool {
    // U+0080 to U+009F, and U+00AD.
    let c2 = (first == 0xc2) & ((second < 0xa0) | (second == 0xad));
    // U+061C.
    let d8 = (first == 0xd8) & (second == 0x9c);
    // U+180E.
    let e1 = (first == 0xe1) & (second == 0xa0);
    // U+200B to U+200F, U+2028 to U+202E, and U+2060 to U+206F.
    let e2 = (first == 0xe2) & ((second == 0x81) | ((second == 0x80) & (third & 0xd8 == 0x88)));
    // U+FEFF, and U+FFF9 to U+FFFB.
    let ef = (first == 0xef) & (second | 4 == 0xbf);
    // Emoji begin with F0 9F.
    let f0 = (first >= 0xf0) & (second != 0x9f);
    c2 | d8 | e1 | e2 | ef | f0
}

/// Appends the first character of `text`, which is not ASCII, as `\uXXXX` if it is hidden and unchanged otherwise. Returns its number of
/// bytes.
#[cold]
pub(super) fn push_character(text: &[u8], out: &mut Vec<u8>) -> usize {
    let length = match text[0] {
        ..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    let bytes = &text[..length.min(text.len())];
    let character = str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.chars().next());
    match character {
        Some(character) if is_hidden(character) => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                out.extend_from_slice(const_hex::encode(unit.to_be_bytes()).as_bytes());
            }
        }
        _ => out.extend_from_slice(bytes),
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_hidden_character_outside_ascii() {
        let mut found = 0;
        for character in ('\u{80}'..=char::MAX).filter(|c| is_hidden(*c)) {
            let mut bytes = [0; 4];
            character.encode_utf8(&mut bytes);
            assert!(may_begin_with(bytes[0]), "{character:?}");
            assert!(may_begin([bytes[0], bytes[1], bytes[2]]), "{character:?}");
            found += 1;
        }
        assert!(found > 200, "{found}");
    }

    #[test]
    fn passes_over_the_characters_of_most_text() {
        for character in "äß€“”‘’–—…•«»\u{a0}你、,!日「」안يقсжΩאท🚀😀👍❤\u{fe0f}ậ".chars()
        {
            let mut bytes = [0; 4];
            character.encode_utf8(&mut bytes);
            assert!(!may_begin([bytes[0], bytes[1], bytes[2]]), "{character:?}");
        }
    }
}
