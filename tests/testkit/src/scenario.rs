//! The environment of one test: its own database on a server, its own directory, and `cswatch` command lines for both.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use mongodb::bson::Document;
use mongodb::{Collection, Database};
use tempfile::TempDir;

use crate::cswatch::Cswatch;
use crate::events::briefs;
use crate::guard;
use crate::mongod_binary::MongodBinary;
use crate::reference::Reference;
use crate::replica_set::{Options, ReplicaSet};
use crate::runtime::block_on;

/// The longest part of a database name that comes from the name of the scenario, in bytes: the server allows 63
/// (<https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions>), and a number
/// is appended.
const NAME_LIMIT: usize = 50;

/// A database and a directory for one test.
pub struct Scenario<'a> {
    set: &'a ReplicaSet,
    database: Database,
    directory: TempDir,
    /// Whether to drop the database at the end, because the replica set is used by other tests too.
    drops_database: bool,
}

impl Scenario<'static> {
    /// Creates a scenario on the replica set that tests share. Its oplog holds what all of them wrote, up to a gigabyte: a test that reads
    /// the oplog from its beginning needs a set of its own.
    pub fn new(name: &str) -> Scenario<'static> {
        let mut scenario = Scenario::on(ReplicaSet::shared(), name);
        scenario.drops_database = true;
        scenario
    }

    /// Creates a scenario on a replica set that splits large events: on the shared one if that does.
    pub fn splitting(name: &str) -> Scenario<'static> {
        static OWN: OnceLock<ReplicaSet> = OnceLock::new();
        let binary = MongodBinary::with_split();
        if binary.path == MongodBinary::found().path {
            return Scenario::new(name);
        }
        let own = OWN.get_or_init(|| {
            ReplicaSet::start(Options {
                binary,
                ..Options::default()
            })
        });
        Scenario::on(own, name)
    }
}

impl<'a> Scenario<'a> {
    /// Creates a scenario on this replica set.
    pub fn on(set: &'a ReplicaSet, name: &str) -> Scenario<'a> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name: String = name.chars().take(NAME_LIMIT).collect();
        let name = format!("{name}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Scenario {
            set,
            database: set.client().database(&name),
            directory: guard::temp_dir(&format!("{name}-")),
            drops_database: false,
        }
    }

    /// Returns its replica set.
    pub fn set(&self) -> &'a ReplicaSet {
        self.set
    }

    /// Returns its database, for use with [`block_on`].
    pub fn db(&self) -> &Database {
        &self.database
    }

    /// Returns a collection of its database.
    pub fn coll(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// Returns a path in its directory, which is removed on drop.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns `cswatch --uri .. --db ..` with these arguments. All command lines of a scenario share one state directory, so each resumes
    /// from the checkpoint of the previous one.
    pub fn cswatch(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Cswatch {
        self.cswatch_at(&self.set.uri(), arguments)
    }

    /// Returns the same as [`Scenario::cswatch`] with this connection string.
    pub fn cswatch_at(
        &self,
        uri: &str,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Cswatch {
        Cswatch::new()
            .state_home(&self.state_home())
            .args(["--uri", uri, "--db", self.database.name()])
            .args(arguments)
    }

    /// Returns a watch of collection `c` with [`Scenario::resume_file`] and these options.
    pub fn watch(&self, options: &[&str]) -> Cswatch {
        self.watch_at(&self.set.uri(), options)
    }

    /// Returns the same as [`Scenario::watch`] with this connection string.
    pub fn watch_at(&self, uri: &str, options: &[&str]) -> Cswatch {
        self.cswatch_at(uri, ["--coll", "c", "--resume-file"])
            .args([self.resume_file()])
            .args(options)
    }

    /// Returns the resume file of each [`Scenario::watch`].
    pub fn resume_file(&self) -> PathBuf {
        self.path("resume.json")
    }

    /// Watches collection `c` from its checkpoint to the current time, and returns the [`briefs`] of the events. The first call returns no
    /// events, and saves the first checkpoint.
    #[track_caller]
    pub fn remaining(&self) -> Vec<String> {
        let until_now = ["--until", "now", "--max-await", "50ms"];
        briefs(&self.watch(&until_now).run().expect_code(0).stdout)
    }

    /// Returns `cswatch` for all events between the opening of `reference` and the current time.
    pub fn catch_up(
        &self,
        reference: &Reference,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Cswatch {
        // The empty reply that ends the backlog comes after this time, so it can be short.
        self.cswatch(["--no-resume", "--until", "now", "--max-await", "50ms"])
            .args(reference.start())
            .args(arguments)
    }

    /// Returns the directory below which resume files are kept by default.
    pub fn state_home(&self) -> PathBuf {
        self.path("state")
    }
}

impl Drop for Scenario<'_> {
    fn drop(&mut self) {
        if self.drops_database {
            // A database that remains makes no other test fail.
            let _ = block_on(self.database.drop());
        }
    }
}
