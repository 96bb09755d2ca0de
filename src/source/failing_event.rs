//! Events that the server fails on, because a stage or an option cannot process them: which event it is, and how to skip it.
//!
//! The server runs the pipeline on the event of the start token too, so a stream that starts after such an event fails again (measured on
//! MongoDB 6.0.27). A high-water mark just after the event works.

use bson::{Document, Timestamp, doc};
use mongodb::error::Error;

use crate::config::StreamSpec;
use crate::error::{Failure, Kind};
use crate::token::ResumeToken;

use super::classify;
use super::messages;
use super::named_event::{NamedEvent, start_after};
use super::position::StreamPosition;
use super::start;
use super::target::Target;

/// Maximum number of events whose names are read at once. The first page has one event, which mostly is the one.
const MAX_PAGE: u32 = 1000;

/// Begins the text that no number can be parsed from, so that the server's message shows that a read came to its end.
const BEYOND: &str = "cswatch: beyond ";

/// The event that the server fails on, and how to skip it.
#[derive(Debug)]
pub(super) struct FailingEvent {
    event: NamedEvent,
    /// Options that skip it, and what else they skip.
    skip: Option<String>,
}

/// Returns the first event after `position` that the server fails on with the error `code`. `has_split` is whether the stream has the stage
/// that splits large events. Returns `None` if there is no such event, or if another error prevents the search.
pub(super) async fn find(
    target: &Target,
    position: &StreamPosition,
    has_split: bool,
    code: i32,
) -> Option<FailingEvent> {
    let search = Search {
        target,
        has_split,
        code,
    };
    let mut from = position.clone();
    let mut page = 1;
    loop {
        let events = search.events_after(&from, page).await?;
        let last = events.last()?;
        if search.fails_up_to(&from, &last.token).await? {
            let event = search.first_failing(&from, events).await?;
            let skip = search.skip(position, &from, &event).await;
            return Some(FailingEvent { event, skip });
        }
        from = StreamPosition::replay_after(last.token.clone());
        page = MAX_PAGE.min(10 * page);
    }
}

impl FailingEvent {
    /// Returns the failure of a stream of `spec` that `error` ended.
    pub(super) fn failure(&self, error: &Error, spec: &StreamSpec) -> Failure {
        let Self { event, skip } = self;
        match classify::code(error) {
            // These have a fix that loses no event.
            Some(classify::NO_IMAGE | classify::CHANGE_STREAM_FATAL) => {
                let mut failure = messages::failure(error, spec);
                failure.message = format!("{}, at {event}", failure.message);
                failure
            }
            _ => {
                let skip = skip.as_deref().unwrap_or("--start-after TOKEN");
                Failure::new(
                    Kind::Refused,
                    format!("the server fails on an event: {event}: {}", messages::describe(error)),
                )
                .hint(format!(
                    "change --pipeline or --match so that it accepts the event ($convert has onError); or skip the event, which loses it, with {skip}"
                ))
            }
        }
    }
}

/// The search for an event in the stream of a target.
struct Search<'a> {
    target: &'a Target,
    has_split: bool,
    /// The error that is searched for.
    code: i32,
}

