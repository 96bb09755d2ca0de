//! The members of a replica set, apart from the one that the read preference selects. A member that was synchronized anew has a young
//! oplog, and history that it lacks is lost only when no member has it.

use bson::Timestamp;
use futures::future::join_all;
use mongodb::options::ServerAddress;

use crate::config::StreamSpec;

use super::connection::Connection;
use super::start;
use super::target::Deployment;

/// A member that has history that others lack.
#[derive(Debug)]
pub(super) struct Found {
    /// The member that has it.
    pub(super) member: ServerAddress,
    /// Those that do not.
    pub(super) without: Vec<ServerAddress>,
}

impl Found {
    /// Returns the addresses of the members that lack the history, for a message.
    pub(super) fn names_without(&self) -> String {
        let names: Vec<String> = self.without.iter().map(ToString::to_string).collect();
        match names.is_empty() {
            // It did not reply when it was asked again.
            true => "the member that was read from".to_owned(),
            false => names.join(" and "),
        }
    }
}

/// Returns the members that hold data, as the replica set names them; none through a mongos, and none if the connection string allows one
/// server only.
async fn members(connection: &Connection) -> Vec<ServerAddress> {
    match connection.is_direct {
        true => Vec::new(),
        // If no server replies, no other member can be asked.
        false => Deployment::of(connection)
            .await
            .map(|deployment| deployment.members)
            .unwrap_or_default(),
    }
}

/// Searches for a member whose oplog reaches back to `time`, so that a stream of `spec` can be opened there. A member that does not reply
/// counts as one that does not have it.
pub(super) async fn with_history(
    connection: &Connection,
    spec: &StreamSpec,
    time: Timestamp,
) -> Option<Found> {
    let members = members(connection).await;
    let replies = join_all(members.into_iter().map(async |member| {
        let has_history = start::has_history(&connection.to(&member), spec, time).await;
        (member, has_history)
    }));
    let mut found = None;
    let mut without = Vec::new();
    for (member, has_history) in replies.await {
        match has_history {
            Ok(true) if found.is_none() => found = Some(member),
            Ok(true) | Err(_) => {}
            Ok(false) => without.push(member),
        }
    }
    found.map(|member| Found { member, without })
}

/// Returns the oldest time at which a stream of `spec` can be opened on any member, and the member; `None` for the member that the read
/// preference selects.
///
/// # Errors
/// The driver's, when the member that the read preference selects does not reply.
pub(super) async fn earliest(
    connection: &Connection,
    spec: &StreamSpec,
) -> mongodb::error::Result<(Timestamp, Option<ServerAddress>)> {
    let own = start::earliest(connection, spec).await?;
    let members = members(connection).await;
    let replies = join_all(members.into_iter().map(async |member| {
        let earliest = start::earliest(&connection.to(&member), spec).await;
        Some((earliest.ok()?, member))
    }));
    let oldest = replies.await.into_iter().flatten();
    let oldest = oldest.min_by_key(|(earliest, _)| *earliest);
    Ok(match oldest {
        Some((earliest, member)) if earliest < own => (earliest, Some(member)),
        _ => (own, None),
    })
}

/// Returns the latest cluster time that any member knows.
pub(super) async fn cluster_time(connection: &Connection) -> Option<Timestamp> {
    let members = members(connection).await;
    let replies = join_all(members.into_iter().map(async |member| {
        let deployment = Deployment::of(&connection.to(&member)).await;
        deployment.ok()?.cluster_time
    }));
    replies.await.into_iter().flatten().max()
}
