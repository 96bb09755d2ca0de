//! One test's own part of a server: a database nobody else uses, a folder, and `cswatch` command
//! lines aimed at them.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use mongodb::bson::Document;
use mongodb::{Collection, Database};
use tempfile::TempDir;

use crate::cswatch::Cswatch;
use crate::events::briefs;
use crate::guard;
use crate::reference::Reference;
use crate::replica_set::ReplicaSet;
use crate::runtime::block_on;

/// Most bytes of a scenario's name in its database's: the server allows 63
/// (<https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions>), and a number
/// follows.
const NAME_LIMIT: usize = 50;

/// What a test works on.
pub struct Scenario<'a> {
    set: &'a ReplicaSet,
    database: Database,
    folder: TempDir,
    /// A set that lives on is not left full of what tests wrote.
    drops_database: bool,
}

impl Scenario<'static> {
    /// On the shared replica set, beside other tests.
    pub fn new(name: &str) -> Scenario<'static> {
        let mut scenario = Scenario::on(ReplicaSet::shared(), name);
        scenario.drops_database = true;
        scenario
    }
}

impl<'a> Scenario<'a> {
    /// On a replica set of the test's own.
    pub fn on(set: &'a ReplicaSet, name: &str) -> Scenario<'a> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name: String = name.chars().take(NAME_LIMIT).collect();
        let name = format!("{name}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Scenario {
            set,
            database: set.client().database(&name),
            folder: guard::temp_dir(&format!("{name}-")),
            drops_database: false,
        }
    }

    /// The replica set it is on.
    pub fn set(&self) -> &'a ReplicaSet {
        self.set
    }

    /// Its database, for use with [`block_on`].
    pub fn db(&self) -> &Database {
        &self.database
    }

    /// A collection of its database.
    pub fn coll(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// A path in its folder, which is removed with it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns `cswatch --uri .. --db ..` with these arguments. All of a scenario share one state folder, so each resumes from the
    /// checkpoint of the one before it.
    pub fn cswatch(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Cswatch {
        self.cswatch_at(&self.set.uri(), arguments)
    }

    /// Returns the same as [`Scenario::cswatch`], connected by this connection string.
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

    /// Returns the same as [`Scenario::watch`], connected by this connection string.
    pub fn watch_at(&self, uri: &str, options: &[&str]) -> Cswatch {
        self.cswatch_at(uri, ["--coll", "c", "--resume-file"])
            .args([self.resume_file()])
            .args(options)
    }

    /// Returns the resume file of each [`Scenario::watch`].
    pub fn resume_file(&self) -> PathBuf {
        self.path("resume.json")
    }

    /// Watches collection `c` from its checkpoint to the present, and returns the events in short. The first time there is no
    /// checkpoint and no event: it saves one.
    #[track_caller]
    pub fn remaining(&self) -> Vec<String> {
        let until_now = ["--until", "now", "--max-await", "50ms"];
        briefs(&self.watch(&until_now).run().expect_code(0).stdout)
    }

    /// `cswatch` over all that happened since `reference` was opened, up to now.
    pub fn catch_up(
        &self,
        reference: &Reference,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Cswatch {
        // The empty reply that says that nothing more comes need not wait for anything.
        self.cswatch(["--no-resume", "--until", "now", "--max-await", "50ms"])
            .args(reference.start())
            .args(arguments)
    }

    /// Below which positions are kept by default.
    pub fn state_home(&self) -> PathBuf {
        self.path("state")
    }
}

impl Drop for Scenario<'_> {
    fn drop(&mut self) {
        if self.drops_database {
            // Leaving it behind would fail no other test.
            let _ = block_on(self.database.drop());
        }
    }
}
