//! Processes and temporary directories of this test run, and the shell that kills and removes them after the run has ended. Rust does not
//! drop statics, and after `kill -9` it drops nothing, so destructors alone cannot clean up.

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

/// The script of the guard; `$1` is the directory of the run.
///
/// `read` returns when the other end of the pipe is closed; the kernel closes it however the run ends. The guard renames `pids` first: from
/// then on no process can register, so the list is complete. It makes everything writable because a test may have left a read-only
/// directory, and retries the removal because a process that was just killed may still be creating a file.
const GUARD: &str = r#"
trap '' HUP INT TERM
read -r _
mv "$1/pids" "$1/ended"
for pid in "$1"/ended/*; do kill -9 "${pid##*/}"; done
chmod -R u+rwX "$1"
for attempt in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" && break; sleep 0.2; done
"#;

/// The script with which every process of the run starts; `$0` is the directory of registered process ids.
///
/// It registers its own id, which `exec` keeps, before it executes the program. So the program never runs without the guard knowing it,
/// and it does not start after the guard has taken the list. (`PR_SET_PDEATHSIG` would need `unsafe`, and it sends the signal when the
/// *thread* that started the process ends, and test threads end early.)
const REGISTER: &str = r#": >"$0/$$" && exec "$@""#;

/// The directory and the guard of this process; created on first use.
struct Run {
    /// Contains every temporary directory of the run, and `pids/` with an empty file for each running process.
    directory: PathBuf,
    /// The guard. Nothing is written to its stdin: the guard acts when the kernel closes this end.
    _guard: Child,
}

impl Run {
    fn current() -> &'static Run {
        static RUN: OnceLock<Run> = OnceLock::new();
        RUN.get_or_init(|| {
            let directory = tempfile::Builder::new()
                .prefix("cswatch-test-")
                .tempdir()
                .expect("a temporary directory for this run")
                .keep();
            fs::create_dir(directory.join("pids")).expect("a directory for process ids");
            let guard = Command::new("sh")
                .args(["-c", GUARD, "guard"])
                .arg(&directory)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                // Its own process group: neither Ctrl-C nor a kill of the whole test run reaches it.
                .process_group(0)
                .spawn()
                .expect("a shell to guard this run");
            Run {
                directory,
                _guard: guard,
            }
        })
    }
}

/// Creates an empty directory, which is removed on drop, at the latest with the run.
pub fn temp_dir(prefix: &str) -> TempDir {
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(&Run::current().directory)
        .expect("a temporary directory inside that of the run")
}

/// A child process that outlives neither this value nor the test run.
pub struct Process {
    child: Child,
    /// The file that registers it with the guard.
    registration: PathBuf,
    /// Set when it was reaped; from then on its id may belong to another process.
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `program`; `configure` adds arguments, environment and streams. stdin is empty by default.
    pub fn spawn(program: &Path, configure: impl FnOnce(&mut Command)) -> io::Result<Process> {
        let pids = Run::current().directory.join("pids");
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

    /// Sends a signal; does nothing if the process was reaped. SIGSTOP has taken effect when this returns: until then threads on other
    /// processors continue, and a frozen server may still reply.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_some() {
            return;
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a child can be signaled until it is reaped");
        if signal == Signal::STOP {
            // Fails if the process ended instead; a later wait for the process reports that.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED);
        }
    }

    /// Waits until it ends. Returns `None` if it still runs after `limit`.
    pub fn wait_for(&mut self, limit: Duration) -> Option<ExitStatus> {
        if self.status.is_none() {
            // std has no wait with a timeout.
            self.status = poll(limit, || {
                self.child.try_wait().expect("a child can be waited for")
            });
            if self.status.is_some() {
                self.deregister();
            }
        }
        self.status
    }

    /// Kills it with SIGKILL, even if it is stopped, and waits until it has ended.
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

    /// Removes the registration: otherwise the guard could kill another process that gets the same id later.
    fn deregister(&self) {
        // The file is missing if the process died before it could register.
        let _ = fs::remove_file(&self.registration);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A process that another one started and left in the background. Killed on drop, and by the guard.
pub struct Adopted {
    pid: Pid,
    /// The file that registers it with the guard.
    registration: PathBuf,
}

impl Adopted {
    /// Takes over the process with this id.
    ///
    /// # Panics
    /// If 0 is the id.
    #[track_caller]
    pub fn new(pid: u32) -> Adopted {
        let registration = Run::current().directory.join("pids").join(pid.to_string());
        fs::write(&registration, "").expect("a registration");
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        Adopted {
            pid: pid.expect("a process id"),
            registration,
        }
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = fs::remove_file(&self.registration);
    }
}
