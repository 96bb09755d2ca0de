//! A collection whose events are delivered into a stream, and the comparison of the stream with the file of a watch that nothing disturbs.

use std::ffi::OsStr;
use std::fs;

use mongodb::Collection;
use mongodb::bson::Document;

use testkit::cswatch::Cswatch;
use testkit::deadline::BACKLOG_DEADLINE;
use testkit::events::as_start;
use testkit::nats::{NatsClient, Stored};
use testkit::replica_set::ReplicaSet;
use testkit::scenario::Scenario;

/// The stream, by default.
pub(super) const STREAM: &str = "cswatch";

/// The bucket of the stream.
pub(super) const BUCKET: &str = "cswatch_cswatch";

/// The events of collection `c` of a scenario since its creation.
pub(super) struct Delivery<'a> {
    scenario: Scenario<'a>,
    start: String,
}

impl Delivery<'static> {
    /// Delivers from the replica set that tests share.
    pub(super) fn new(name: &str) -> Delivery<'static> {
        Delivery::of(Scenario::new(name))
    }
}

impl<'a> Delivery<'a> {
    /// Delivers from this replica set.
    pub(super) fn on(set: &'a ReplicaSet, name: &str) -> Delivery<'a> {
        Delivery::of(Scenario::on(set, name))
    }

    fn of(scenario: Scenario<'a>) -> Delivery<'a> {
        let start = as_start(scenario.set().operation_time());
        Delivery { scenario, start }
    }

    /// Returns the scenario.
    pub(super) fn scenario(&self) -> &Scenario<'a> {
        &self.scenario
    }

    /// Returns the collection.
    pub(super) fn coll(&self) -> Collection<Document> {
        self.scenario.coll("c")
    }

    /// Returns a watch that delivers into the stream of the server with this URL.
    pub(super) fn watch(&self, url: &str) -> Cswatch {
        self.scenario
            .cswatch(["--coll", "c", "--nats", url, "--start", &self.start])
            .args(["--max-await", "500ms", "--save-interval", "200ms"])
    }

    /// Returns `cswatch check` of the same delivery.
    pub(super) fn check(&self, url: &str) -> Cswatch {
        Cswatch::new()
            .state_home(&self.scenario.state_home())
            .args(["check", "--uri", &self.scenario.set().uri()])
            .args(["--db", self.scenario.db().name(), "--coll", "c"])
            .args(["--nats", url])
    }

    /// Delivers the events up to the current time.
    #[track_caller]
    pub(super) fn deliver(&self, url: &str) {
        let watch = self.watch(url).args(["--until", "now"]);
        watch.deadline(BACKLOG_DEADLINE).run().expect_code(0);
    }

    /// Delivers the events up to the current time, and fails unless all of them are in the stream then.
    #[track_caller]
    pub(super) fn finish(&self, url: &str, client: &NatsClient) {
        self.deliver(url);
        self.expect_complete(client);
    }

    /// Returns the lines that a watch writes to a file if nothing disturbs it.
    #[track_caller]
    pub(super) fn undisturbed(&self) -> Vec<String> {
        let [file, resume_file] =
            ["undisturbed.jsonl", "undisturbed.json"].map(|name| self.scenario.path(name));
        for file in [&file, &resume_file] {
            let _ = fs::remove_file(file);
        }
        self.scenario
            .cswatch(["--coll", "c", "--start", &self.start])
            .args(["--until", "now", "--max-await", "50ms"])
            .args([OsStr::new("--output"), file.as_os_str()])
            .args([OsStr::new("--resume-file"), resume_file.as_os_str()])
            .deadline(BACKLOG_DEADLINE)
            .run()
            .expect_code(0);
        let text = fs::read_to_string(&file).expect("an output file");
        text.lines().map(str::to_owned).collect()
    }

    /// Fails unless the stream has exactly the lines of the undisturbed file, in their order.
    #[track_caller]
    pub(super) fn expect_complete(&self, client: &NatsClient) {
        self.expect_lines(&lines(&client.messages(STREAM)));
    }

    /// Fails unless these are exactly the lines of the undisturbed file, in their order.
    #[track_caller]
    pub(super) fn expect_lines(&self, lines: &[String]) {
        let expected = self.undisturbed();
        let same = lines.iter().zip(&expected).take_while(|(a, b)| a == b);
        let same = same.count();
        assert!(
            same == lines.len() && same == expected.len(),
            "{} lines instead of {}; line {} is {:?} instead of {:?}",
            lines.len(),
            expected.len(),
            same + 1,
            lines.get(same),
            expected.get(same)
        );
        assert!(!expected.is_empty(), "no events");
    }
}

/// Returns the payloads of messages.
pub(super) fn lines(messages: &[Stored]) -> Vec<String> {
    messages
        .iter()
        .map(|message| message.line.clone())
        .collect()
}
