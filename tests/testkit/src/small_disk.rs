//! A tmpfs that is small enough to be filled. It is mounted in its own mount namespace, which the kernel removes with the last process in
//! it: this needs no root, and nothing stays mounted however the tests end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write as _, pipe};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::deadline::{DEADLINE, poll};
use crate::guard::{self, Process};

/// A tmpfs, and the process that keeps its mount namespace alive. Unmounted on drop.
pub struct SmallDisk {
    holder: Process,
    /// Where it is mounted. Outside the namespace this directory is empty.
    mount_point: TempDir,
}

impl SmallDisk {
    /// Mounts a tmpfs that holds this number of bytes, rounded up to pages.
    ///
    /// # Panics
    /// If the kernel does not allow this user to create namespaces, as in some containers.
    #[track_caller]
    pub fn new(bytes: u64) -> SmallDisk {
        let mount_point = guard::temp_dir("small-disk-");
        let (mounted, writer) = pipe().expect("a pipe");
        let mount =
            r#"mount -t tmpfs -o size="$1" tmpfs "$0" && echo mounted && exec sleep infinity"#;
        let holder = Process::spawn(Path::new("unshare"), |command| {
            command
                .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount])
                .arg(mount_point.path())
                .arg(bytes.to_string())
                .stdout(writer);
        })
        .expect("a shell starts");
        let mut line = String::new();
        BufReader::new(mounted)
            .read_line(&mut line)
            .expect("the pipe can be read");
        assert_eq!(
            line, "mounted\n",
            "unshare and mount created no tmpfs; see the reason above"
        );
        SmallDisk {
            holder,
            mount_point,
        }
    }

    /// Returns its path for a process that was started [`through`](SmallDisk::through) it.
    pub fn path_inside(&self) -> &Path {
        self.mount_point.path()
    }

    /// Returns the path of the same files for the test.
    pub fn path_outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        let path = self
            .mount_point
            .path()
            .strip_prefix("/")
            .expect("temporary directories have absolute paths");
        root.join(path)
    }

    /// Fills it to the last byte with a file, until [`SmallDisk::free`] removes that. Waits while cswatch replaces a file: the old one leaves
    /// room.
    ///
    /// # Panics
    /// If it is not full within [`DEADLINE`].
    #[track_caller]
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a filler");
        let full = poll(DEADLINE, || {
            let error = loop {
                if let Err(error) = filler.write_all(&[0; 512]) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull);
            let is_temporary = |entry: fs::DirEntry| {
                let name = entry.file_name();
                name.to_string_lossy().contains(".cswatch-tmp.")
            };
            let mut entries = fs::read_dir(self.path_outside()).expect("a directory");
            let is_replacing = entries.any(|entry| entry.is_ok_and(is_temporary));
            let space = rustix::fs::statvfs(self.path_outside()).expect("a file system");
            (!is_replacing && space.f_bfree == 0).then_some(())
        });
        full.expect("a full disk");
    }

    /// Removes what [`SmallDisk::fill`] wrote.
    #[track_caller]
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("a filler");
    }

    fn filler(&self) -> PathBuf {
        self.path_outside().join("filler")
    }

    /// Returns the command that starts a program inside the mount namespace, for [`Cswatch::through`](crate::cswatch::Cswatch::through).
    pub fn through(&self) -> Vec<String> {
        let target = self.holder.pid().to_string();
        let words = [
            "nsenter",
            "--user",
            "--mount",
            "--preserve-credentials",
            "--target",
            &target,
        ];
        words.map(str::to_owned).into()
    }
}
