//! Where a stream is: the token of what was last handed on, and how a stream is opened there.

use std::cmp::Ordering;

use bson::{RawDocument, Timestamp};

use crate::token::{Kind, ResumeToken};

/// Where a stream is opened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum StartPoint<'a> {
    /// Behind this token.
    After(&'a ResumeToken),
    /// With the first event of this cluster time or later.
    At(Timestamp),
}

/// A position in the stream of events. Moves only forward.
#[derive(Debug, Clone)]
pub(super) struct StreamPosition {
    token: ResumeToken,
    replay: bool,
}

impl StreamPosition {
    /// The position after `token`.
    pub(super) fn after(token: ResumeToken) -> Self {
        Self {
            token,
            replay: false,
        }
    }

    /// The token of the position.
    pub(super) fn token(&self) -> &ResumeToken {
        &self.token
    }

    /// How a stream is opened here.
    pub(super) fn start(&self) -> StartPoint<'_> {
        if self.replay {
            StartPoint::At(self.token.time())
        } else {
            StartPoint::After(&self.token)
        }
    }

    /// From now on the stream is opened at the token's own time, and what sorts at or before the token is dropped: for a token that
    /// the server does not find among the events of this stream, because the filter or an option is another one.
    ///
    /// Answers false when that cannot help.
    pub(super) fn replay(&mut self) -> bool {
        let helps = !self.replay && self.token.kind() != Kind::HighWaterMark;
        self.replay |= helps;
        helps
    }

    /// Whether `event` comes after this position.
    pub(super) fn is_before(&self, event: &RawDocument) -> bool {
        if !self.replay {
            return true;
        }
        let Some(token) = ResumeToken::of_event(event) else {
            return true;
        };
        // Undecided between two token versions: a duplicate is better than a loss.
        !matches!(
            token.compare(&self.token),
            Some(Ordering::Less | Ordering::Equal)
        )
    }

    /// Moves behind `event`, which was handed on.
    pub(super) fn pass(&mut self, event: &RawDocument) {
        if let Some(token) = ResumeToken::of_event(event) {
            *self = Self::after(token);
        }
    }

    /// Moves to the token of an empty reply, when that is ahead. A high-water mark sorts before the events of its own cluster time,
    /// and starting after it would give them again.
    pub(super) fn advance(&mut self, token: ResumeToken) {
        if token.compare(&self.token) == Some(Ordering::Greater) {
            *self = Self::after(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn token(data: &str) -> ResumeToken {
        ResumeToken::parse(data).unwrap()
    }

    /// Tokens recorded on MongoDB 6.0.27: a high-water mark, and inserts of one collection.
    const MARK: &str = "826B032CA2000000022B0229296E04";
    const LATER_MARK: &str = "826B032CA2000000072B0229296E04";

    #[test]
    fn does_not_move_back_to_an_older_or_equal_mark() {
        let mut position = StreamPosition::after(token(LATER_MARK));
        position.advance(token(MARK));
        assert_eq!(position.token(), &token(LATER_MARK));
        let mut position = StreamPosition::after(token(MARK));
        position.advance(token(LATER_MARK));
        assert_eq!(position.token(), &token(LATER_MARK));
    }

    #[test]
    fn drops_what_was_handed_on_before_only_while_replaying() {
        let mut position = StreamPosition::after(token(LATER_MARK));
        let earlier = rawdoc! { "_id": { "_data": MARK } };
        assert!(position.is_before(&earlier));
        position.replay = true;
        assert!(!position.is_before(&earlier));
        position.pass(&rawdoc! { "_id": { "_data": LATER_MARK } });
        assert_eq!(position.start(), StartPoint::After(&token(LATER_MARK)));
    }

    #[test]
    fn does_not_replay_from_a_high_water_mark_that_every_stream_takes() {
        assert!(!StreamPosition::after(token(MARK)).replay());
    }
}
