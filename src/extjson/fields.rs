//! Reading the parts of BSON at given places, never past a given limit.
//! Knows lengths and terminators, not what values mean.

use std::ffi::CStr;

use super::Malformed;

/// Bytes of a length prefix.
pub(super) const LENGTH_SIZE: usize = 4;

/// Bytes of an empty document: its length and its terminator.
const MIN_DOCUMENT_SIZE: usize = 5;

/// A document and what is in it. Its methods read at `at` and stop at `limit`, and expect
/// `at <= limit <= bytes.len()`; the ends that they return are in these bounds too.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) bytes: &'a [u8],
}

impl Fields<'_> {
    /// `N` bytes, and where they end.
    #[inline]
    pub(super) fn fixed<const N: usize>(
        self,
        at: usize,
        limit: usize,
    ) -> Result<([u8; N], usize), Malformed> {
        match self.bytes[at..limit].first_chunk() {
            Some(bytes) => Ok((*bytes, at + N)),
            None => Err(malformed(at, "value cut short")),
        }
    }

    /// The number in a length prefix, not yet compared with what follows.
    pub(super) fn length(self, at: usize, limit: usize) -> Result<usize, Malformed> {
        let (bytes, _) = self.fixed(at, limit)?;
        usize::try_from(i32::from_le_bytes(bytes)).map_err(|_| malformed(at, "negative length"))
    }

    /// The zero byte that ends the document or array at `at`.
    pub(super) fn document_terminator(self, at: usize, limit: usize) -> Result<usize, Malformed> {
        let size = self.length(at, limit)?;
        if size < MIN_DOCUMENT_SIZE || size > limit - at {
            return Err(malformed(at, "length of a document does not fit"));
        }
        self.terminator(at + size - 1)
    }

    /// The zero byte that ends the length-prefixed text at `at`.
    pub(super) fn string_terminator(self, at: usize, limit: usize) -> Result<usize, Malformed> {
        let size = self.length(at, limit)?;
        let from = at + LENGTH_SIZE;
        if size == 0 || size > limit - from {
            return Err(malformed(at, "length of a string does not fit"));
        }
        self.terminator(from + size - 1)
    }

    /// The first zero byte from `at` on, which ends a text without a length prefix.
    pub(super) fn cstring_terminator(self, at: usize, limit: usize) -> Result<usize, Malformed> {
        match CStr::from_bytes_until_nul(&self.bytes[at..limit]) {
            Ok(text) => Ok(at + text.count_bytes()),
            Err(_) => Err(malformed(at, "text without its terminator")),
        }
    }

    fn terminator(self, at: usize) -> Result<usize, Malformed> {
        if self.bytes[at] == 0 {
            Ok(at)
        } else {
            Err(malformed(at, "zero byte expected at the end"))
        }
    }
}

#[cold]
pub(super) fn malformed(offset: usize, what: &'static str) -> Malformed {
    Malformed { offset, what }
}
