//! A TCP proxy on 127.0.0.1 in front of one server, which breaks connections as networks do and restores them. Of the wire protocol of
//! MongoDB it recognizes only a `getMore`, without compression and without TLS.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::mongod::Mongod;
use crate::port::free_listener;
use crate::runtime::{block_on, runtime};

/// The most bytes that are read at once.
const BUFFER_SIZE: usize = 64 * 1024;

/// How the proxy treats connections and their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything is forwarded, starting with bytes that were held back.
    Pass,
    /// The port is closed: new connections are refused, and the existing ones are reset.
    Refuse,
    /// Connections are accepted and stay open, but no byte is forwarded in either direction.
    BlackHole,
    /// The same as [`Mode::BlackHole`] for connections that carried a `getMore`, from that request on. A load balancer that drops its
    /// state of an idle connection has this effect: the driver's monitor has its own connection and sees nothing wrong.
    BlackHoleGetMore,
    /// Bytes reach the server, and no byte comes back.
    BlackHoleReplies,
}

/// How existing connections are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// With FIN, as when a server ends.
    Close,
    /// With RST, as by a firewall, or a host that restarted.
    Reset,
}

/// The proxy. Its connections are closed on drop.
pub struct Proxy {
    port: u16,
    /// The address of the server.
    upstream: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Number of requests of clients so far.
    requests: Arc<AtomicU64>,
    /// The bytes per second that all connections together can carry to clients; `None` has no limit.
    rate: Option<Arc<Rate>>,
    /// `None` while connections are refused.
    line: Mutex<Option<Line>>,
}

/// The listener, and the connections made since the last cut.
struct Line {
    /// Kept open while connections are cut, so that no connection is refused between two calls of [`accept`].
    listener: StdTcpListener,
    /// Ends the connections of this line, and no later ones.
    cut: watch::Sender<Option<Cut>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on an unused port and forwards everything to `mongod`.
    pub fn start(mongod: &Mongod) -> Proxy {
        Proxy::before(mongod.port())
    }

    /// Starts a proxy whose connections together carry only this number of bytes per second to clients.
    pub fn start_slow(mongod: &Mongod, bytes_per_second: u32) -> Proxy {
        Proxy::before_slow(mongod.port(), bytes_per_second)
    }

    /// Forwards everything to the server on this port.
    pub fn before(port: u16) -> Proxy {
        Proxy::start_with(port, None)
    }

    /// Forwards everything to the server on this port, and only this number of bytes per second to clients.
    pub fn before_slow(port: u16, bytes_per_second: u32) -> Proxy {
        Proxy::start_with(port, Some(Arc::new(Rate::new(bytes_per_second))))
    }

    fn start_with(upstream: u16, rate: Option<Arc<Rate>>) -> Proxy {
        let listener = free_listener();
        let address = listener.local_addr().expect("a listener has an address");
        let proxy = Proxy {
            port: address.port(),
            upstream: SocketAddr::from((Ipv4Addr::LOCALHOST, upstream)),
            mode: watch::Sender::new(Mode::Pass),
            requests: Arc::default(),
            rate,
            line: Mutex::new(None),
        };
        *proxy.line() = Some(proxy.open(listener));
        proxy
    }

    /// Returns the connection string of a proxy before a mongod. It is a direct connection, because a replica set gives its clients the addresses of
    /// the members. Append more options with `&`.
    pub fn uri(&self) -> String {
        format!("mongodb://{}/?directConnection=true", self.address())
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Returns the number of requests that clients have sent so far, including the heartbeats of their drivers.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Changes the mode. [`Mode::Refuse`] has taken effect when this returns.
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

    /// Closes all current connections, and returns when they are closed. New ones are treated according to the mode.
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
            self.rate.clone(),
            cut.subscribe(),
        ));
        Line {
            listener,
            cut,
            accepting,
        }
    }

    fn line(&self) -> MutexGuard<'_, Option<Line>> {
        // A test that panicked while it held the lock leaves a valid line.
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
    /// Closes the connections and waits until the last one is closed. Returns the listener, whose connections are not accepted yet.
    fn end(self, cut: Cut) -> StdTcpListener {
        self.cut.send_replace(Some(cut));
        block_on(self.accepting).expect("no connection of the proxy panics");
        self.listener
    }
}

