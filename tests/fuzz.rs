//! The recorded inputs of the fuzz targets, checked for the properties that hold for any input.

use std::fs;
use std::path::Path;

use cswatch_fuzz as checks;

/// Checks the recorded inputs of a fuzz target.
#[track_caller]
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/fuzz")
        .join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).expect("a directory of inputs") {
        let path = entry.expect("an input").path();
        // Shown if the test fails.
        println!("{}", path.display());
        check(&fs::read(&path).expect("an input"));
        inputs += 1;
    }
    assert!(inputs > 0, "no inputs in {}", folder.display());
}

#[test]
fn keeps_the_properties_of_the_extended_json_writer() {
    replay("extjson", checks::extjson);
}

#[test]
fn keeps_the_properties_of_replies() {
    replay("replies", checks::replies);
}

#[test]
fn keeps_the_properties_of_the_resume_file_loader() {
    replay("resume_file", checks::resume_file);
}

#[test]
fn keeps_the_properties_of_the_parser_of_values() {
    replay("shell_syntax", checks::shell_syntax);
}

#[test]
fn keeps_the_properties_of_the_token_decoder() {
    replay("token", checks::token);
}
