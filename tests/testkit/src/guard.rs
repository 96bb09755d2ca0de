//! The processes and folders of this run, and the shell that ends and removes them once the run is
//! gone. Rust drops no statics, and after `kill -9` it drops nothing, so cleaning up cannot be left
//! to destructors alone.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

use crate::deadline::poll;

/// What the guarding shell runs; `$1` is the run's folder.
///
/// `read` returns when the other end of the pipe is closed, which the kernel does however the run
/// ended. Renaming `pids` comes first: from then on no process can register, so the list is
/// complete. The mode is opened up because a test may have left a read-only folder; removing is
/// tried again because a process just killed may still be creating a file.
const GUARD: &str = r#"
trap '' HUP INT TERM
read -r _
mv "$1/pids" "$1/ended"
for pid in "$1"/ended/*; do kill -9 "${pid##*/}"; done
chmod -R u+rwX "$1"
for attempt in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" && break; sleep 0.2; done
"#;

/// What every process of the run starts as; `$0` is the folder of registered process ids.
///
/// It registers itself, under the id that `exec` keeps, before it becomes the program: there is no
/// moment at which the program runs unknown to the guard, and it does not start at all once the
/// guard has taken the list. (`PR_SET_PDEATHSIG` would need `unsafe`, and fires when the *thread*
/// that started the process ends, which a test thread does.)
const REGISTER: &str = r#": >"$0/$$" && exec "$@""#;

/// This process's folder and guard; set up on first use.
struct Run {
    /// Holds every temporary folder of the run, and `pids/`, one empty file for each live process.
    folder: PathBuf,
    /// The guard. Its stdin is never written to: it acts when the kernel closes this end.
    _guard: Child,
}

impl Run {
    fn current() -> &'static Run {
        static RUN: OnceLock<Run> = OnceLock::new();
        RUN.get_or_init(|| {
            let folder = tempfile::Builder::new()
                .prefix("cswatch-test-")
                .tempdir()
                .expect("a temporary folder for this run")
                .keep();
            fs::create_dir(folder.join("pids")).expect("a folder for process ids");
            let guard = Command::new("sh")
                .args(["-c", GUARD, "guard"])
                .arg(&folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                // A group of its own: neither ^C nor a kill of the whole test run reaches it.
                .process_group(0)
                .spawn()
                .expect("a shell to guard this run");
            Run {
                folder,
                _guard: guard,
            }
        })
    }
}

/// A new empty folder, removed when dropped and at the latest with the run.
pub fn temp_dir(prefix: &str) -> TempDir {
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(&Run::current().folder)
        .expect("a temporary folder inside the run's")
}

/// A child process that outlives neither this value nor this process.
pub struct Process {
    child: Child,
    /// The file that tells the guard of it.
    registration: PathBuf,
    /// Set once it was reaped; from then on its id may belong to another process.
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `program`; `configure` adds arguments, environment and streams. stdin is empty unless
    /// it says otherwise.
    pub fn spawn(program: &Path, configure: impl FnOnce(&mut Command)) -> io::Result<Process> {
        let pids = Run::current().folder.join("pids");
        let mut command = Command::new("sh");
        command
            .args(["-c", REGISTER])
            .arg(&pids)
            .arg(program)
            .stdin(Stdio::null());
        configure(&mut command);
        let child = command.spawn()?;
        let registration = pids.join(child.id().to_string());
        Ok(Process {
            child,
            registration,
            status: None,
        })
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; does nothing to a process that has been waited for. A stop has taken effect
    /// when this returns: until then threads on other processors run on, and a frozen server may
    /// still answer.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_some() {
            return;
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a child can be signalled until it is reaped");
        if signal == Signal::STOP {
            // Fails when the process ended instead, which whoever waits for it will see.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED);
        }
    }

    /// Waits for the end. `None` when it still runs after `limit`.
    pub fn wait_for(&mut self, limit: Duration) -> Option<ExitStatus> {
        if self.status.is_none() {
            // std has no wait with a limit.
            self.status = poll(limit, || {
                self.child.try_wait().expect("a child can be waited for")
            });
            if self.status.is_some() {
                self.deregister();
            }
        }
        self.status
    }

    /// `kill -9`, also of a stopped process, and waits for the end.
    pub fn kill(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        self.signal(Signal::KILL);
        let status = self.child.wait().expect("a child can be waited for");
        self.status = Some(status);
        self.deregister();
        status
    }

    /// A guard that still found the id later might kill a stranger that was given it.
    fn deregister(&self) {
        // Missing when the process died before it could register.
        let _ = fs::remove_file(&self.registration);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
