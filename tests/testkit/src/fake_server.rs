//! A fake mongod: speaks OP_MSG on 127.0.0.1 as the primary of a replica set, and lets a test send any bytes as a reply. For replies that no
//! real server sends. Without TLS, without logins.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mongodb::bson::raw::cstr;
use mongodb::bson::{DateTime, Document, RawArrayBuf, RawDocumentBuf, Timestamp, rawdoc};

use crate::deadline::DEADLINE;
use crate::port::free_listener;

/// Operation codes of the wire protocol (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>).
const OP_MSG: i32 = 2013;
const OP_COMPRESSED: i32 = 2012;
/// Size of a message header.
const HEADER: usize = 16;
/// Where the document of an OP_MSG begins: after the header, four bytes of flags, and the kind of the section.
const BODY: usize = HEADER + 4 + 1;
/// The cursor of every change stream.
const CURSOR: i64 = 77;

/// A command that a client sent.
pub struct Request<'a> {
    /// The name of the command.
    pub name: String,
    /// The whole command.
    pub command: Document,
    id: i32,
    server: &'a Shared,
}

/// The fake server. Its connections are closed on drop.
pub struct FakeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Returns the bytes to send in reply to a command.
type Handler = dyn Fn(&Request<'_>) -> Vec<u8> + Send + Sync;

/// What the connections share.
struct Shared {
    /// The cluster time in the usual replies.
    now: Timestamp,
    handler: Box<Handler>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    connections: Vec<TcpStream>,
    /// The names of all commands so far.
    commands: Vec<String>,
}

impl FakeServer {
    /// Listens on an unused port. `handler` returns the bytes to send for each command: usually [`Request::usual`] or [`Request::reply`].
    /// No bytes close the connection.
    pub fn start(handler: impl Fn(&Request<'_>) -> Vec<u8> + Send + Sync + 'static) -> FakeServer {
        let listener = free_listener();
        let address = listener.local_addr().expect("a listener has an address");
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = seconds.expect("a time after 1970").as_secs();
        let shared = Arc::new(Shared {
            now: Timestamp {
                time: u32::try_from(seconds).expect("a time before 2106"),
                increment: 1,
            },
            handler: Box::new(handler),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        FakeServer { address, shared }
    }

    /// Returns its host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns its connection string. Append more options with `&`.
    pub fn uri(&self) -> String {
        format!(
            "mongodb://{}/?directConnection=true&serverSelectionTimeoutMS=3000",
            self.address
        )
    }

    /// Returns the cluster time in the usual replies.
    pub fn now(&self) -> Timestamp {
        self.shared.now
    }

    /// Returns how often clients sent this command.
    pub fn count(&self, name: &str) -> usize {
        count(&self.shared.state(), name)
    }

    /// Waits until clients have sent this command so many times.
    #[track_caller]
    pub fn wait_for(&self, name: &str, times: usize) {
        let waiting = self.shared.state();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(waiting, DEADLINE, |state| count(state, name) < times)
            .expect("no connection panicked");
        assert!(count(&state, name) >= times, "{:?}", state.commands);
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_closed = true;
        for connection in &state.connections {
            // Fails if the client has closed it already.
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
        // Wakes the thread that accepts connections, so that it ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn count(state: &State, name: &str) -> usize {
    state.commands.iter().filter(|seen| *seen == name).count()
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for connection in listener.incoming().map_while(Result::ok) {
        let mut state = shared.state();
        if state.is_closed {
            return;
        }
        state.connections.extend(connection.try_clone());
        let shared = Arc::clone(shared);
        // The end of a connection is no error.
        thread::spawn(move || serve(connection, &shared).err());
    }
}

/// Replies to the commands of one connection, until either side closes it.
fn serve(mut connection: TcpStream, shared: &Shared) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        connection.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_le_bytes(length)).map_err(io::Error::other)?;
        let mut message = vec![0; length];
        connection.read_exact(&mut message[4..])?;
        let id = i32::from_le_bytes(message[4..8].try_into().expect("four bytes"));
        let command = Document::from_reader(&message[BODY..]).map_err(io::Error::other)?;
        let request = Request {
            name: command.keys().next().cloned().unwrap_or_default(),
            command,
            id,
            server: shared,
        };
        shared.state().commands.push(request.name.clone());
        shared.changed.notify_all();
        let reply = (shared.handler)(&request);
        if reply.is_empty() {
            return connection.shutdown(Shutdown::Both);
        }
        connection.write_all(&reply)?;
    }
}

impl Request<'_> {
    /// Returns the cluster time in the usual replies.
    pub fn now(&self) -> Timestamp {
        self.server.now
    }

    /// Returns whether it opens a change stream or reads from one.
    pub fn is_for_events(&self) -> bool {
        self.name == "getMore" || self.name == "aggregate"
    }

    /// Returns what a healthy idle server replies. For a `getMore`, after the time that it asks to wait.
    pub fn usual(&self) -> Vec<u8> {
        match &*self.name {
            "hello" | "isMaster" | "ismaster" => self.reply(&self.hello()),
            "replSetGetConfig" => self.reply(&rawdoc! {
                "ok": 1,
                "config": { "settings": { "replicaSetId": mongodb::bson::oid::ObjectId::from_bytes([7; 12]) } },
            }),
            "aggregate" => self.batch(&[], &mark(self.now())),
            "getMore" => {
                self.wait();
                self.batch(&[], &mark(self.now()))
            }
            _ => self.reply(&rawdoc! { "ok": 1 }),
        }
    }

    /// Returns the document of the usual reply to `hello`.
    pub fn hello(&self) -> RawDocumentBuf {
        rawdoc! {
            "isWritablePrimary": true, "helloOk": true, "ok": 1,
            "setName": "fake", "setVersion": 1, "me": "fake:1", "primary": "fake:1", "hosts": ["fake:1"],
            "minWireVersion": 0, "maxWireVersion": 17, "maxBsonObjectSize": 16 * 1024 * 1024,
            "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000, "logicalSessionTimeoutMinutes": 30,
            "operationTime": self.now(), "$clusterTime": self.cluster_time(),
            "lastWrite": { "lastWriteDate": DateTime::now(), "majorityOpTime": { "ts": self.now(), "t": 1_i64 } },
        }
    }

    /// Returns the usual `$clusterTime`, without a signature, as of a server without logins.
    fn cluster_time(&self) -> RawDocumentBuf {
        rawdoc! { "clusterTime": self.now(), "signature": { "keyId": 0_i64 } }
    }

    /// Returns a reply with these events, and `token` as the post-batch resume token.
    pub fn batch(&self, events: &[RawDocumentBuf], token: &str) -> Vec<u8> {
        let mut array = RawArrayBuf::new();
        for event in events {
            array.push(event.as_ref());
        }
        let mut cursor =
            rawdoc! { "id": CURSOR, "ns": "d.c", "postBatchResumeToken": { "_data": token } };
        match &*self.name {
            "aggregate" => cursor.append(cstr!("firstBatch"), array),
            _ => cursor.append(cstr!("nextBatch"), array),
        }
        self.reply(&rawdoc! {
            "cursor": cursor, "ok": 1, "operationTime": self.now(), "$clusterTime": self.cluster_time(),
        })
    }

    /// Waits for the time that a `getMore` asks to wait, or until the server is dropped.
    pub fn wait(&self) {
        let millis = self.command.get_i64("maxTimeMS");
        let millis = millis.or_else(|_| self.command.get_i32("maxTimeMS").map(i64::from));
        let time = Duration::from_millis(millis.unwrap_or(100).unsigned_abs());
        let state = self.server.state();
        let changed = &self.server.changed;
        drop(changed.wait_timeout_while(state, time, |state| !state.is_closed));
    }

    /// Returns an OP_MSG with this document.
    pub fn reply(&self, document: &RawDocumentBuf) -> Vec<u8> {
        self.body(document.as_bytes())
    }

    /// Returns an OP_MSG with these bytes in place of a document.
    pub fn body(&self, document: &[u8]) -> Vec<u8> {
        self.message(OP_MSG, &[&[0; 5], document].concat())
    }

    /// Returns an OP_COMPRESSED whose content is `compressed`, by the compressor with this number, and has this length when decompressed.
    pub fn compressed(&self, compressor: u8, length: i32, compressed: &[u8]) -> Vec<u8> {
        let head = [OP_MSG.to_le_bytes(), length.to_le_bytes()].concat();
        self.message(
            OP_COMPRESSED,
            &[&head, &[compressor][..], compressed].concat(),
        )
    }

    fn message(&self, op_code: i32, content: &[u8]) -> Vec<u8> {
        let length = i32::try_from(HEADER + content.len()).expect("a message below 2 GB");
        let header = [length, 1, self.id, op_code].map(i32::to_le_bytes);
        [header.as_flattened(), content].concat()
    }
}

/// Returns the digits of a high-water mark.
pub fn mark(time: Timestamp) -> String {
    format!("82{:08X}{:08X}2B0229296E04", time.time, time.increment)
}

/// Returns the digits of the token of an insert of `{_id: 1}`, as MongoDB 6.0.27 sends it.
pub fn token(time: Timestamp) -> String {
    let uuid = "9EF0029ED84B4882B631005E1938BFD4";
    let Timestamp { time, increment } = time;
    format!("82{time:08X}{increment:08X}2B022C0100296E5A1004{uuid}461E5F6964002B020004")
}

/// Returns the digits of the token of a fragment of that insert; `number` is 1 to 64.
pub fn fragment_token(time: Timestamp, number: u8) -> String {
    let uuid = "9EF0029ED84B4882B631005E1938BFD4";
    let Timestamp { time, increment } = time;
    let number = match number {
        1 => "29".to_owned(),
        number => format!("2B{:02X}", (number - 1) * 2),
    };
    format!(
        "82{time:08X}{increment:08X}2B042C0100296E5A1004{uuid}463C6F7065726174696F6E54797065003C696E736572740046646F63756D656E744B657900461E5F6964002B020000{number}04"
    )
}
