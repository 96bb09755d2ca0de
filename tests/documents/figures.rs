//! The figures of README.md are those of BENCHMARKS.md, rounded.

use super::markdown::page;

/// Returns an integer with commas between its thousands.
fn with_commas(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    }
}

#[test]
fn repeats_the_measured_figures() {
    let measured = page("BENCHMARKS.md").table(
        "| program | events/s | range | × floor | CPU µs/event | × floor | peak RSS MiB | server CPU µs/event |",
    );
    let shown = page("README.md").table(
        "| 100,000 events from a backlog | events per second | CPU per event | peak memory |",
    );
    assert_eq!(shown.len(), 3);
    for row in shown {
        // What cswatch does by default.
        let program = match row[0].as_str() {
            "cswatch" => "cswatch, 2 catch-up streams",
            other => other,
        };
        let figures = measured.iter().find(|row| row[0] == program);
        let figures = figures.unwrap_or_else(|| panic!("{program} is not in BENCHMARKS.md"));
        let number = |column: usize| -> f64 { figures[column].parse().expect("a number") };
        let hundreds = (number(1) / 100.0).round() as u64;
        let expected = [
            with_commas(hundreds * 100),
            format!("{:.1} µs", number(4)),
            format!("{:.0} MiB", number(6)),
        ];
        assert_eq!(row[1..], expected, "{program}");
    }
}