/// Accepts and forwards connections until they are cut.
async fn accept(
    listener: StdTcpListener,
    upstream: SocketAddr,
    mode: watch::Receiver<Mode>,
    requests: Arc<AtomicU64>,
    rate: Option<Arc<Rate>>,
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
                let rate = rate.clone();
                connections.spawn(carry(client, upstream, mode.clone(), requests, rate, cut.clone()));
            }
        }
    }
    connections.join_all().await;
}

/// Forwards one connection until either side or a cut closes it.
async fn carry(
    mut client: TcpStream,
    upstream: SocketAddr,
    mode: watch::Receiver<Mode>,
    requests: Arc<AtomicU64>,
    rate: Option<Arc<Rate>>,
    mut cut: watch::Receiver<Option<Cut>>,
) {
    // While the server is down, the connection of the client is closed at once.
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
            Direction::Replies(rate.as_deref()),
        );
        tokio::select! {
            () = there => None,
            () = back => None,
            cut = cut.wait_for(Option::is_some) => cut.ok().and_then(|cut| *cut),
        }
    };
    if cut == Some(Cut::Reset) {
        // A socket that is closed with a linger time of zero sends RST. Setting it fails if the peer has just closed the connection;
        // no RST is needed then.
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// The direction in which a pump forwards bytes.
enum Direction<'a> {
    /// To the server, counted here.
    Requests(&'a AtomicU64),
    /// To the client, at this rate.
    Replies(Option<&'a Rate>),
}

/// The rate of a slow network.
struct Rate {
    bytes_per_second: u32,
    /// Held while bytes are carried, so that connections share the rate.
    network: tokio::sync::Mutex<()>,
}

impl Rate {
    fn new(bytes_per_second: u32) -> Rate {
        Rate {
            bytes_per_second,
            network: tokio::sync::Mutex::default(),
        }
    }

    /// Waits for as long as the network takes for this number of bytes.
    async fn carry(&self, bytes: usize) {
        let _network = self.network.lock().await;
        let seconds = bytes as f64 / f64::from(self.bytes_per_second);
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }
}

/// Forwards bytes in one direction. While the mode requires it, holds back bytes and the end of the connection.
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
        if let Direction::Replies(Some(rate)) = direction {
            rate.carry(length).await;
        }
        let passes = |mode: &Mode| match mode {
            Mode::Pass | Mode::Refuse => true,
            Mode::BlackHoleReplies => matches!(direction, Direction::Requests(_)),
            Mode::BlackHole => false,
            Mode::BlackHoleGetMore => !asked_for_more.load(Ordering::SeqCst),
        };
        if mode.wait_for(passes).await.is_err() || length == 0 || to.write_all(bytes).await.is_err()
        {
            return;
        }
    }
}

/// Returns whether the bytes start with an OP_MSG whose command is `getMore`: a header of 16 bytes that ends with the operation code,
/// four bytes of flags, section kind 0, the length of the document, and its first element, whose name is that of the command
/// (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#op_msg>). A driver sends
/// its next request only after the reply, so a message always starts at the start of a read.
fn is_get_more(bytes: &[u8]) -> bool {
    const OP_MSG: [u8; 4] = 2013_i32.to_le_bytes();
    const NAME_AT: usize = 16 + 4 + 1 + 4 + 1;
    bytes.get(12..16) == Some(&OP_MSG)
        && bytes
            .get(NAME_AT..)
            .is_some_and(|name| name.starts_with(b"getMore\0"))
}
