//! A server that a test forbids `cswatch` to connect to.

use std::io;
use std::net::TcpListener;

use crate::port::free_listener;

/// A listener that accepts no connection. One that was made waits in its backlog, so that even one long closed is noticed.
pub struct ForbiddenServer {
    listener: TcpListener,
}

impl ForbiddenServer {
    /// Listens on a port of its own.
    pub fn listen() -> ForbiddenServer {
        let listener = free_listener();
        listener
            .set_nonblocking(true)
            .expect("a listener can be made non-blocking");
        ForbiddenServer { listener }
    }

    /// Returns its connection string, with which a driver that does connect gives up soon. More options follow an `&`.
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
