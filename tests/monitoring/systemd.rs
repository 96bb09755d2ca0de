//! What systemd is told under `Type=notify`, on a socket as systemd makes it.

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use rustix::process::Signal;

use testkit::deadline::DEADLINE;
use testkit::scenario::Scenario;

/// The socket's side of systemd.
struct Supervisor(UnixDatagram);

impl Supervisor {
    /// Waits for a message with this line, and returns the messages up to it.
    #[track_caller]
    fn expect(&self, line: &str) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        let mut messages = Vec::new();
        let mut message = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {line} among {messages:?}");
            self.0.set_read_timeout(Some(left)).expect("a timeout");
            let Ok(length) = self.0.recv(&mut message) else {
                continue;
            };
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            let found = message.lines().any(|said| said == line);
            messages.push(message);
            if found {
                return messages;
            }
        }
    }
}

#[test]
fn systemd_hears_when_the_stream_is_open_that_it_lives_and_when_it_ends() {
    let scenario = Scenario::new("supervisor");
    let path = scenario.path("notify");
    let supervisor = Supervisor(UnixDatagram::bind(&path).expect("a socket"));
    let mut cswatch = scenario
        .cswatch(["--coll", "c", "--max-await", "100ms"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1000000")
        .spawn();
    let before = supervisor.expect("READY=1");
    assert!(
        before[..before.len() - 1]
            .iter()
            .all(|message| !message.contains("WATCHDOG=1"))
    );
    cswatch.wait_open();
    supervisor.expect("WATCHDOG=1");
    supervisor.expect("WATCHDOG=1");
    cswatch.signal(Signal::TERM);
    supervisor.expect("STOPPING=1");
    cswatch.wait().expect_code(0);
}

#[test]
fn without_a_watchdog_only_the_state_is_told() {
    let scenario = Scenario::new("supervisor_state");
    let path = scenario.path("notify");
    let supervisor = Supervisor(UnixDatagram::bind(&path).expect("a socket"));
    let cswatch = scenario
        .cswatch(["--coll", "c", "--max-await", "100ms"])
        .env("NOTIFY_SOCKET", &path)
        .spawn();
    supervisor.expect("READY=1");
    cswatch.signal(Signal::TERM);
    let messages = supervisor.expect("STOPPING=1");
    assert!(!messages.concat().contains("WATCHDOG"), "{messages:?}");
    cswatch.wait().expect_code(0);
}
