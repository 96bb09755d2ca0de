//! Ports on 127.0.0.1 that stay free while the server they belong to is down.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below the ports that Linux (from 32768) and others (from 49152) give to outgoing connections. A
/// port that the kernel picks, by binding to port 0, could go to any client's connection while its
/// server is down, and the restart would fail.
const PORTS: Range<u16> = 20_000..30_000;

/// Ports tried before giving up: with thousands free, more than a handful in use in a row means
/// that something else is wrong.
const ATTEMPTS: usize = 100;

/// Those given away: a server takes a while until it listens, and its port looks free meanwhile.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Listens on a random port that nothing else listens on, and that this process did not give away
/// before.
pub fn free_listener() -> TcpListener {
    let span = u64::from(PORTS.end - PORTS.start);
    for _ in 0..ATTEMPTS {
        // The keys of a `RandomState` are the one randomness in std.
        let offset = RandomState::new().hash_one(()) % span;
        let port = PORTS.start + u16::try_from(offset).expect("smaller than the range");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port))
            && GIVEN
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(port)
        {
            return listener;
        }
    }
    panic!("no free port in {PORTS:?} after {ATTEMPTS} attempts");
}

/// A port for a server to listen on. Another process may still take it first: whoever starts the
/// server tries the next one then.
pub fn free_port() -> u16 {
    let address = free_listener().local_addr();
    address.expect("a listener has an address").port()
}
