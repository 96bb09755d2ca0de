//! Replica sets of one or three members, and the commands that tests send to them. The shared set is for tests that break nothing; a test
//! that kills or freezes members or sets fail points starts its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use futures::future::join_all;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, Timestamp, doc};
use mongodb::options::WriteConcern;
use mongodb::{Client, ClusterTime, Database};
use tempfile::TempDir;

use crate::deadline::{DEADLINE, START_DEADLINE, poll};
use crate::guard;
use crate::mongod::Mongod;
use crate::mongod_binary::MongodBinary;
use crate::oplog::Oplog;
use crate::runtime::block_on;

/// The user with all privileges on a set with `auth`.
pub const ROOT_USER: &str = "root";

/// The password of [`ROOT_USER`].
pub const ROOT_PASSWORD: &str = "root-password";

/// The time after which members elect a new primary, in milliseconds. With the default of 10 s a failover test would mostly wait.
const ELECTION_TIMEOUT_MS: i32 = 2000;

/// How long members wait for each other's heartbeats, in seconds. The default is 10 too, and a member that is elected while another one is
/// frozen waits this long for that one before it accepts writes.
const HEARTBEAT_TIMEOUT_S: i32 = 2;

/// The longest wait for a reply to `hello`; a killed or frozen member never replies.
const HELLO_LIMIT: Duration = Duration::from_millis(500);

/// Options of a replica set.
pub struct Options {
    /// The name of the set.
    pub name: &'static str,
    /// The number of members, 1 or 3.
    pub nodes: usize,
    /// The mongod to run.
    pub binary: &'static MongodBinary,
    /// The size of the oplog.
    pub oplog: Oplog,
    /// Whether clients must log in. The set then has one user, [`ROOT_USER`]; [`ReplicaSet::create_user`] creates others.
    pub auth: bool,
    /// The files of a set that accepts only TLS connections; its clients need no certificate.
    pub tls: Option<Tls>,
    /// Additional arguments for each mongod.
    pub arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            name: "rs0",
            nodes: 1,
            binary: MongodBinary::found(),
            oplog: Oplog::Ample,
            auth: false,
            tls: None,
            arguments: Vec::new(),
        }
    }
}

/// The files of a server that accepts only TLS connections.
pub struct Tls {
    /// The certificate of the server and its key.
    pub certificate_key: PathBuf,
    /// The certificate of the authority that signs the certificates of the server and of its clients.
    pub authority: PathBuf,
}

impl Tls {
    /// Returns the arguments for a mongod that requires a certificate from every client.
    pub fn arguments(&self) -> [String; 3] {
        let Tls {
            certificate_key,
            authority,
        } = self;
        [
            "--tlsMode=requireTLS".to_owned(),
            format!("--tlsCertificateKeyFile={}", certificate_key.display()),
            format!("--tlsCAFile={}", authority.display()),
        ]
    }

    /// Returns the options for the connection string of a client, to append to other options.
    fn options(&self) -> String {
        format!("&tls=true&tlsCAFile={}", self.authority.display())
    }
}

/// One member, and a direct connection to it.
struct Node {
    mongod: Mongod,
    direct: Client,
}

/// A running replica set. Its members are killed on drop.
pub struct ReplicaSet {
    name: &'static str,
    nodes: Vec<Node>,
    /// The addresses of all members, as in a connection string.
    hosts: String,
    /// Options that every connection string of the set has after `replicaSet`.
    tls_options: String,
    auth: bool,
    client: Client,
    /// Contains the key file with which the members authenticate to each other; empty without `auth`.
    _keys: TempDir,
}

