//! Identity of a process beyond its ID, by which another process finds out that it has ended. Only on Linux.

/// Identity of a process among all processes of all machines since their start: the boot of its machine, its PID namespace, its ID and
/// when it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessIdentity {
    boot: String,
    namespace: String,
    pid: i32,
    started: String,
}

impl ProcessIdentity {
    /// Parses what `to_string` returned.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ').map(str::to_owned);
        Some(Self {
            boot: words.next()?,
            namespace: words.next()?,
            pid: words.next()?.parse().ok()?,
            started: words.next()?,
        })
    }

    /// Returns the identity of this process; `None` where the system does not report it.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_this_process() -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
        let pid = rustix::process::getpid().as_raw_pid();
        Some(Self {
            boot: boot.trim().to_owned(),
            namespace: namespace.to_str()?.to_owned(),
            pid,
            started: stat(pid)?.1,
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of_this_process() -> Option<Self> {
        None
    }

    /// Returns whether it has ended; false if that is unknown, as for processes of other machines and containers.
    #[cfg(target_os = "linux")]
    pub(crate) fn has_ended(&self) -> bool {
        use rustix::io::Errno;
        use rustix::process::{Pid, test_kill_process};
        let Some(this) = Self::of_this_process() else {
            return false;
        };
        let Some(pid) = Pid::from_raw(self.pid) else {
            return false;
        };
        if (&this.boot, &this.namespace) != (&self.boot, &self.namespace) {
            return false;
        }
        match test_kill_process(pid) {
            Err(Errno::SRCH) => true,
            // A process whose parent has not waited for it yet has ended too. One of another user may be invisible.
            _ => stat(self.pid)
                .is_some_and(|(state, started)| state == "Z" || started != self.started),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn has_ended(&self) -> bool {
        false
    }
}

impl std::fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            boot,
            namespace,
            pid,
            started,
        } = self;
        write!(f, "{boot} {namespace} {pid} {started}")
    }
}

/// Returns the state of a process and when it was started, fields 3 and 22 of `/proc/PID/stat`
/// (<https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>).
#[cfg(target_os = "linux")]
fn stat(pid: i32) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may contain anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.to_owned();
    Some((state, fields.nth(18)?.to_owned()))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn recognizes_a_process_that_has_ended() {
        let this = ProcessIdentity::of_this_process().unwrap();
        assert_eq!(
            ProcessIdentity::parse(&this.to_string()),
            Some(this.clone())
        );
        assert!(!this.has_ended());
        // A process that was started at another time had the same ID.
        let earlier = ProcessIdentity {
            started: "1".to_owned(),
            ..this.clone()
        };
        assert!(earlier.has_ended());
        let elsewhere = ProcessIdentity {
            boot: "other".to_owned(),
            ..earlier
        };
        assert!(!elsewhere.has_ended());
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let child_identity = ProcessIdentity {
            pid,
            started: stat(pid).unwrap().1,
            ..this
        };
        assert!(!child_identity.has_ended());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(child_identity.has_ended());
    }
}
