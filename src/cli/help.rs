//! What the help and the manual pages have besides the arguments: examples, exit codes, environment variables and files.

use crate::commands::man::{Entry, Page};

/// The number of examples in `-h`.
const SHORT_EXAMPLES: usize = 3;

const ENVIRONMENT: &[Entry] = &[
    (
        "CSWATCH_*",
        "Every option of a watch: CSWATCH_ and its name in capitals, as in CSWATCH_RESUME_FILE. An option without a value is set by 1, \
         true or yes. The command line overrides the environment.",
    ),
    (
        "XDG_STATE_HOME, HOME",
        "Where the default resume file is; see FILES.",
    ),
    (
        "NO_COLOR",
        "Not empty: no color, unless --color always is given.",
    ),
    (
        "TZ",
        "The time zone of local times in messages and in the output of cswatch token.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "Set by systemd for services with Type=notify and with WatchdogSec.",
    ),
];

const FILES: &[Entry] = &[
    (
        "$XDG_STATE_HOME/cswatch/DB.COLL-HASH.json",
        "The default resume file, one for each deployment and scope. ~/.local/state stands for an unset XDG_STATE_HOME. \
         --resume-file names another file.",
    ),
    (
        ".NAME.cswatch-lock, .NAME.cswatch-heartbeat",
        "Next to the resume file NAME: the lock of the running watch, and what cswatch health reads.",
    ),
];

const WATCH_EXAMPLES: &[Entry] = &[
    (
        "Watch one collection",
        "cswatch --db shop --coll orders | jq .",
    ),
    (
        "Print only events whose document meets a condition",
        "cswatch -d shop -c orders --match '{\"fullDocument.total\": {$gt: 100}}'",
    ),
    (
        "Print everything since the last run, then stop",
        "cswatch -d shop --resume-file /var/lib/cswatch/shop.json --until now",
    ),
    (
        "Follow one document, with its full state after each update",
        "cswatch -d shop -c orders --id 42 --full-document updateLookup",
    ),
    (
        "Show the command that would be sent to the server",
        "cswatch -d shop -c orders --op insert,delete --explain",
    ),
];

const WATCH_EXIT_CODES: &[Entry] = &[
    (
        "0",
        "stopped as requested: SIGINT, SIGTERM, --count, --until, pipe closed",
    ),
    ("1", "any other failure"),
    ("2", "usage: invalid flag, value or pipeline"),
    (
        "3",
        "history lost (see --on-history-lost), or checkpoint cannot be resumed",
    ),
    (
        "4",
        "stream invalidated: drop or rename (see --on-invalidate)",
    ),
    (
        "5",
        "resume file damaged, of another stream, locked or not writable",
    ),
    ("6", "output not writable"),
    ("7", "no server reachable"),
    (
        "8",
        "refused by the server: authentication, privilege, standalone, pipeline,\nevent too large",
    ),
    ("130, 143", "second SIGINT or SIGTERM"),
];

/// Returns what the help and the manual page of a command have besides its arguments. `cswatch` is the watch.
pub(super) fn page(command: &str) -> Page {
    let (examples, exit_codes): (&[Entry], &[Entry]) = match command {
        "cswatch" => (WATCH_EXAMPLES, WATCH_EXIT_CODES),
        "check" => (
            &[(
                "Check a watch before it starts",
                "cswatch check -d shop --resume-file /var/lib/cswatch/shop.json",
            )],
            &[
                ("0", "the watch would start"),
                (
                    "1 to 8",
                    "the watch would exit with this code; see cswatch --help",
                ),
            ],
        ),
        "token" => (
            &[
                (
                    "Decode the token in a resume file",
                    "cswatch token /var/lib/cswatch/shop.json",
                ),
                (
                    "Decode the token of each event",
                    "cswatch -d shop | cswatch token",
                ),
            ],
            &[
                ("0", "every token was decoded"),
                ("1", "a token could not be decoded, or any other failure"),
                ("2", "usage, or input that is not a token"),
            ],
        ),
        "health" => (
            &[(
                "Check the watch that uses this resume file",
                "cswatch health --resume-file /var/lib/cswatch/shop.json",
            )],
            &[
                ("0", "a watch is running and had a reply from the server"),
                ("1", "no watch is running, or the last reply is too old"),
                ("2", "usage"),
            ],
        ),
        "completions" => (
            &[
                ("In ~/.bashrc", "source <(cswatch completions bash)"),
                (
                    "In ~/.zshrc, after compinit",
                    "source <(cswatch completions zsh)",
                ),
                (
                    "In ~/.config/fish/config.fish",
                    "cswatch completions fish | source",
                ),
            ],
            &[],
        ),
        "man" => (
            &[
                ("Read the manual page", "cswatch man | man -l -"),
                (
                    "Read the manual page of a command",
                    "cswatch man check | man -l -",
                ),
            ],
            &[],
        ),
        _ => (&[], &[]),
    };
    let (environment, files) = match command {
        "cswatch" => (ENVIRONMENT, FILES),
        _ => (&[][..], &[][..]),
    };
    Page {
        exit_codes,
        environment,
        files,
        examples,
    }
}

/// Adds examples and exit codes to the help of a command.
pub(super) fn extended(command: clap::Command) -> clap::Command {
    let page = page(command.get_name());
    if page.examples.is_empty() {
        return command;
    }
    let mut short = "Examples:".to_owned();
    for (_, example) in page.examples.iter().take(SHORT_EXAMPLES) {
        short += &format!("\n  {example}");
    }
    let mut long = "Examples:".to_owned();
    for (purpose, example) in page.examples {
        long += &format!("\n  {purpose}:\n    {example}");
    }
    if !page.exit_codes.is_empty() {
        long += "\n\nExit codes:";
    }
    for (code, meaning) in page.exit_codes {
        let meaning = meaning.replace('\n', "\n     ");
        long += &format!("\n  {code}  {meaning}");
    }
    command.after_help(short).after_long_help(long)
}
