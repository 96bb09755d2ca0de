//! A TCP proxy on 127.0.0.1 in front of one mongod, which breaks its connections as networks do,
//! and heals them again. It reads of the wire protocol only what tells a `getMore` apart,
//! uncompressed and without TLS.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::mongod::Mongod;
use crate::port::free_listener;
use crate::runtime::{block_on, runtime};

/// Most bytes read at once: a pipe's worth.
const BUFFER_SIZE: usize = 64 * 1024;

/// What happens to bytes, and to those who connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything goes through. What was held back goes first.
    Pass,
    /// Nothing listens: connections are refused, and the existing ones were reset.
    Refuse,
    /// Connections are accepted and stay open, and no byte goes through in either direction.
    BlackHole,
    /// As [`Mode::BlackHole`], for connections that carried a `getMore`, from that request on. A
    /// load balancer that forgets an idle connection looks so: the driver's monitor, on a
    /// connection of its own, sees nothing wrong.
    BlackHoleGetMore,
}

/// How existing connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// FIN, as from a server that ended.
    Close,
    /// RST, as from a firewall, or a host that restarted.
    Reset,
}

/// The proxy. Its connections are closed when it is dropped.
pub struct Proxy {
    port: u16,
    /// Where the mongod listens.
    upstream: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Requests of clients so far.
    requests: Arc<AtomicU64>,
    /// `None` while connections are refused.
    line: Mutex<Option<Line>>,
}

/// The listener, and the connections made since the last cut.
struct Line {
    /// Kept open while connections are cut, so that nobody is refused between two calls of
    /// [`accept`].
    listener: StdTcpListener,
    /// Tells this line's connections, and none made later, to end.
    cut: watch::Sender<Option<Cut>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of its own and passes everything to `mongod`.
    pub fn start(mongod: &Mongod) -> Proxy {
        let listener = free_listener();
        let address = listener.local_addr().expect("a listener has an address");
        let proxy = Proxy {
            port: address.port(),
            upstream: SocketAddr::from((Ipv4Addr::LOCALHOST, mongod.port())),
            mode: watch::Sender::new(Mode::Pass),
            requests: Arc::default(),
            line: Mutex::new(None),
        };
        *proxy.line() = Some(proxy.open(listener));
        proxy
    }

    /// A connection string through the proxy: a direct connection, because a replica set tells its
    /// clients the members' own addresses. More options follow an `&`.
    pub fn uri(&self) -> String {
        format!("mongodb://{}/?directConnection=true", self.address())
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// How many requests clients have sent so far, the heartbeats of their drivers among them.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Changes what happens from now on. [`Mode::Refuse`] has taken effect when this returns.
    #[track_caller]
    pub fn set_mode(&self, mode: Mode) {
        let mut line = self.line();
        self.mode.send_replace(mode);
        if mode == Mode::Refuse {
            if let Some(open) = line.take() {
                open.end(Cut::Reset);
            }
        } else if line.is_none() {
            let listener = StdTcpListener::bind(self.address()).expect("the proxy's port is free");
            *line = Some(self.open(listener));
        }
    }

    /// Ends all connections of now; new ones are treated as the mode says. They are gone when this
    /// returns.
    pub fn cut(&self, cut: Cut) {
        let mut line = self.line();
        *line = line.take().map(|open| self.open(open.end(cut)));
    }

    fn open(&self, listener: StdTcpListener) -> Line {
        listener
            .set_nonblocking(true)
            .expect("a listener can be made non-blocking");
        let accepted = listener.try_clone().expect("a listener can be cloned");
        let cut = watch::Sender::new(None);
        let accepting = runtime().spawn(accept(
            accepted,
            self.upstream,
            self.mode.subscribe(),
            Arc::clone(&self.requests),
            cut.subscribe(),
        ));
        Line {
            listener,
            cut,
            accepting,
        }
    }

    fn line(&self) -> MutexGuard<'_, Option<Line>> {
        // A test that panicked while holding it leaves a valid line.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(open) = self.line().take() {
            open.end(Cut::Close);
        }
    }
}

