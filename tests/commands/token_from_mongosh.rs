//! `cswatch token` with a resume token as mongosh shows it.

use testkit::cswatch::Cswatch;

/// Returns what `cswatch token` prints for this argument.
#[track_caller]
fn shown(token: &str) -> Vec<String> {
    let finished = Cswatch::new().args(["token", token]).run().expect_code(0);
    assert_eq!(finished.stderr, "");
    finished.stdout
}

#[test]
fn decodes_a_token_as_mongosh_shows_it() {
    let data = "826B033D240000000C2B0229296E04";
    let expected = shown(data);
    for token in [
        format!("{{ _data: '{data}' }}"),
        format!(
            "{{\n  _id: {{\n    _data: '{data}'\n  }},\n  clusterTime: Timestamp({{ t: 1795374372, i: 12 }}),\n}}"
        ),
        format!("{{\"_data\":\"{data}\"}}"),
    ] {
        let lines = shown(&token);
        assert_eq!(lines[0], expected[0], "{token}");
    }
}
