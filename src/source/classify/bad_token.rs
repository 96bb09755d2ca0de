//! Errors of a resume token that is invalid.

use mongodb::error::{Error, ErrorKind};

/// Codes of a resume token that is invalid, in ascending order. All of them were measured on MongoDB 6.0.27 with tokens that were truncated,
/// extended or changed by a digit, without their `_typeBits` or with others. Filters give some of them too: 9 and 15 among others.
#[rustfmt::skip]
const CODES: &[i32] = &[
    9,         // FailedToParse: not hex
    15,        // Overflow: truncated
    207,       // InvalidUUID: the UUID of the collection is none
    260,       // InvalidResumeToken: of another kind of stream
    40646,     // something follows the token
    40647,     // _data is missing or not a string
    40649,     // _data is empty
    50793,     // no txnOpIndex
    50795,     // a version that the server does not know
    50796,     // no version
    50854,     // the version is not a number
    50855,     // txnOpIndex is not a number
    50870,     // fromInvalidate is not a boolean
    50872,     // no fromInvalidate
    51055,     // no tokenType
    51056,     // tokenType is not a number
    51057,     // an unknown tokenType
    6_189_500, // the UUID of the collection is something else
    6_189_504, // a high-water mark with more than a time
];

/// Begins the message of each error about a value that cannot be decoded: 50615, and over a dozen codes from 50809 to 50831.
const CANNOT_DECODE: &str = "KeyString format error";

/// Returns whether `error` is one that the server has for an invalid resume token. Whether the token is the cause shows only when the same
/// command is sent without it.
pub(in super::super) fn may_be_bad_token(error: &Error) -> bool {
    let ErrorKind::Command(command) = &*error.kind else {
        return false;
    };
    CODES.contains(&command.code) || command.message.contains(CANNOT_DECODE)
}

#[cfg(test)]
mod tests {
    use super::super::fake::from_server;
    use super::*;

    #[test]
    fn recognizes_an_invalid_token_by_code_or_message() {
        assert!(CODES.is_sorted_by(|a, b| a < b));
        for code in CODES {
            assert!(may_be_bad_token(&from_server(*code, "message")), "{code}");
        }
        let message = "KeyString format error: Unknown type: 52";
        for code in [
            50615, 50810, 50811, 50813, 50814, 50816, 50819, 50823, 50824, 50825, 50829, 50830,
        ] {
            assert!(may_be_bad_token(&from_server(code, message)), "{code}");
        }
        assert!(!may_be_bad_token(&from_server(2, "message")));
    }
}
