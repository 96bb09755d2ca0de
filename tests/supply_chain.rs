//! What builds and publishes a release: each action is a known commit, and no secret is near code that is compiled.

use std::fs;
use std::path::PathBuf;

use yaml_rust2::{Yaml, YamlLoader};

/// Returns the name, the text and the parsed content of each workflow.
fn workflows() -> Vec<(String, String, Yaml)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let files = fs::read_dir(folder).expect("a folder of workflows");
    let workflows: Vec<_> = files
        .map(|file| {
            let path = file.expect("a workflow").path();
            let text = fs::read_to_string(&path).expect("text");
            let yaml = YamlLoader::load_from_str(&text).expect("YAML").remove(0);
            (path.display().to_string(), text, yaml)
        })
        .collect();
    assert!(workflows.len() >= 2, "{}", workflows.len());
    workflows
}

/// Returns the jobs of a workflow, and the steps of each.
fn jobs(workflow: &Yaml) -> Vec<(&Yaml, &[Yaml])> {
    let jobs = workflow["jobs"].as_hash().expect("jobs");
    jobs.values()
        .map(|job| (job, job["steps"].as_vec().expect("steps").as_slice()))
        .collect()
}

#[test]
fn pins_every_action_by_its_commit_with_its_version_in_a_comment() {
    for (name, text, workflow) in workflows() {
        let steps = jobs(&workflow).into_iter().flat_map(|(_, steps)| steps);
        let used: Vec<&str> = steps.filter_map(|step| step["uses"].as_str()).collect();
        assert!(!used.is_empty(), "{name}");
        for action in used {
            let commit = action.split_once('@').map_or("", |(_, commit)| commit);
            let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            assert!(is_commit, "{name}: {action}");
            assert!(text.contains(&format!("{action} # v")), "{name}: {action}");
        }
    }
}

#[test]
fn grants_permissions_by_name_only() {
    for (name, text, workflow) in workflows() {
        assert!(workflow["permissions"].as_hash().is_some(), "{name}");
        assert!(!text.contains("write-all"), "{name}");
    }
}

#[test]
fn keeps_the_registry_token_away_from_code_that_is_compiled() {
    const TOKEN: &str = "secrets.CARGO_REGISTRY_TOKEN";
    let mut publishing = 0;
    for (name, text, workflow) in workflows() {
        let mut found = 0;
        for (_, steps) in jobs(&workflow) {
            let has_token = |step: &&Yaml| {
                let token = step["env"]["CARGO_REGISTRY_TOKEN"].as_str();
                token.is_some_and(|token| token.contains(TOKEN))
            };
            let Some(step) = steps.iter().find(has_token) else {
                continue;
            };
            found += 1;
            let run = step["run"].as_str().expect("a command");
            assert!(
                run.contains("cargo publish --locked --no-verify"),
                "{name}: {run}"
            );
            // Not even in an earlier step, which could replace cargo.
            let commands = steps.iter().filter_map(|step| step["run"].as_str());
            assert_eq!(commands.count(), 1, "{name}");
        }
        assert_eq!(text.matches(TOKEN).count(), found, "{name}");
        publishing += found;
    }
    assert_eq!(publishing, 1);
}

#[test]
fn limits_what_the_service_may_use_and_leave_behind() {
    let unit = include_str!("../packaging/cswatch.service");
    for line in [
        "LimitCORE=0",
        "PrivateUsers=yes",
        "LimitNOFILE=1024",
        "MemoryMax=2G",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}
