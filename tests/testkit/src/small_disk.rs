//! A tmpfs small enough to be filled. It is mounted in a mount namespace of its own, which the
//! kernel takes down with the last process in it: no root is needed, and nothing stays mounted
//! whatever ends the tests.

use std::io::{BufRead, BufReader, pipe};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::guard::{self, Process};

/// The tmpfs, and the process that keeps its namespace. Gone when dropped.
pub struct SmallDisk {
    holder: Process,
    /// Where it is mounted; outside the namespace an empty folder.
    mount_point: TempDir,
}

impl SmallDisk {
    /// One that holds this many bytes, rounded up to pages.
    ///
    /// # Panics
    /// Where the kernel gives no namespaces to this user, as in a container without them.
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
            "unshare and mount made no tmpfs; its reason stands above"
        );
        SmallDisk {
            holder,
            mount_point,
        }
    }

    /// Where it is for a process started [`through`](SmallDisk::through) it.
    pub fn path_inside(&self) -> &Path {
        self.mount_point.path()
    }

    /// Where the test finds the same files.
    pub fn path_outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        let path = self
            .mount_point
            .path()
            .strip_prefix("/")
            .expect("temporary folders have absolute paths");
        root.join(path)
    }

    /// What starts a program where the disk is mounted.
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
