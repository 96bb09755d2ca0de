//! Numbers with their nouns, for messages.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_the_singular_for_one_only() {
        let texts = [0, 1, 2, 1_234_567].map(|count| counted(count, "event"));
        assert_eq!(
            texts,
            ["0 events", "1 event", "2 events", "1,234,567 events"]
        );
    }
}
