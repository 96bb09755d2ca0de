//! Usage errors of clap with what was typed escaped: clap repeats values as they are.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};

use crate::text;

/// Escapes the values that `error` repeats, so that they neither control the terminal nor look like lines of their own.
pub(super) fn escaped(mut error: clap::Error) -> clap::Error {
    let context: Vec<(ContextKind, ContextValue)> = error
        .context()
        .map(|(kind, value)| (kind, value.clone()))
        .collect();
    let mut typed = Vec::new();
    for (kind, value) in &context {
        let value = match value {
            ContextValue::String(value) => {
                typed.push(value.as_str());
                ContextValue::String(text::message(value))
            }
            ContextValue::Strings(values) => {
                typed.extend(values.iter().map(String::as_str));
                ContextValue::Strings(values.iter().map(|value| text::message(value)).collect())
            }
            _ => continue,
        };
        error.insert(*kind, value);
    }
    // Tips repeat them too, between the color codes of clap.
    for (kind, value) in &context {
        let tips = match value {
            ContextValue::StyledStr(tip) => ContextValue::StyledStr(without(tip, &typed)),
            ContextValue::StyledStrs(tips) => {
                ContextValue::StyledStrs(tips.iter().map(|tip| without(tip, &typed)).collect())
            }
            _ => continue,
        };
        error.insert(*kind, tips);
    }
    error
}

/// Returns `tip` with each of the `typed` values in it escaped.
fn without(tip: &StyledStr, typed: &[&str]) -> StyledStr {
    let mut tip = tip.ansi().to_string();
    for value in typed {
        let shown = text::message(value);
        if shown != *value {
            tip = tip.replace(value, &shown);
        }
    }
    tip.into()
}
