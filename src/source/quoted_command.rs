//! Commands that the server quotes in its messages.

/// What stands before a command.
const BEFORE: &str = " to execute command ";

/// Returns a message with the name of each command in place of the whole command. MongoDB 6.0.27 quotes it, with the session and the
/// signature of the cluster time, when a privilege is missing.
pub(super) fn without_command(mut message: String) -> String {
    let mut from = 0;
    while let Some(found) = message[from..].find(BEFORE) {
        from += found + BEFORE.len();
        let rest = &message[from..];
        if let Some((name, _)) = rest
            .strip_prefix("{ ")
            .and_then(|rest| rest.split_once(':'))
            && name.chars().all(char::is_alphanumeric)
        {
            let name = name.to_owned();
            message.replace_range(from..from + document_length(rest), &name);
        }
    }
    message
}

/// Returns the length of the document at the beginning of `text`, in the server's notation; that of all of `text` if it does not end.
fn document_length(text: &str) -> usize {
    let mut depth = 0;
    let (mut in_string, mut is_escaped) = (false, false);
    for (index, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if in_string => is_escaped = true,
            '"' => in_string = !in_string,
            '{' if !in_string => depth += 1,
            '}' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_command_in_place_of_the_whole_command() {
        for (message, expected) in [
            (
                r#"not authorized on shop to execute command { aggregate: "o}", pipeline: [ { $match: { a: "\"}{" } } ], lsid: { id: UUID("72d0") }, $clusterTime: { signature: {} } }"#,
                "not authorized on shop to execute command aggregate",
            ),
            (
                "not authorized on a to execute command { find: 1 }; not authorized on b to execute command { count: 2 }.",
                "not authorized on a to execute command find; not authorized on b to execute command count.",
            ),
            (
                "not authorized on a to execute command { find: \"cut o",
                "not authorized on a to execute command find",
            ),
            (
                "no rights to execute command find",
                "no rights to execute command find",
            ),
            ("to execute command { \"", "to execute command { \""),
        ] {
            assert_eq!(without_command(message.to_owned()), expected);
        }
    }
}
