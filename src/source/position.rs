//! The position in a stream: the resume token of the last forwarded event, and how to open a stream there.

use std::cmp::Ordering;

use bson::{Document, RawDocument, Timestamp, doc};

use crate::token::{Kind, ResumeToken};

/// The point at which a stream is opened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum StartPoint<'a> {
    /// After this token.
    After(&'a ResumeToken),
    /// At the first event with this cluster time or a later one.
    At(Timestamp),
}

impl StartPoint<'_> {
    /// Returns the option of `$changeStream` that opens a stream here.
    ///
    /// # Errors
    /// When the token is not valid BSON.
    pub(super) fn option(self) -> mongodb::error::Result<Document> {
        Ok(match self {
            Self::After(token) => doc! { "startAfter": Document::try_from(token.as_raw())? },
            Self::At(time) => doc! { "startAtOperationTime": time },
        })
    }
}

/// A position in the stream of events. It moves only forward.
#[derive(Debug, Clone)]
pub(super) struct StreamPosition {
    token: ResumeToken,
    /// Whether the stream is opened at the token's time, and events up to the token are dropped.
    is_replay: bool,
}

impl StreamPosition {
    /// Returns the position after `token`.
    pub(super) fn after(token: ResumeToken) -> Self {
        Self {
            token,
            is_replay: false,
        }
    }

    /// Returns the token of the position.
    pub(super) fn token(&self) -> &ResumeToken {
        &self.token
    }

    /// Returns the point at which to open a stream that resumes here.
    pub(super) fn start(&self) -> StartPoint<'_> {
        if self.is_replay {
            StartPoint::At(self.token.time())
        } else {
            StartPoint::After(&self.token)
        }
    }

    /// Switches to a replay: the stream is opened at the token's own time, and events that sort at or before the token are dropped. This is
    /// for a token that the server does not find among the events of this stream, because the filter or an option has changed.
    ///
    /// Returns whether that can help.
    pub(super) fn start_replay(&mut self) -> bool {
        let can_help = !self.is_replay && self.token.kind() != Kind::HighWaterMark;
        self.is_replay |= can_help;
        can_help
    }

    /// Returns the position after `token` that reads the events of the token's time again and drops those up to the token. Every stream can
    /// be opened there, also one whose filter hides the event of the token.
    pub(super) fn replay_after(token: ResumeToken) -> Self {
        Self {
            token,
            is_replay: true,
        }
    }

    /// Returns the token up to which events are dropped; `None` unless events are read again.
    pub(super) fn dropped_up_to(&self) -> Option<&ResumeToken> {
        self.is_replay.then_some(&self.token)
    }

    /// Returns whether this position is before `event`, which then is new.
    pub(super) fn is_before(&self, event: &RawDocument) -> bool {
        if !self.is_replay {
            return true;
        }
        ResumeToken::of_event(event).is_none_or(|token| self.is_before_token(&token))
    }

    /// Returns whether this position is before the event with this token, as [`Self::is_before`] does.
    pub(super) fn is_before_token(&self, token: &ResumeToken) -> bool {
        if !self.is_replay {
            return true;
        }
        // Tokens of two versions cannot be compared. A duplicate is better than a lost event.
        !matches!(
            token.compare(&self.token),
            Some(Ordering::Less | Ordering::Equal)
        )
    }

    /// Moves to the position after `event`, which was forwarded.
    pub(super) fn move_past(&mut self, event: &RawDocument) {
        if let Some(token) = ResumeToken::of_event(event) {
            *self = Self::after(token);
        }
    }

    /// Moves to the token of an empty reply, if it sorts after this position. A high-water mark sorts before the events of its own cluster
    /// time, and a stream that starts after it would repeat them.
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
    fn moves_to_a_later_mark_but_never_back() {
        let mut position = StreamPosition::after(token(LATER_MARK));
        position.advance(token(MARK));
        assert_eq!(position.token(), &token(LATER_MARK));
        let mut position = StreamPosition::after(token(MARK));
        position.advance(token(LATER_MARK));
        assert_eq!(position.token(), &token(LATER_MARK));
    }

    #[test]
    fn drops_events_up_to_the_token_only_in_a_replay() {
        let mut position = StreamPosition::after(token(LATER_MARK));
        let earlier = rawdoc! { "_id": { "_data": MARK } };
        assert!(position.is_before(&earlier));
        position.is_replay = true;
        assert!(!position.is_before(&earlier));
        position.move_past(&rawdoc! { "_id": { "_data": LATER_MARK } });
        assert_eq!(position.start(), StartPoint::After(&token(LATER_MARK)));
    }

    #[test]
    fn does_not_replay_from_a_high_water_mark_which_every_stream_accepts() {
        assert!(!StreamPosition::after(token(MARK)).start_replay());
    }
}
