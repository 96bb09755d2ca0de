//! Namespaces: patterns over databases and collections, renames onto watched collections, names with commas and spaces.

use mongodb::bson::doc;

use testkit::cswatch::Cswatch;
use testkit::events::insert;
use testkit::reference::Reference;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::summaries;

fn rename(scenario: &Scenario, from: &str, to: &str) {
    let db = scenario.db().name();
    scenario.set().admin(doc! {
        "renameCollection": from,
        "to": format!("{db}.{to}"),
        "dropTarget": true,
    });
}

#[test]
fn prints_renames_onto_and_from_each_of_several_collections() {
    let scenario = Scenario::new("renamed_onto");
    let other = Scenario::new("renamed_from");
    let db = scenario.db().name();
    insert(&scenario.coll("a"), [1]);
    insert(&scenario.coll("x"), [2]);
    insert(&other.coll("far"), [3]);
    let reference = Reference::open(scenario.db().watch());
    rename(&scenario, &format!("{db}.x"), "a");
    rename(&scenario, &format!("{db}.a"), "y");
    rename(&scenario, &format!("{db}.y"), "z");
    rename(&scenario, &format!("{}.far", other.db().name()), "b");
    let out = doc! { "$out": "a" };
    block_on(scenario.coll("z").aggregate([out])).expect("$out");
    let finished = scenario
        .catch_up(&reference, ["-c", "a", "-c", "b"])
        .run()
        .expect_code(0);
    let mut seen = summaries(&finished.stdout);
    // The temporary collections of the server.
    for summary in &mut seen {
        if let [kind, from, to] = summary.split(' ').collect::<Vec<_>>()[..]
            && from.contains("tmp")
        {
            *summary = format!("{kind} tmp {to}");
        }
    }
    assert_eq!(
        seen,
        ["rename x a", "rename a y", "rename tmp b", "rename tmp a"]
    );
    let finished = scenario
        .catch_up(&reference, ["-c", "a,b", "--op", "insert"])
        .run()
        .expect_code(0);
    assert_eq!(finished.stdout, [""; 0]);
}

#[test]
fn finds_each_of_a_thousand_collections() {
    let scenario = Scenario::new("thousand_names");
    let reference = Reference::open(scenario.db().watch());
    let written = [0, 15, 16, 499, 500, 998, 999, 1000];
    for number in written {
        insert(&scenario.coll(&format!("c{number}")), [number]);
    }
    let names: Vec<String> = (0..1000).map(|number| format!("c{number}")).collect();
    let expected: Vec<String> = written[..7]
        .iter()
        .map(|n| format!("insert c{n}"))
        .collect();
    let finished = scenario
        .catch_up(&reference, ["-c", &names.join(", ")])
        .run()
        .expect_code(0);
    assert_eq!(summaries(&finished.stdout), expected);
    let patterns = names.iter().map(|name| format!("--ns-include=*.{name}"));
    let finished = scenario.catch_up(&reference, patterns).run().expect_code(0);
    assert_eq!(summaries(&finished.stdout), expected);
}

#[test]
fn selects_the_namespaces_of_a_database_by_patterns() {
    let scenario = Scenario::new("patterns");
    let db = scenario.db().name().to_owned();
    let reference = Reference::open(scenario.db().watch());
    let names = ["orders", "tmp_1", "tmp", "a.b", "a\nb", "a*b", "axb", "x,y"];
    for name in names {
        insert(&scenario.coll(name), [1]);
    }
    rename(&scenario, &format!("{db}.tmp_1"), "bills");
    rename(&scenario, &format!("{db}.bills"), "tmp_2");
    let all = |selected: &[&str]| -> Vec<String> {
        selected
            .iter()
            .map(|name| format!("insert {name}"))
            .collect()
    };
    for (arguments, inserts, renames) in [
        (&["--ns-include", "D.*"][..], &names[..], 2),
        (&["--ns-include", "D.tmp_*"], &["tmp_1"], 2),
        (
            &["--ns-exclude", "D.tmp*"],
            &["orders", "a.b", "a\nb", "a*b", "axb", "x,y"],
            2,
        ),
        (
            &["--ns-include", "D.*", "--ns-exclude", "*.a*"],
            &["orders", "tmp_1", "tmp", "x,y"],
            2,
        ),
        (
            &["--ns-include", "D.a*b"],
            &["a.b", "a\nb", "a*b", "axb"],
            0,
        ),
        (&["--ns-include", r"D.a\*b"], &["a*b"], 0),
        (
            &["--ns-include", "D.x,y", "--ns-include", "*.a"],
            &["x,y"],
            0,
        ),
        (&["--ns-include", "D.bills"], &[], 2),
        (
            &[
                "--ns-include",
                "D.*",
                "--ns-exclude",
                "D.bills",
                "--ns-exclude",
                "D.t*",
            ],
            &["orders", "a.b", "a\nb", "a*b", "axb", "x,y"],
            0,
        ),
        (&["--ns-include", "D.*", "--op", "rename"], &[], 2),
    ] {
        let arguments = arguments
            .iter()
            .map(|word| word.replace("D.", &format!("{db}.")));
        let arguments: Vec<String> = arguments.collect();
        let finished = scenario
            .catch_up(&reference, &arguments)
            .run()
            .expect_code(0);
        let mut expected = all(inserts);
        expected.extend(
            ["rename tmp_1 bills", "rename bills tmp_2"][..renames]
                .iter()
                .map(ToString::to_string),
        );
        assert_eq!(summaries(&finished.stdout), expected, "{arguments:?}");
    }
}

