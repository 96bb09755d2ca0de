//! Where nobody supervises as systemd does.

use super::Snapshot;

/// There is none.
#[derive(Debug)]
pub(super) enum Supervisor {}

impl Supervisor {
    /// None.
    pub(super) fn from_environment() -> Option<Self> {
        None
    }

    /// Nobody is told.
    pub(super) fn tell(&mut self, _: &Snapshot, _: f64) {
        match *self {}
    }
}
