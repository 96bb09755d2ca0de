//! Notifications to systemd for `Type=notify`, received on a socket like that of systemd.

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use rustix::process::Signal;

use testkit::deadline::DEADLINE;
use testkit::events::insert;
use testkit::proxy::{Mode, Proxy};
use testkit::scenario::Scenario;

/// The receiving side of the notification socket.
struct Supervisor(UnixDatagram);

impl Supervisor {
    /// Waits for a message with this line, and returns all messages up to it.
    #[track_caller]
    fn expect(&self, line: &str) -> Vec<String> {
        self.expect_line(line, |found| found == line)
    }

    /// Waits for a message with a line that starts with `start`, and returns all messages up to it.
    #[track_caller]
    fn expect_start(&self, start: &str) -> Vec<String> {
        self.expect_line(start, |found| found.starts_with(start))
    }

    #[track_caller]
    fn expect_line(&self, shown: &str, fits: impl Fn(&str) -> bool) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        let mut messages = Vec::new();
        let mut message = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {shown} among {messages:?}");
            self.0.set_read_timeout(Some(left)).expect("a timeout");
            let Ok(length) = self.0.recv(&mut message) else {
                continue;
            };
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            let found = message.lines().any(&fits);
            messages.push(message);
            if found {
                return messages;
            }
        }
    }
}

#[test]
fn sends_ready_watchdog_and_stopping_to_systemd() {
    let scenario = Scenario::new("supervisor");
    let path = scenario.path("notify");
    let supervisor = Supervisor(UnixDatagram::bind(&path).expect("a socket"));
    let proxy = Proxy::start(scenario.set().primary());
    proxy.set_mode(Mode::Refuse);
    let uri = format!("{}&serverSelectionTimeoutMS=200", proxy.uri());
    let mut cswatch = scenario
        .watch_at(&uri, &["--wait", "--max-await", "100ms"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1000000")
        .spawn();
    // Without a server it is alive but not ready.
    let mut messages = supervisor.expect("WATCHDOG=1");
    messages.extend(supervisor.expect("WATCHDOG=1"));
    assert!(!messages.concat().contains("READY"), "{messages:?}");
    cswatch.expect_stderr("warning: no connection yet, retrying: ");
    proxy.set_mode(Mode::Pass);
    supervisor.expect("READY=1");
    cswatch.wait_open();
    let mut messages = supervisor.expect("WATCHDOG=1");
    messages.extend(supervisor.expect("WATCHDOG=1"));
    cswatch.signal(Signal::TERM);
    messages.extend(supervisor.expect("STOPPING=1"));
    // READY is sent only once.
    assert!(!messages.concat().contains("READY"), "{messages:?}");
    cswatch.wait().expect_code(0);
}

#[test]
fn sends_no_watchdog_notifications_without_a_watchdog() {
    let scenario = Scenario::new("supervisor_state");
    let path = scenario.path("notify");
    let supervisor = Supervisor(UnixDatagram::bind(&path).expect("a socket"));
    let cswatch = scenario
        .watch(&["--max-await", "100ms"])
        .env("NOTIFY_SOCKET", &path)
        .spawn();
    let mut messages = supervisor.expect("READY=1");
    // Each of these is sent after the state was checked again.
    for id in 1..=5 {
        insert(&scenario.coll("c"), [id]);
        let events = if id == 1 { "event" } else { "events" };
        messages.extend(supervisor.expect_start(&format!("STATUS={id} {events}, ")));
    }
    cswatch.signal(Signal::TERM);
    messages.extend(supervisor.expect("STOPPING=1"));
    assert!(!messages.concat().contains("WATCHDOG"), "{messages:?}");
    cswatch.wait().expect_code(0);
}