impl Search<'_> {
    /// Returns up to `limit` events after `from`, whether the pipeline matches them or not.
    async fn events_after(&self, from: &StreamPosition, limit: u32) -> Option<Vec<NamedEvent>> {
        let mut pipeline = Vec::new();
        if let Some(dropped) = from.dropped_up_to() {
            let after = doc! { "$gt": dropped.data().to_ascii_uppercase() };
            pipeline.push(doc! { "$match": { "_id._data": after } });
        }
        pipeline.push(NamedEvent::projection());
        let bare = StreamSpec {
            full_document: None,
            full_document_before_change: None,
            ..self.spec(pipeline)
        };
        let start = from.start().option().ok()?;
        let reply = start::open_and_close(&self.target.connection, &bare, start, limit).await;
        NamedEvent::from_reply(&reply.ok()?)
    }

    /// Returns the first of `events` that the stream fails on. It fails on one of them, and they begin right after `from`.
    async fn first_failing(
        &self,
        from: &StreamPosition,
        mut events: Vec<NamedEvent>,
    ) -> Option<NamedEvent> {
        let (mut first, mut end) = (0, events.len() - 1);
        while first < end {
            let middle = first + (end - first) / 2;
            match self.fails_up_to(from, &events[middle].token).await? {
                true => end = middle,
                false => first = middle + 1,
            }
        }
        Some(events.swap_remove(first))
    }

    /// Returns whether the stream fails on an event after `from`, up to the one with the token `last`.
    async fn fails_up_to(&self, from: &StreamPosition, last: &ResumeToken) -> Option<bool> {
        self.pipeline_fails(&self.target.spec.pipeline, from, last)
            .await
    }

    async fn pipeline_fails(
        &self,
        pipeline: &[Document],
        from: &StreamPosition,
        last: &ResumeToken,
    ) -> Option<bool> {
        let mut stages = vec![up_to(last, from.dropped_up_to())];
        stages.extend_from_slice(pipeline);
        let start = from.start().option().ok()?;
        let spec = self.spec(stages);
        let reply = start::open_and_close(&self.target.connection, &spec, start, 1).await;
        match reply {
            Ok(_) => Some(false),
            Err(error) if messages::describe(&error).contains(BEYOND) => Some(false),
            Err(error) => (classify::code(&error) == Some(self.code)).then_some(true),
        }
    }

    /// Returns the stream's definition with these stages, and with the one that splits large events if the stream has it: the version of
    /// tokens depends on it.
    fn spec(&self, pipeline: Vec<Document>) -> StreamSpec {
        let spec = self.target.spec.clone();
        StreamSpec { pipeline, ..spec }.with_split_stage(self.has_split)
    }

    /// Returns the options that skip `event`, the first failing one after `from`; `position` is that of the stream.
    async fn skip(
        &self,
        position: &StreamPosition,
        from: &StreamPosition,
        event: &NamedEvent,
    ) -> Option<String> {
        let Timestamp { time, increment } = event.token.time();
        let following = StreamPosition::replay_after(event.token.clone());
        // No reply in time means a long scan, and so no event of the same time.
        let next = self.events_after(&following, 1).await;
        let is_followed = next
            .as_deref()
            .and_then(<[_]>::first)
            .is_some_and(|next| next.token.time() == event.token.time());
        if is_followed && let Some(skip) = self.skip_by_filter(position, from, event).await {
            return Some(skip);
        }
        let after = Timestamp {
            time,
            increment: increment.saturating_add(1),
        };
        let spec = self.spec(self.target.spec.pipeline.clone());
        let token = start::token(&self.target.connection, &spec, Some(after)).await;
        let skip = start_after(&token.ok()?)?;
        Some(match is_followed {
            true => format!("{skip}, which skips the rest of its transaction too"),
            false => skip,
        })
    }

    /// Returns the options that skip an event of a transaction by a filter before the stage that fails. The events of a transaction share one
    /// cluster time, so no high-water mark lies between them.
    async fn skip_by_filter(
        &self,
        position: &StreamPosition,
        from: &StreamPosition,
        event: &NamedEvent,
    ) -> Option<String> {
        let data = event.token.data();
        let mut pipeline = self.target.spec.pipeline.clone();
        let matches = pipeline
            .iter()
            .take_while(|stage| stage.contains_key("$match"))
            .count();
        pipeline.insert(matches, doc! { "$match": { "_id._data": { "$ne": data } } });
        let is_skipped = !self.pipeline_fails(&pipeline, from, &event.token).await?;
        let start_after = start_after(position.token())?;
        is_skipped.then(|| {
            format!("{start_after} --match '{{\"_id._data\":{{\"$ne\":\"{data}\"}}}}', until a checkpoint after it is saved")
        })
    }
}

/// Returns the stage that drops events up to `first` and fails, with [`BEYOND`] in the message, on the first event after `last`: without it
/// the server would scan the rest of the oplog. It runs before the pipeline, and before images are looked up (measured on MongoDB 6.0.27).
fn up_to(last: &ResumeToken, first: Option<&ResumeToken>) -> Document {
    let is_up_to =
        |token: &ResumeToken| doc! { "$lte": ["$_id._data", token.data().to_ascii_uppercase()] };
    let mut branches = Vec::new();
    if let Some(first) = first {
        branches.push(doc! { "case": is_up_to(first), "then": false });
    }
    branches.push(doc! { "case": is_up_to(last), "then": true });
    let fail = doc! { "$toInt": { "$concat": [BEYOND, "$_id._data"] } };
    doc! { "$match": { "$expr": { "$switch": { "branches": branches, "default": fail } } } }
}
