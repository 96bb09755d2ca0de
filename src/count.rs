//! Numbers with their nouns and units, for messages.

/// Returns `count` with the noun in the number that fits it: `1 event`, `1,234 events`. `noun` is a singular that takes an s.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{} {noun}s", grouped(count)),
    }
}

/// Returns a number with commas between its thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns a number of bytes in the unit that fits it, with three digits: `512 bytes`, `48.0 KB`, `1.25 GB`.
pub(crate) fn sized(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    let mut size = bytes as f64 / 1000.0;
    if size < 1.0 {
        return counted(bytes, "byte");
    }
    let mut units = UNITS.into_iter().peekable();
    loop {
        let unit = units.next().unwrap_or("TB");
        let decimals = match size {
            ..10.0 => 2,
            ..100.0 => 1,
            _ => 0,
        };
        if size < 999.5 || units.peek().is_none() {
            return format!("{size:.decimals$} {unit}");
        }
        size /= 1000.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_the_unit_that_fits_a_size() {
        let texts = [
            0,
            1,
            999,
            1000,
            48_040,
            999_499,
            999_500,
            1_254_000_000,
            1_500_000_000_000_000,
        ]
        .map(sized);
        assert_eq!(
            texts,
            [
                "0 bytes",
                "1 byte",
                "999 bytes",
                "1.00 KB",
                "48.0 KB",
                "999 KB",
                "1.00 MB",
                "1.25 GB",
                "1500 TB"
            ]
        );
    }

    #[test]
    fn uses_the_singular_for_one_only() {
        let texts = [0, 1, 2, 1_234_567].map(|count| counted(count, "event"));
        assert_eq!(
            texts,
            ["0 events", "1 event", "2 events", "1,234,567 events"]
        );
    }
}
