//! A port that looks like a server's and must not be connected to.

use std::io;
use std::net::TcpListener;

use crate::port::free_listener;

/// The listener. A connection waits in its backlog, so even one long closed is seen.
pub struct Bystander {
    listener: TcpListener,
}

impl Bystander {
    /// Listens on a port of its own.
    pub fn listen() -> Bystander {
        let listener = free_listener();
        listener
            .set_nonblocking(true)
            .expect("a listener need not block");
        Bystander { listener }
    }

    /// The connection string of it. Whoever connects gives up soon: nothing answers.
    pub fn uri(&self) -> String {
        let address = self.listener.local_addr().expect("it has an address");
        format!("mongodb://{address}/?serverSelectionTimeoutMS=1000&connectTimeoutMS=1000")
    }

    /// Fails when there was a connection.
    #[track_caller]
    pub fn expect_untouched(&self) {
        match self.listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("the listener failed: {error}"),
            Ok(_) => panic!("it was connected to"),
        }
    }
}
