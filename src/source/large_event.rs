//! Events larger than the 16 MB of a BSON document, which the server cannot send: the failure, which names the event and how to skip it.

use crate::error::{Failure, Kind};

use super::named_event::{NamedEvent, start_after};
use super::position::StreamPosition;
use super::start;
use super::target::Target;

/// Returns the failure of a stream whose next event after `position` is too large. `message` is the server's.
///
/// `can_split` is whether the server has the stage that splits events, which then did not help with this one.
pub(super) async fn failure(
    target: &Target,
    position: &StreamPosition,
    can_split: bool,
    message: &str,
) -> Failure {
    let event = find(target, position).await;
    let which = match &event {
        Some(event) => event.to_string(),
        None => message.to_owned(),
    };
    let fix = if can_split {
        "a single field is too large to be split: drop the field with --pipeline"
    } else {
        "upgrade to MongoDB 6.0.9 or later, which can split the event, leave out --full-document and --full-document-before-change, or drop the large field with --pipeline"
    };
    let skip = event.map_or_else(|| "--start-after TOKEN".to_owned(), |event| skip(&event));
    Failure::new(
        Kind::Refused,
        format!("an event is larger than the 16 MB that the server can send: {which}"),
    )
    .hint(format!(
        "{fix}; or skip the event, which loses it, with {skip}"
    ))
}

/// Requests the event after `position` again, without its content. The server's message holds only the first digits of the token.
async fn find(target: &Target, position: &StreamPosition) -> Option<NamedEvent> {
    let Target {
        connection, spec, ..
    } = target;
    let mut bare = spec.clone();
    bare.pipeline.push(NamedEvent::projection());
    let start = position.start().option().ok()?;
    let reply = start::open_and_close(connection, &bare, start, spec.batch_size).await;
    let events = NamedEvent::from_reply(&reply.ok()?)?;
    events
        .into_iter()
        .find(|event| position.is_before_token(&event.token))
}

/// Returns the options that resume the stream after the event.
fn skip(event: &NamedEvent) -> String {
    start_after(&event.token).unwrap_or_else(|| {
        let time = event.token.time();
        format!(
            "--start '{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}' and another --resume-file (the event's token is too long for a command line)",
            time.time,
            time.increment.saturating_add(1)
        )
    })
}
