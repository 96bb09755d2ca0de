//! Tips for arguments that other tools take, or that cswatch takes in another form.

use crate::config::{self, OperationType};

/// Returns the tip for `argument`, which cswatch does not know. `arguments` are all of the command line.
pub(super) fn tip(argument: &str, arguments: &[String]) -> Option<String> {
    match argument.starts_with('-') {
        true => option(argument),
        false => word(argument, arguments),
    }
}

fn option(argument: &str) -> Option<String> {
    let name = argument.split('=').next().unwrap_or(argument);
    let name = name.trim_start_matches('-').to_lowercase();
    let name = name.replace(['-', '_'], "");
    let tip = match &*name {
        "host" | "hostname" | "port" => {
            "give host and port in the connection string: --uri mongodb://HOST:PORT"
        }
        "username" | "user" | "u" | "password" | "pass" | "p" => {
            "give user and password in the connection string, with --uri-file or CSWATCH_URI: mongodb://USER:PASSWORD@HOST:PORT"
        }
        "authenticationdatabase" => return Some(uri_option("authSource")),
        "authenticationmechanism" => return Some(uri_option("authMechanism")),
        "sslcafile" => return Some(uri_option("tlsCAFile")),
        "sslpemkeyfile" => return Some(uri_option("tlsCertificateKeyFile")),
        "database" => "use --db DB",
        "collection" | "table" => "use --coll COLL",
        "ns" | "namespace" | "namespaces" => {
            "use --db DB --coll COLL, or --ns-include 'DB.COLL' for a pattern"
        }
        "query" | "filter" | "where" | "find" => "use --match '{...}'",
        "aggregate" | "stages" => "use --pipeline '[...]'",
        "operation" | "operations" | "operationtype" | "ops" | "type" | "types" | "event"
        | "events" => "use --op TYPE,...",
        "relaxed" | "canonical" => {
            return Some(format!("use --format {name}"));
        }
        "json" | "jsonl" | "ndjson" => {
            "each event is printed as one line of JSON already; --format relaxed makes it easier to read"
        }
        "follow" | "f" | "tail" | "watch" => {
            "omit it: cswatch follows the stream until it is stopped, and --until now stops it"
        }
        "since" | "from" | "begin" | "startat" | "starttime" | "startatoperationtime" => {
            "use --start WHEN"
        }
        "resumetoken" | "token" | "resumeafter" | "startafter" | "after" => {
            "use --start-after TOKEN"
        }
        "to" | "end" | "stop" => "use --until WHEN",
        "file" | "out" | "outfile" | "outputfile" => "use --output FILE",
        "resume" | "checkpoint" | "state" | "statefile" => "use --resume-file FILE",
        "limit" | "max" | "n" | "head" => "use --count N",
        "fulldocument" => "use --full-document updateLookup",
        "fulldocumentbeforechange" => "use --full-document-before-change required",
        "showexpandedevents" => "use --expanded-events",
        "batchsize" => "use --batch-size N",
        "maxawaittimems" | "maxawaittime" => "use --max-await DURATION",
        "debug" | "trace" | "loglevel" => "use -v, or -vv for more",
        "silent" => "use -q",
        _ => return config::uri_option(&name).map(uri_option),
    };
    Some(tip.to_owned())
}

fn uri_option(name: &str) -> String {
    format!(
        "{name} is an option of the connection string: --uri \"mongodb://HOST:PORT/?{name}=VALUE\""
    )
}

fn word(word: &str, arguments: &[String]) -> Option<String> {
    let lists = [(&["--op"][..], "types"), (&["--coll", "-c"], "collections")];
    for (flags, nouns) in lists {
        if let Some((flag, values)) = values(flags, arguments)
            && values.len() > 1
            && values.contains(&word)
        {
            let values = values.join(",");
            return Some(format!("separate the {nouns} with commas: {flag} {values}"));
        }
    }
    Some(match word {
        "watch" | "tail" | "stream" | "follow" | "listen" | "run" | "start" => {
            "cswatch watches without a subcommand: cswatch --db DB --coll COLL".to_owned()
        }
        "version" => "use --version".to_owned(),
        _ if OperationType::ALL.iter().any(|kind| kind.name == word) => {
            format!("use --op {word}")
        }
        _ if word.starts_with('{') => {
            let is_quiet = arguments.iter().any(|argument| argument == "-q");
            let quiet = if is_quiet { "; -q is --quiet" } else { "" };
            format!("give a filter as --match '{{...}}'{quiet}")
        }
        _ if word.starts_with('[') => "give stages as --pipeline '[...]'".to_owned(),
        _ if is_address(word) => format!("give the server as --uri mongodb://{word}"),
        _ if is_file(word) => {
            "name files with --output FILE, --resume-file FILE or --pipeline @FILE".to_owned()
        }
        _ => {
            let (db, coll) = word.split_once('.')?;
            let is_name = |name: &str| {
                let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
                !name.is_empty() && name.chars().all(is_part)
            };
            (is_name(db) && is_name(coll)).then(|| format!("use --db {db} --coll {coll}"))?
        }
    })
}

/// Returns the first of `flags` that was typed, and the values after it.
fn values<'a>(flags: &[&str], arguments: &'a [String]) -> Option<(&'a str, Vec<&'a str>)> {
    let is_flag = |argument: &str| {
        let name = argument.split('=').next().unwrap_or(argument);
        flags.contains(&name)
    };
    let at = arguments.iter().position(|argument| is_flag(argument))?;
    let (flag, first) = match arguments[at].split_once('=') {
        Some((flag, value)) => (flag, Some(value)),
        None => (&*arguments[at], None),
    };
    let rest = arguments[at + 1..].iter().map(String::as_str);
    let rest = rest.take_while(|argument| !argument.starts_with('-'));
    let values = first.into_iter().chain(rest);
    Some((
        flag,
        values.map(|value| value.trim_end_matches(',')).collect(),
    ))
}

/// Returns whether `word` is a host with its port.
fn is_address(word: &str) -> bool {
    word.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(['/', '@', '{']) && port.parse::<u16>().is_ok()
    })
}

/// Returns whether `word` looks like the name of a file.
fn is_file(word: &str) -> bool {
    const ENDINGS: [&str; 5] = [".json", ".jsonl", ".ndjson", ".log", ".txt"];
    word.contains('/') || ENDINGS.iter().any(|ending| word.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_connection_string_for_arguments_of_other_tools() {
        for (argument, part) in [
            ("--host", "--uri mongodb://HOST:PORT"),
            ("--password", "mongodb://USER:PASSWORD@HOST"),
            ("-u", "mongodb://USER:PASSWORD@HOST"),
            ("--authenticationDatabase", "?authSource=VALUE"),
            ("--tls", "?tls=VALUE"),
            ("--replicaset", "?replicaSet=VALUE"),
        ] {
            let tip = tip(argument, &[]);
            assert!(tip.is_some_and(|tip| tip.contains(part)), "{argument}");
        }
        assert_eq!(tip("--nonsense", &[]), None);
        assert_eq!(tip("host", &[]), None);
    }
}
