//! Ports on 127.0.0.1 that stay free while their server is down.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below the ephemeral ports of Linux (from 32768) and of other systems (from 49152). The kernel could give a port that it picked itself
/// (by binding to port 0) to the connection of any client while the server is down, and the restart of the server would fail.
const PORTS: Range<u16> = 20_000..30_000;

/// The number of ports that are tried: with thousands of them free, many in a row that are in use mean that something else is wrong.
const ATTEMPTS: usize = 100;

/// A UDP socket on every port that this process has handed out. It reserves the port against other test runs until this process ends,
/// also while its server is starting or down. Without it a new member of one replica set could get the port of a killed member of another
/// one, and the first heartbeat would make it a member of that set (observed on MongoDB 6.0.27 with three test runs at the same time).
static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// Listens on a random port that is free and that no running test process has handed out.
pub fn free_listener() -> TcpListener {
    let span = u64::from(PORTS.end - PORTS.start);
    for _ in 0..ATTEMPTS {
        // The keys of a `RandomState` are the only source of randomness in std.
        let offset = RandomState::new().hash_one(()) % span;
        let port = PORTS.start + u16::try_from(offset).expect("smaller than the range");
        if let Ok(reservation) = UdpSocket::bind(("127.0.0.1", port))
            && let Ok(listener) = TcpListener::bind(("127.0.0.1", port))
        {
            let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
            reserved.push(reservation);
            return listener;
        }
    }
    panic!("no free port in {PORTS:?} after {ATTEMPTS} attempts");
}

/// Returns a port for a server to listen on. A process that is not a test may still take it first: the code that starts the server must
/// then try another one.
pub fn free_port() -> u16 {
    let address = free_listener().local_addr();
    address.expect("a listener has an address").port()
}