impl ReplicaSet {
    /// Returns the set of one member that all tests share that do not disturb it. It lives as long as the test binary.
    pub fn shared() -> &'static ReplicaSet {
        static SHARED: OnceLock<ReplicaSet> = OnceLock::new();
        SHARED.get_or_init(|| ReplicaSet::start(Options::default()))
    }

    /// Starts a set, and waits until it has a writable primary and every other member can become primary.
    #[track_caller]
    pub fn start(options: Options) -> ReplicaSet {
        let keys = guard::temp_dir("keys-");
        let mut arguments = vec![format!("--replSet={}", options.name)];
        arguments.extend(options.oplog.arguments().iter().copied().map(str::to_owned));
        if options.auth {
            arguments.push(format!("--keyFile={}", key_file(&keys).display()));
        }
        let mut tls_options = String::new();
        if let Some(tls) = &options.tls {
            arguments.extend(tls.arguments());
            arguments.push("--tlsAllowConnectionsWithoutCertificates".to_owned());
            tls_options = tls.options();
        }
        arguments.extend(options.arguments);
        let nodes: Vec<Node> = (0..options.nodes)
            .map(|_| Mongod::start(options.binary, &arguments))
            .map(|mongod| Node::from_mongod(mongod, &tls_options))
            .collect();
        let addresses: Vec<String> = nodes.iter().map(|node| node.mongod.address()).collect();
        let hosts = addresses.join(",");
        let mut set = ReplicaSet {
            client: member_client(&format!(
                "mongodb://{hosts}/?replicaSet={}{tls_options}",
                options.name
            )),
            name: options.name,
            nodes,
            hosts,
            tls_options,
            auth: options.auth,
            _keys: keys,
        };
        set.initiate(&addresses);
        if set.auth {
            set.create_root();
            set.client = member_client(&set.uri());
        }
        set
    }

    /// Loses the data of all members, and initiates the set again: another deployment, with the same name on the same ports.
    #[track_caller]
    pub fn wipe(&self) {
        for node in &self.nodes {
            node.mongod.wipe();
        }
        let addresses: Vec<String> = self
            .nodes
            .iter()
            .map(|node| node.mongod.address())
            .collect();
        self.initiate(&addresses);
        if self.auth {
            self.create_root();
        }
    }

    /// Creates [`ROOT_USER`]. While there is no user, a connection from the same machine may create the first one.
    fn create_root(&self) {
        let create_root = doc! { "createUser": ROOT_USER, "pwd": ROOT_PASSWORD, "roles": ["root"] };
        let client = member_client(&self.uri_without_login());
        let created = block_on(client.database("admin").run_command(create_root));
        created.expect("the first user can be created");
    }

    fn initiate(&self, addresses: &[String]) {
        let members: Vec<Document> = (0i32..)
            .zip(addresses)
            .map(|(id, host)| doc! { "_id": id, "host": host })
            .collect();
        let config = doc! {
            "_id": self.name,
            "members": members,
            "settings": {
                "electionTimeoutMillis": ELECTION_TIMEOUT_MS,
                "heartbeatTimeoutSecs": HEARTBEAT_TIMEOUT_S,
            },
        };
        let first = self.nodes[0].admin();
        block_on(first.run_command(doc! { "replSetInitiate": config })).expect("replSetInitiate");
        self.wait_until_ready();
    }

    /// Returns the connection string of the set; with `auth`, for [`ROOT_USER`]. Append more options with `&`.
    pub fn uri(&self) -> String {
        if self.auth {
            self.uri_as(ROOT_USER, ROOT_PASSWORD)
        } else {
            self.uri_without_login()
        }
    }

    /// Returns the connection string without a user. Append more options with `&`.
    pub fn uri_without_login(&self) -> String {
        self.uri_with("")
    }

    /// Returns the connection string for a user in `admin`; user and password must be percent-encoded. Append more options with `&`.
    pub fn uri_as(&self, user: &str, password: &str) -> String {
        self.uri_with(&format!("{user}:{password}@"))
    }

    fn uri_with(&self, login: &str) -> String {
        let ReplicaSet {
            hosts,
            name,
            tls_options,
            ..
        } = self;
        format!("mongodb://{login}{hosts}/?replicaSet={name}{tls_options}")
    }

    /// Creates a user on a set with `auth`, and returns the connection string for it.
    #[track_caller]
    pub fn create_user(&self, user: &str, password: &str, roles: &[Document]) -> String {
        self.admin(doc! { "createUser": user, "pwd": password, "roles": roles });
        self.uri_as(user, password)
    }

    /// Returns a client of the set, for use with [`block_on`].
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a command on the database `admin` of the primary.
    #[track_caller]
    pub fn admin(&self, command: Document) -> Document {
        let shown = command.to_string();
        match block_on(self.client.database("admin").run_command(command)) {
            Ok(reply) => reply,
            Err(error) => panic!("{shown}: {error}"),
        }
    }

    /// Runs an admin command on one member, also on a secondary.
    #[track_caller]
    pub fn admin_on(&self, member: &Mongod, command: Document) -> Document {
        let shown = command.to_string();
        let node = self
            .nodes
            .iter()
            .find(|node| node.mongod.port() == member.port());
        let admin = node.expect("a member of this set").admin();
        match block_on(admin.run_command(command)) {
            Ok(reply) => reply,
            Err(error) => panic!("{shown}: {error}"),
        }
    }

    /// Stops or resumes replication to a member, which lags behind meanwhile but stays in touch with the others.
    #[track_caller]
    pub fn set_replication(&self, member: &Mongod, is_on: bool) {
        if !is_on {
            self.wait_for_majority(member);
        }
        let mode = if is_on { "off" } else { "alwaysOn" };
        let reply = self.admin_on(
            member,
            doc! { "configureFailPoint": "stopReplProducer", "mode": mode },
        );
        if !is_on {
            let hits = reply
                .get_i64("count")
                .or_else(|_| reply.get_i32("count").map(i64::from));
            let hits = hits.expect("the server counts hits");
            let limit = i64::try_from(DEADLINE.as_millis()).expect("a deadline of seconds");
            // From the first hit on, nothing more comes.
            self.admin_on(
                member,
                doc! { "waitForFailPoint": "stopReplProducer", "timesEntered": hits + 1, "maxTimeMS": limit },
            );
        }
    }

    /// Waits until every member knows that a majority has everything written so far. A write is acknowledged when two of three members have
    /// it, so the third one may not have heard of its time yet.
    #[track_caller]
    pub fn wait_for_replication(&self) {
        for node in &self.nodes {
            self.wait_for_majority(&node.mongod);
        }
    }

    /// Waits until a member knows that a majority has everything written so far.
    #[track_caller]
    fn wait_for_majority(&self, member: &Mongod) {
        let written = self.operation_time();
        let known = poll(DEADLINE, || {
            let hello = self.admin_on(member, doc! { "hello": 1 });
            (majority_time(&hello)? >= written).then_some(())
        });
        known.unwrap_or_else(|| panic!("{} does not know of {written}", member.address()));
    }

    /// Moves the set's clock ahead of the time of day, as a client that has heard of a later time does, and writes at that time.
    /// Without authentication only: cluster times are not signed then.
    #[track_caller]
    pub fn advance_clock(&self, seconds: u32) {
        let now = self.operation_time();
        let later = doc! {
            "clusterTime": Timestamp { time: now.time + seconds, increment: 1 },
            "signature": { "hash": Binary { subtype: BinarySubtype::Generic, bytes: vec![0; 20] }, "keyId": 0_i64 },
        };
        let later: ClusterTime = bson::deserialize_from_document(later).expect("a cluster time");
        block_on(async {
            let mut session = self.client.start_session().await?;
            session.advance_cluster_time(&later);
            let clock = self
                .client
                .database("clock")
                .collection::<Document>("clock");
            let options = WriteConcern::nodes(1);
            clock
                .insert_one(doc! {})
                .write_concern(options)
                .session(&mut session)
                .await
        })
        .expect("a write at a later time");
        assert!(self.operation_time().time >= now.time + seconds);
    }

    /// Waits until there is a writable primary, and returns it.
    #[track_caller]
    pub fn primary(&self) -> &Mongod {
        match poll(DEADLINE, || newest_primary(&self.hellos())) {
            Some(index) => &self.nodes[index].mongod,
            None => panic!("no primary within {DEADLINE:?}"),
        }
    }

    /// Returns all members except the primary, whether they run or not.
    #[track_caller]
    pub fn secondaries(&self) -> Vec<&Mongod> {
        let primary = self.primary().port();
        let members = self.nodes.iter().map(|node| &node.mongod);
        members.filter(|mongod| mongod.port() != primary).collect()
    }

    /// Waits until one member is a writable primary, every other one is a secondary, and each knows what a majority has: before, it
    /// refuses every change stream.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        let ready = poll(START_DEADLINE, || {
            let hellos = self.hellos();
            let serving = |hello: &Option<Document>| {
                let is = |role| {
                    hello
                        .as_ref()
                        .is_some_and(|hello| hello.get_bool(role).is_ok_and(|holds| holds))
                };
                let has_majority = hello
                    .as_ref()
                    .and_then(majority_time)
                    .is_some_and(|time| time.time > 0);
                has_majority && (is("isWritablePrimary") || is("secondary"))
            };
            (newest_primary(&hellos).is_some() && hellos.iter().all(serving)).then_some(())
        });
        assert!(
            ready.is_some(),
            "the replica set was not ready within {START_DEADLINE:?}"
        );
    }

    /// Returns the reply of each member to `hello`; `None` for a member that does not reply.
    fn hellos(&self) -> Vec<Option<Document>> {
        block_on(join_all(self.nodes.iter().map(Node::hello)))
    }
}

