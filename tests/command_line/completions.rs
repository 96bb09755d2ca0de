//! Completions: the scripts, and what they complete in bash.

use std::fs;
use std::process::Command;

use testkit::guard;
use testkit::terminal::Terminal;

use super::help::{all_options, printed};

/// The shells that have completions.
const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

#[test]
fn completes_every_option_in_every_shell() {
    let help = printed(&["--help"]);
    for shell in SHELLS {
        let script = printed(&["completions", shell]).join("\n");
        for option in all_options(&help) {
            // The script for fish has an option without its hyphens.
            let known = [format!("--{option}"), format!("-l {option}")];
            assert!(
                known.iter().any(|known| script.contains(known)),
                "{shell}: {option}"
            );
        }
        // The scripts for the other two shells complete no values.
        if ["bash", "fish", "zsh"].contains(&shell) {
            assert!(script.contains("updateLookup"), "{shell}");
        }
    }
}

#[test]
fn prints_completions_that_bash_can_parse() {
    let folder = guard::temp_dir("completions-");
    let script = folder.path().join("cswatch.bash");
    let text = printed(&["completions", "bash"]).join("\n");
    fs::write(&script, text).expect("a file can be written");
    let read = Command::new("bash").arg("-n").arg(&script).status();
    assert!(read.expect("bash runs").success());
}

#[test]
fn completes_values_and_files_where_they_go_in_bash() {
    let folder = guard::temp_dir("completions-");
    let script = folder.path().join("cswatch.bash");
    fs::write(&script, printed(&["completions", "bash"]).join("\n")).expect("a file");
    fs::write(folder.path().join("afile"), "").expect("a file");
    let (terminal, written) = Terminal::open(200);
    let mut bash = Command::new("bash")
        .args(["--noprofile", "--norc", "-i"])
        .current_dir(folder.path())
        .env("PS1", "ready> ")
        .env("TERM", "dumb")
        .env("HISTFILE", "/dev/null")
        .env("INPUTRC", "/dev/null")
        .stdin(written.try_clone().expect("another handle"))
        .stdout(written.try_clone().expect("another handle"))
        .stderr(written)
        .spawn()
        .expect("bash starts");
    terminal.expect("ready> ");
    terminal.type_keys("source ./cswatch.bash\n");
    // Each line ends with a number of its own, because the terminal shows the earlier lines too. A line that was not completed has it
    // right after what was typed.
    for (number, (typed, expected)) in [
        ("--op insert,up", "--op insert,update"),
        ("check --op ins", "check --op insert"),
        ("--format rel", "--format relaxed"),
        ("--full-document upd", "--full-document updateLookup"),
        ("--on-history-lost ear", "--on-history-lost earliest"),
        ("--start ear", "--start earliest"),
        ("man hea", "man health "),
        ("completions fi", "completions fish "),
        ("--resume-file af", "--resume-file afile "),
        ("--output af", "--output afile "),
        ("--uri-file af", "--uri-file afile "),
        ("token af", "token afile "),
        ("--uri af", "--uri af"),
        ("--match af", "--match af"),
        ("--db af", "--db af"),
    ]
    .into_iter()
    .enumerate()
    {
        terminal.type_keys(&format!(": ; cswatch {typed}\t#{number}\x15"));
        terminal.expect(&format!("cswatch {expected}#{number}"));
    }
    terminal.type_keys("exit\n");
    bash.wait().expect("bash ends");
}

#[test]
fn completes_values_and_files_where_they_go_in_zsh_and_fish() {
    let zsh = printed(&["completions", "zsh"]);
    let fish = printed(&["completions", "fish"]);
    let in_zsh = |option: &str| {
        let start = format!("--{option}=[");
        let line = zsh.iter().find(|line| line.contains(&start));
        line.expect("the option").clone()
    };
    let in_fish = |option: &str| {
        let part = format!(" -l {option} ");
        let line = fish.iter().find(|line| line.contains(&part));
        line.expect("the option").clone()
    };
    for option in ["resume-file", "output", "uri-file"] {
        assert!(in_zsh(option).ends_with(":FILE:_files' \\"), "{option}");
        assert!(in_fish(option).ends_with(" -r -F"), "{option}");
    }
    for option in [
        "uri",
        "db",
        "coll",
        "match",
        "id",
        "pipeline",
        "count",
        "metrics-addr",
    ] {
        assert!(in_zsh(option).ends_with(":' \\"), "{}", in_zsh(option));
        assert!(in_fish(option).ends_with(" -r -f"), "{option}");
    }
    for (option, value) in [
        ("op", "reshardBlockingWrites"),
        ("start", "earliest"),
        ("until", "now"),
        ("retry-for", "forever"),
    ] {
        assert!(in_zsh(option).contains(value), "{option}");
    }
    assert!(in_zsh("op").contains(":_sequence compadd - insert update "));
    assert!(in_fish("op").contains(" -a \"(__fish_append , insert update "));
    let fish = fish.join("\n");
    assert!(fish.contains("using_subcommand man\" -f -a \"check token health"));
    // The option whose value is being completed must not hide that there is no command.
    assert!(fish.contains("set -e cmd[-1]\n"), "{fish}");
}
