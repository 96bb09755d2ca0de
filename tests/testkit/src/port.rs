//! Ports on 127.0.0.1 that stay free while their server is down.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below the ephemeral ports of Linux (from 32768) and of other systems (from 49152). The kernel could give a port that it picked itself
/// (by binding to port 0) to the connection of any client while the server is down, and the restart of the server would fail.
const PORTS: Range<u16> = 20_000..30_000;

/// The number of ports that are tried: with thousands of them free, many in a row that are in use mean that something else is wrong.
const ATTEMPTS: usize = 100;

/// Ports that this process has handed out. A server needs time until it listens, and its port looks free until then.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Listens on a random port that is free and that this process has not handed out before.
pub fn free_listener() -> TcpListener {
    let span = u64::from(PORTS.end - PORTS.start);
    for _ in 0..ATTEMPTS {
        // The keys of a `RandomState` are the only source of randomness in std.
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

/// Returns a port for a server to listen on. Another process may still take it first: the code that starts the server must then try
/// another one.
pub fn free_port() -> u16 {
    let address = free_listener().local_addr();
    address.expect("a listener has an address").port()
}
