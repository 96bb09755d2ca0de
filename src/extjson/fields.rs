//! Bounds-checked reading of the parts of BSON. Knows lengths and terminators, but not the meaning of values.

use std::ffi::CStr;

use super::Malformed;

/// Size of a length prefix in bytes.
pub(super) const LENGTH_SIZE: usize = 4;

/// Size of an empty document in bytes: its length and its terminator.
const MIN_DOCUMENT_SIZE: usize = 5;

/// The bytes of a document and of everything in it. The methods read from `at` and never past `limit`.
/// They require `at <= limit <= bytes.len()`, and the positions that they return are within these bounds.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) bytes: &'a [u8],
}

impl Fields<'_> {
    /// Returns `N` bytes and the position after them.
    #[inline]
    pub(super) fn fixed<const N: usize>(
        self,
        at: usize,
        limit: usize,
    ) -> Result<([u8; N], usize), Malformed> {
        match self.bytes[at..limit].first_chunk() {
            Some(bytes) => Ok((*bytes, at + N)),
            None => Err(malformed(at, "truncated value")),
        }
    }

    /// Returns the number in a length prefix. Does not check that this many bytes follow.
    pub(super) fn length(self, at: usize, limit: usize) -> Result<usize, Malformed> {
        let (bytes, _) = self.fixed(at, limit)?;
        usize::try_from(i32::from_le_bytes(bytes)).map_err(|_| malformed(at, "negative length"))
    }

    /// Returns the position of the zero byte that ends the document or array at `at`.
    pub(super) fn document_terminator(self, at: usize, limit: usize) -> Result<usize, Malformed> {
        let size = self.length(at, limit)?;
        if size < MIN_DOCUMENT_SIZE || size > limit - at {
            return Err(malformed(at, "wrong document length"));
        }
        self.terminator(at + size - 1)
    }

    /// Returns the position of the zero byte that ends the length-prefixed string at `at`.
    pub(super) fn string_terminator(self, at: usize, limit: usize) -> Result<usize, Malformed> {
        let size = self.length(at, limit)?;
        let start = at + LENGTH_SIZE;
        if size == 0 || size > limit - start {
            return Err(malformed(at, "wrong string length"));
        }
        self.terminator(start + size - 1)
    }

    /// Returns the position of the first zero byte after `at`, which ends a string without a length prefix.
    pub(super) fn cstring_terminator(self, at: usize, limit: usize) -> Result<usize, Malformed> {
        match CStr::from_bytes_until_nul(&self.bytes[at..limit]) {
            Ok(text) => Ok(at + text.count_bytes()),
            Err(_) => Err(malformed(at, "unterminated string")),
        }
    }

    fn terminator(self, at: usize) -> Result<usize, Malformed> {
        if self.bytes[at] == 0 {
            Ok(at)
        } else {
            Err(malformed(at, "missing zero byte at the end"))
        }
    }
}

#[cold]
pub(super) fn malformed(offset: usize, reason: &'static str) -> Malformed {
    Malformed { offset, reason }
}
