//! A server that `cswatch` must not connect to.

use std::io;
use std::net::TcpListener;

use crate::port::free_listener;

/// A listener that accepts no connections. A connection waits in its backlog, so that it is noticed even after it was closed.
pub struct ForbiddenServer {
    listener: TcpListener,
}

impl ForbiddenServer {
    /// Listens on an unused port.
    pub fn listen() -> ForbiddenServer {
        let listener = free_listener();
        listener
            .set_nonblocking(true)
            .expect("a listener can be made non-blocking");
        ForbiddenServer { listener }
    }

    /// Returns its connection string, which makes a driver that does connect give up soon. Append more options with `&`.
    pub fn uri(&self) -> String {
        let address = self
            .listener
            .local_addr()
            .expect("a listener has an address");
        format!("mongodb://{address}/?serverSelectionTimeoutMS=1000&connectTimeoutMS=1000")
    }

    /// Fails if there was a connection.
    #[track_caller]
    pub fn assert_no_connection(&self) {
        match self.listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("the listener failed: {error}"),
            Ok(_) => panic!("cswatch connected to a server"),
        }
    }
}