impl Node {
    fn from_mongod(mongod: Mongod, tls_options: &str) -> Node {
        let limit = HELLO_LIMIT.as_millis();
        let direct = connect(&format!(
            "mongodb://{}/?directConnection=true&serverSelectionTimeoutMS={limit}{tls_options}",
            mongod.address()
        ));
        Node { mongod, direct }
    }

    /// Returns the database `admin`, once the member answers. The driver's pool may still hold connections from before a restart, and does not
    /// repeat a command that fails on one of them.
    #[track_caller]
    fn admin(&self) -> Database {
        let answer = poll(START_DEADLINE, || block_on(self.hello()));
        answer.expect("the member answers");
        self.direct.database("admin")
    }

    async fn hello(&self) -> Option<Document> {
        let admin = self.direct.database("admin");
        let hello = admin.run_command(doc! { "hello": 1 });
        tokio::time::timeout(HELLO_LIMIT, hello.into_future())
            .await
            .ok()?
            .ok()
    }
}

/// Returns the time up to which the member of this reply to `hello` knows that a majority has everything; 0 before it knows any.
fn majority_time(hello: &Document) -> Option<Timestamp> {
    let last_write = hello.get_document("lastWrite").ok()?;
    let majority = last_write.get_document("majorityOpTime").ok()?;
    majority.get_timestamp("ts").ok()
}

