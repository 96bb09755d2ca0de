//! A member that lags behind the checkpoint: it is waited for, and never taken for another deployment.

use std::path::PathBuf;

use testkit::cswatch::Cswatch;
use testkit::events::{as_start, brief, briefs, insert, inserts, time, token};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::running::Running;
use testkit::scenario::Scenario;

/// Seconds that the member lags: more than the clocks of members may differ.
const LAG: u32 = 120;

fn watch(scenario: &Scenario<'_>, preference: &str) -> Cswatch {
    let uri = format!("{}&readPreference={preference}", scenario.set().uri());
    Cswatch::new()
        .args(["--uri", &uri, "--db", scenario.db().name(), "--coll", "c"])
        .args(["--max-await", "50ms"])
}

#[test]
fn waits_for_a_member_that_lags_behind_the_start_and_skips_nothing() {
    let set = ReplicaSet::start(Options {
        nodes: 3,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "lagging");
    let coll = scenario.coll("c");
    insert(&coll, [1]);
    let secondaries = set.secondaries();
    let (lagging, other) = (secondaries[0], secondaries[1]);
    set.set_replication(lagging, false);
    set.advance_clock(LAG);
    insert(&coll, [2, 3]);
    let save = |name: &str, options: &[&str]| -> (PathBuf, Vec<String>) {
        let file = scenario.path(name);
        let watch = watch(&scenario, "primary").args(options);
        let run = watch
            .args(["--resume-file"])
            .args([&file])
            .run()
            .expect_code(0);
        (file, run.stdout)
    };
    let (event, printed) = save("event.json", &["--start", "earliest", "--count", "3"]);
    assert_eq!(briefs(&printed), inserts(1..=3));
    let (mark, _) = save("mark.json", &["--until", "now"]);
    // From now on, the lagging member is the only secondary.
    other.kill();

    let from = |options: &[&str], file: Option<&PathBuf>| -> Running {
        let watch = watch(&scenario, "secondary").args(options);
        match file {
            Some(file) => watch.args(["--resume-file"]).args([file]).spawn(),
            None => watch.args(["--no-resume"]).spawn(),
        }
    };
    let after = token(&printed[2]);
    let at = as_start(time(&printed[2]));
    let mut running = [
        (from(&[], Some(&event)), 4..=5),
        (from(&[], Some(&mark)), 4..=5),
        (from(&["--start-after", &after], None), 4..=5),
        (from(&["--start", &at], None), 3..=5),
    ];
    for (running, _) in &mut running {
        running.wait_open();
    }
    let check = Cswatch::new()
        .args([
            "check",
            "--uri",
            &format!("{}&readPreference=secondary", set.uri()),
        ])
        .args(["--db", scenario.db().name(), "--coll", "c", "--resume-file"])
        .args([&event])
        .run()
        .expect_code(0);
    assert!(
        check
            .stdout
            .iter()
            .any(|line| line.contains("can be resumed"))
    );
    set.set_replication(lagging, true);
    insert(&coll, [4, 5]);
    for (mut running, expected) in running {
        let lines = running.lines_until(|line| brief(line) == "insert 5");
        assert_eq!(briefs(&lines), inserts(expected));
        running.kill();
    }
}
