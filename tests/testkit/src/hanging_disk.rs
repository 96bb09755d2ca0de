//! A disk that hangs: a call on some files does not return. Seen by one process only, by way of `LD_PRELOAD`, so that the process can be
//! ended: a thread that waits for a real disk may not even be killed.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::cswatch::Cswatch;
use crate::deadline::{DEADLINE, poll};
use crate::guard;

/// The source of the library that makes calls hang.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/hanging_disk.c");

/// A call that hangs on some files, on demand.
pub struct HangingDisk {
    call: &'static str,
    path: String,
    folder: TempDir,
}

impl HangingDisk {
    /// Returns a disk on which `call` (`open`, `sync`, `write` or `unlink`) can be made to hang for files whose paths contain `path`.
    ///
    /// # Panics
    /// Where there is no C compiler named `cc`.
    pub fn new(call: &'static str, path: &str) -> HangingDisk {
        HangingDisk {
            call,
            path: path.to_owned(),
            folder: guard::temp_dir("hanging-disk-"),
        }
    }

    /// Returns `cswatch` with its files on this disk.
    #[track_caller]
    pub fn hold(&self, cswatch: Cswatch) -> Cswatch {
        cswatch
            .env("LD_PRELOAD", library())
            .env("HANG_CALL", self.call)
            .env("HANG_PATH", &self.path)
            .env("HANG_FLAG", self.flag())
    }

    /// Makes the next calls hang.
    pub fn hang(&self) {
        File::create(self.flag()).expect("a flag");
    }

    /// Waits until a call hangs.
    #[track_caller]
    pub fn wait_hanging(&self) {
        let reached = self.folder.path().join("flag.reached");
        let is_reached = poll(DEADLINE, || reached.exists().then_some(()));
        assert!(
            is_reached.is_some(),
            "no {} hangs on {}",
            self.call,
            self.path
        );
    }

    /// Lets the calls that hang return.
    pub fn recover(&self) {
        fs::remove_file(self.flag()).expect("it hangs");
    }

    fn flag(&self) -> PathBuf {
        self.folder.path().join("flag")
    }
}

/// Returns the compiled library.
#[track_caller]
fn library() -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = guard::temp_dir("hanging-disk-library-");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("hanging_disk.so"))
            .args([SOURCE, "-ldl"])
            .status()
            .expect("a C compiler named cc");
        assert!(status.success(), "cc ended with {status}");
        folder
    });
    folder.path().join("hanging_disk.so")
}