/// Returns the index of the primary. A member that was isolated may still report that it is the primary; the newer election counts.
fn newest_primary(hellos: &[Option<Document>]) -> Option<usize> {
    let elected = |hello: &Document| match hello.get_bool("isWritablePrimary") {
        Ok(true) => hello.get_object_id("electionId").ok(),
        _ => None,
    };
    let elections = hellos.iter().enumerate();
    elections
        .filter_map(|(index, hello)| Some((elected(hello.as_ref()?)?, index)))
        .max()
        .map(|(_, index)| index)
}

/// Returns the client of a set, for the writes of tests. It notices a frozen primary within about 3 s instead of 20 s (measured with
/// driver 3.9.1): a writer must not wait longer than `cswatch`.
fn member_client(uri: &str) -> Client {
    connect(&format!(
        "{uri}&heartbeatFrequencyMS=1000&connectTimeoutMS=2000"
    ))
}

fn connect(uri: &str) -> Client {
    block_on(Client::with_uri_str(uri)).expect("a valid connection string")
}

/// Writes the key file that the members of a set with `auth` share.
fn key_file(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("key");
    fs::write(&path, "c2VjcmV0").expect("a key file can be written");
    // mongod refuses a key file that other users may read.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
        .expect("a key file can be made private");
    path
}
