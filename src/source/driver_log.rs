//! Debug messages about the driver's events, for `-vv`: heartbeats, connections, and the names of commands. Never what a command holds.

use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use mongodb::event::command::CommandEvent;
use mongodb::event::sdam::SdamEvent;
use tracing::{Level, enabled, trace};

use super::messages::describe;

/// Logs an event of the driver's monitors.
pub(super) fn monitoring(event: &SdamEvent) {
    match event {
        SdamEvent::ServerOpening(event) => trace!("driver: monitoring {}", event.address),
        SdamEvent::ServerClosed(event) => trace!("driver: no longer monitoring {}", event.address),
        SdamEvent::ServerHeartbeatSucceeded(event) => trace!(
            "driver: heartbeat of {} after {:.0?}",
            event.server_address, event.duration
        ),
        SdamEvent::ServerHeartbeatFailed(event) => trace!(
            "driver: no heartbeat of {} for {:.0?}: {}",
            event.server_address,
            event.duration,
            describe(&event.failure)
        ),
        _ => {}
    }
}

/// Logs an event of the driver's connection pools.
pub(super) fn connections(event: &CmapEvent) {
    match event {
        CmapEvent::ConnectionReady(event) => trace!(
            "driver: connection {} to {} opened in {:.0?}",
            event.connection_id, event.address, event.duration
        ),
        CmapEvent::ConnectionClosed(event) => trace!(
            "driver: connection {} to {} closed: {:?}",
            event.connection_id, event.address, event.reason
        ),
        CmapEvent::PoolCleared(event) => {
            trace!("driver: dropping the connections to {}", event.address);
        }
        _ => {}
    }
}

/// Returns a handler that logs the names of commands; `None` unless they are logged, because for such a handler the driver copies every
/// command and reply.
pub(super) fn commands() -> Option<EventHandler<CommandEvent>> {
    let log = |event| match event {
        CommandEvent::Succeeded(event) => trace!(
            "driver: {} on {}: {:.0?}",
            event.command_name, event.connection.address, event.duration
        ),
        CommandEvent::Failed(event) => trace!(
            "driver: {} on {} failed after {:.0?}: {}",
            event.command_name,
            event.connection.address,
            event.duration,
            describe(&event.failure)
        ),
        _ => {}
    };
    enabled!(Level::TRACE).then(|| EventHandler::callback(log))
}