impl Line {
    /// Ends the connections and waits until the last one is gone. What it returns listens, and
    /// nobody accepts.
    fn end(self, cut: Cut) -> StdTcpListener {
        self.cut.send_replace(Some(cut));
        block_on(self.accepting).expect("no connection of the proxy panics");
        self.listener
    }
}

/// Carries connections until they are cut.
async fn accept(
    listener: StdTcpListener,
    upstream: SocketAddr,
    mode: watch::Receiver<Mode>,
    requests: Arc<AtomicU64>,
    mut cut: watch::Receiver<Option<Cut>>,
) {
    let listener = TcpListener::from_std(listener).expect("a non-blocking listener");
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = cut.changed() => break,
            accepted = listener.accept() => {
                let (client, _) = accepted.expect("a connection can be accepted");
                let requests = Arc::clone(&requests);
                connections.spawn(carry(client, upstream, mode.clone(), requests, cut.clone()));
            }
        }
    }
    connections.join_all().await;
}

/// One connection, until either side or a cut ends it.
async fn carry(
    mut client: TcpStream,
    upstream: SocketAddr,
    mode: watch::Receiver<Mode>,
    requests: Arc<AtomicU64>,
    mut cut: watch::Receiver<Option<Cut>>,
) {
    // With the mongod down the client sees its connection closed at once.
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return;
    };
    let asked_for_more = AtomicBool::new(false);
    let cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pump(
            from_client,
            to_server,
            mode.clone(),
            &asked_for_more,
            Direction::Requests(&requests),
        );
        let back = pump(
            from_server,
            to_client,
            mode,
            &asked_for_more,
            Direction::Replies,
        );
        tokio::select! {
            () = there => None,
            () = back => None,
            cut = cut.wait_for(Option::is_some) => cut.ok().and_then(|cut| *cut),
        }
    };
    if cut == Some(Cut::Reset) {
        // A socket closed with a linger time of zero sends RST. One that the peer has just ended
        // can't be told so, and need not.
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// Which way a pump carries bytes.
enum Direction<'a> {
    /// To the server, counted here.
    Requests(&'a AtomicU64),
    Replies,
}

/// Carries bytes one way, and holds them, and the end of the connection too, while the mode says
/// so.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
    asked_for_more: &AtomicBool,
    direction: Direction<'_>,
) {
    let mut buffer = vec![0; BUFFER_SIZE];
    loop {
        let Ok(length) = from.read(&mut buffer).await else {
            return;
        };
        let bytes = &buffer[..length];
        if let Direction::Requests(requests) = direction {
            requests.fetch_add(1, Ordering::Relaxed);
            if is_get_more(bytes) {
                asked_for_more.store(true, Ordering::SeqCst);
            }
        }
        let passes = |mode: &Mode| match mode {
            Mode::Pass | Mode::Refuse => true,
            Mode::BlackHole => false,
            Mode::BlackHoleGetMore => !asked_for_more.load(Ordering::SeqCst),
        };
        if mode.wait_for(passes).await.is_err() || length == 0 || to.write_all(bytes).await.is_err()
        {
            return;
        }
    }
}

/// Whether the bytes begin an OP_MSG whose command is `getMore`: a header of 16 bytes that ends
/// with the operation code, four bytes of flags, section kind 0, the document's length, and then
/// the first element, whose name is the command's
/// (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#op_msg>). A driver sends
/// its next request only after the reply, so a message always begins where a read does.
fn is_get_more(bytes: &[u8]) -> bool {
    const OP_MSG: [u8; 4] = 2013_i32.to_le_bytes();
    const NAME_AT: usize = 16 + 4 + 1 + 4 + 1;
    bytes.get(12..16) == Some(&OP_MSG)
        && bytes
            .get(NAME_AT..)
            .is_some_and(|name| name.starts_with(b"getMore\0"))
}