#[test]
fn selects_namespaces_of_several_databases() {
    let scenario = Scenario::new("several_dbs");
    let other = Scenario::new("several_others");
    let reference = Reference::open(scenario.set().client().watch());
    let names = [&scenario, &other].map(|scenario| scenario.db().name().to_owned());
    insert(&scenario.coll("orders"), [1]);
    insert(&scenario.coll("bills"), [2]);
    insert(&other.coll("orders"), [3]);
    insert(&other.coll("users"), [4]);
    block_on(other.db().drop()).expect("a drop");
    let watch = |patterns: &[String]| {
        let finished = Cswatch::new()
            .args([
                "--uri",
                &scenario.set().uri(),
                "--no-resume",
                "--until",
                "now",
            ])
            .args(["--max-await", "50ms"])
            .args(reference.start())
            .args(patterns)
            .run()
            .expect_code(0);
        let mut seen = summaries(&finished.stdout);
        // The server chooses the order in which it drops the collections of a database.
        seen.sort();
        seen
    };
    let include = |pattern: String| format!("--ns-include={pattern}");
    let [one, two] = &names;
    let seen = watch(&[
        include(format!("{one}.orders")),
        include(format!("{two}.u*")),
    ]);
    assert_eq!(
        seen,
        [
            "drop users",
            "dropDatabase",
            "insert orders",
            "insert users"
        ]
    );
    let seen = watch(&[
        include(format!("{two}.*")),
        format!("--ns-exclude={two}.orders"),
    ]);
    assert_eq!(seen, ["drop users", "dropDatabase", "insert users"]);
    let seen = watch(&[include(format!("{two}.*")), format!("--ns-exclude={two}.*")]);
    assert_eq!(seen, [""; 0]);
    let finished = Cswatch::new()
        .args([
            "--uri",
            &scenario.set().uri(),
            "--no-resume",
            "--until",
            "now",
        ])
        .args([
            include(format!("{one}.*")),
            format!("--ns-exclude={one}.tmp_*"),
        ])
        .run()
        .expect_code(0);
    let message = format!("watching {one}.* except {one}.tmp_*");
    assert!(finished.stderr.contains(&message), "{}", finished.stderr);
}

#[test]
fn prints_the_invalidate_of_a_database_whose_namespaces_are_selected() {
    let scenario = Scenario::new("selected_invalidate");
    let db = scenario.db().name().to_owned();
    let reference = Reference::open(scenario.db().watch());
    insert(&scenario.coll("a"), [1]);
    block_on(scenario.db().drop()).expect("a drop");
    let finished = scenario
        .cswatch(["--no-resume"])
        .args(reference.start())
        .args([format!("--ns-include={db}.a")])
        .run()
        .expect_code(4);
    assert_eq!(
        summaries(&finished.stdout),
        ["insert a", "drop a", "dropDatabase", "invalidate"]
    );
}

#[test]
fn treats_spaces_alike_in_every_list_and_takes_escaped_commas_and_spaces_literally() {
    let scenario = Scenario::new("lists");
    let reference = Reference::open(scenario.db().watch());
    for name in ["a", "b", "a,b", " b"] {
        insert(&scenario.coll(name), [1]);
    }
    for (list, expected) in [
        ("a, b", &["insert a", "insert b"][..]),
        (r"a\,b", &["insert a,b"]),
        (r" a\,b , \ b", &["insert a,b", "insert  b"]),
    ] {
        let arguments = ["--op", "insert, delete"];
        let finished = scenario
            .catch_up(&reference, ["-c", list])
            .args(arguments)
            .run()
            .expect_code(0);
        assert_eq!(summaries(&finished.stdout), expected, "{list}");
        let finished = scenario
            .catch_up(&reference, arguments)
            .env("CSWATCH_COLL", list)
            .run()
            .expect_code(0);
        assert_eq!(summaries(&finished.stdout), expected, "CSWATCH_COLL={list}");
    }
}

#[test]
fn resumes_with_other_patterns_from_the_same_checkpoint() {
    let scenario = Scenario::new("changed_patterns");
    let db = scenario.db().name().to_owned();
    let run = |pattern: &str| {
        let finished = scenario
            .cswatch(["--until", "now", "--max-await", "50ms"])
            .args([format!("--ns-include={db}.{pattern}")])
            .run()
            .expect_code(0);
        summaries(&finished.stdout)
    };
    assert_eq!(run("a"), [""; 0]);
    insert(&scenario.coll("b"), [1]);
    assert_eq!(run("*"), ["insert b"]);
    assert_eq!(run("b*"), [""; 0]);
}
