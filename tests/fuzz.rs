//! Inputs that fuzzing found, or began with, replayed through what must hold for any input.

use std::fs;
use std::path::Path;

use cswatch_fuzz as checks;

/// Replays the inputs of one fuzz target.
#[track_caller]
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/fuzz")
        .join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).expect("a folder of inputs") {
        let path = entry.expect("an input").path();
        // In the output of a test that fails.
        println!("{}", path.display());
        check(&fs::read(&path).expect("an input"));
        inputs += 1;
    }
    assert!(inputs > 0, "no inputs in {}", folder.display());
}

#[test]
fn extended_json_writer_holds_for_recorded_inputs() {
    replay("extjson", checks::extjson);
}

#[test]
fn position_file_loader_holds_for_recorded_inputs() {
    replay("resume_file", checks::resume_file);
}

#[test]
fn token_decoder_holds_for_recorded_inputs() {
    replay("token", checks::token);
}
