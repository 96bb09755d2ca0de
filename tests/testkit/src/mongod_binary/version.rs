//! Versions of MongoDB, and the features that depend on them.

/// A version of MongoDB: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Parses the output of `mongod --version`, which contains `db version v6.0.27`.
    pub fn from_printed(printed: &str) -> Option<Version> {
        let (_, rest) = printed.split_once("db version v")?;
        let mut numbers = rest
            .split(|c: char| !c.is_ascii_digit())
            .map_while(|number| number.parse().ok());
        Some(Version(numbers.next()?, numbers.next()?, numbers.next()?))
    }

    /// Returns whether this version has `$changeStreamSplitLargeEvent`: since 6.0.9, and in every major release after 6, but not in the
    /// rapid releases 6.1 to 6.3
    /// (<https://www.mongodb.com/docs/manual/reference/operator/aggregation/changeStreamSplitLargeEvent/>).
    pub fn has_split(self) -> bool {
        self >= Version(7, 0, 0) || (self.0 == 6 && self.1 == 0 && self.2 >= 9)
    }

    /// Returns the version of the resume tokens in a stream without `$changeStreamSplitLargeEvent`: 1 on 6.0, 2 on 7.0 (measured on 6.0.27
    /// and 7.0.28).
    pub fn token_version(self) -> u32 {
        if self >= Version(7, 0, 0) { 2 } else { 1 }
    }
}
