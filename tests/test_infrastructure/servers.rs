//! The servers that cswatch is tested on, and the tests that one of them cannot run.

use std::collections::HashSet;
use std::env;
use std::io;

use testkit::deadline::DEADLINE;
use testkit::guard::Process;
use testkit::mongod_binary::tested::Tested;

/// Read by `.ci/run`, which leaves these tests out.
const NOT_ON_7: &str = include_str!("../not_on_7.0.28.txt");

#[test]
fn leaves_out_only_tests_that_exist_each_with_a_reason() {
    let (stdout, writer) = io::pipe().expect("a pipe");
    let test_binary = env::current_exe().expect("the test binary");
    let mut list = Process::spawn(&test_binary, |command| {
        command.args(["--list", "--format", "terse"]).stdout(writer);
    })
    .expect("the test binary starts again");
    let listed = io::read_to_string(stdout).expect("text");
    assert!(list.wait_for(DEADLINE).expect("it exits").success());
    let tests: HashSet<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    let mut left_out = HashSet::new();
    for line in NOT_ON_7.lines().filter(|line| !line.starts_with('#')) {
        let (name, reason) = line.split_once("  ").expect("a name and a reason");
        assert!(tests.contains(name), "no test {name}");
        assert!(left_out.insert(name), "{name} is listed twice");
        assert!(!reason.is_empty(), "{name}");
    }
    assert!(!left_out.is_empty());
}

#[test]
fn names_every_tested_server_in_the_documents_and_the_ci_script() {
    let readme = include_str!("../../README.md");
    let guarantees = include_str!("../../docs/guarantees.md");
    let script = include_str!("../../.ci/test-7.0");
    let versions: Vec<&str> = Tested::versions().collect();
    let [others @ .., last] = &versions[..] else {
        panic!("no server is tested");
    };
    let list = format!("{} and {last}", others.join(", "));
    for text in [readme, guarantees] {
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(words.join(" ").contains(&list), "{list}");
    }
    assert!(script.contains(&format!("version={last}\n")), "{last}");
}
