//! Settings of the JetStream sink: the servers, the login, the stream and its subjects.

use std::path::PathBuf;

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;

use crate::error::Failure;

/// The longest name of a stream. The server keeps each stream in a folder of that name, with a bucket of a longer one.
const MAX_STREAM_NAME: usize = 200;

/// Hint about the form of `--nats`.
const URL_HINT: &str = "write nats://HOST:PORT, or tls://HOST:PORT; separate several by commas";

/// A delivery to NATS JetStream.
#[derive(Clone)]
pub(crate) struct NatsConfig {
    /// The servers to connect to, without logins.
    pub(crate) servers: Vec<ServerAddr>,
    /// The login in the URL.
    pub(crate) login: Option<Login>,
    /// Whether the URL was given on the command line and holds a login, which other users of the machine can read.
    pub(crate) exposes_login: bool,
    /// A credentials file.
    pub(crate) credentials: Option<PathBuf>,
    /// A PEM file with the certificate authorities to trust instead of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Name of the stream.
    pub(crate) stream: String,
    /// First tokens of every subject.
    pub(crate) prefix: String,
    /// Number of partitions; `None` for subjects without one.
    pub(crate) partitions: Option<u16>,
    /// Replicas of a stream that is created.
    pub(crate) replicas: u8,
    /// File next to which `cswatch health` finds the heartbeat.
    pub(crate) health_file: Option<PathBuf>,
}

/// A login in a URL. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// `nats://TOKEN@HOST`
    Token(String),
    /// `nats://USER:PASSWORD@HOST`
    User(String, String),
}

impl std::fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsConfig")
            .field("hosts", &self.hosts())
            .field("stream", &self.stream)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl NatsConfig {
    /// Returns the hosts and ports of the servers, without logins.
    pub(crate) fn hosts(&self) -> String {
        let hosts = self.servers.iter().map(|server| match server.host() {
            host if host.contains(':') => format!("[{host}]:{}", server.port()),
            host => format!("{host}:{}", server.port()),
        });
        hosts.collect::<Vec<_>>().join(",")
    }

    /// Returns the subjects of all messages, as a pattern.
    pub(crate) fn subjects(&self) -> String {
        format!("{}.>", self.prefix)
    }

    /// Returns the name of the key-value bucket that holds the checkpoint and the lease.
    pub(crate) fn bucket(&self) -> String {
        format!("cswatch_{}", self.stream)
    }
}

/// Parses the value of `--nats`: URLs separated by commas. The login of the first one that has one is used for all.
///
/// # Errors
/// Exit code 2 when a URL is invalid. The message repeats no login.
pub(crate) fn parse_urls(text: &str) -> Result<(Vec<ServerAddr>, Option<Login>), Failure> {
    let mut servers = Vec::new();
    let mut login = None;
    for (index, url) in text.split(',').map(str::trim).enumerate() {
        let invalid = |why: &str| {
            let number = match text.contains(',') {
                true => format!(" number {}", index + 1),
                false => String::new(),
            };
            Failure::usage(format!("--nats: URL{number} is not valid: {why}")).hint(URL_HINT)
        };
        if url.is_empty() {
            return Err(invalid("it is empty"));
        }
        let server: ServerAddr = url
            .parse()
            .map_err(|error: std::io::Error| invalid(&reason(&error)))?;
        if server.is_websocket() {
            return Err(invalid("WebSockets are not supported"));
        }
        let mut url = server.into_inner();
        if url.host_str().is_none_or(str::is_empty) {
            return Err(invalid("it has no host"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("nothing may follow the port"));
        }
        login = login.or(login_of(url.username(), url.password()));
        // Both fail only for URLs that cannot have a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let server = ServerAddr::from_url(url).map_err(|error| invalid(&reason(&error)))?;
        servers.push(server);
    }
    Ok((servers, login))
}

/// Returns the reason in an error of the client, without what each of them begins with.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let reason = text.strip_prefix("NATS server URL is invalid: ");
    reason.unwrap_or(&text).to_owned()
}

fn login_of(user: &str, password: Option<&str>) -> Option<Login> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match (user, password) {
        ("", None) => None,
        (token, None) => Some(Login::Token(decoded(token))),
        (user, Some(password)) => Some(Login::User(decoded(user), decoded(password))),
    }
}

/// Checks the value of `--nats-stream`. The name of the bucket is made of it, which allows fewer characters than the name of a stream.
///
/// # Errors
/// Exit code 2 when it is invalid.
pub(crate) fn ensure_stream_name(name: &str) -> Result<(), Failure> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.len() <= MAX_STREAM_NAME && name.chars().all(is_allowed) {
        return Ok(());
    }
    Err(
        Failure::usage(format!("--nats-stream: '{name}' is not a valid name")).hint(format!(
            "use 1 to {MAX_STREAM_NAME} of the characters A-Z, a-z, 0-9, - and _"
        )),
    )
}

/// Checks the value of `--nats-subject`.
///
/// # Errors
/// Exit code 2 when it is not a subject without wildcards, or one that the server keeps for itself.
pub(crate) fn ensure_prefix(prefix: &str) -> Result<(), Failure> {
    let is_token = |token: &str| {
        !token.is_empty()
            && token
                .chars()
                .all(|c| c.is_ascii_graphic() && !matches!(c, '*' | '>'))
    };
    if prefix.split('.').all(is_token) && !prefix.starts_with('$') && prefix.len() <= 200 {
        return Ok(());
    }
    Err(
        Failure::usage(format!("--nats-subject: '{prefix}' is not a valid prefix")).hint(
            "use words separated by dots, as in cswatch or prod.cdc, without spaces, * and >",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separates_logins_from_servers() {
        let (servers, login) = parse_urls("nats://a:4222, tls://us%40er:p%2Fw@b:1, [::1]").unwrap();
        let hosts: Vec<_> = servers
            .iter()
            .map(|server| (server.host(), server.port(), server.tls_required()))
            .collect();
        let expected = [("a", 4222, false), ("b", 1, true), ("::1", 4222, false)];
        assert_eq!(hosts, expected);
        assert!(servers.iter().all(|server| !server.has_user_pass()));
        assert!(login == Some(Login::User("us@er".to_owned(), "p/w".to_owned())));
        assert!(
            parse_urls("nats://t%3Aoken@a").unwrap().1 == Some(Login::Token("t:oken".to_owned()))
        );
        assert!(parse_urls("localhost").unwrap().1.is_none());
    }

    #[test]
    fn refuses_urls_without_repeating_their_logins() {
        for url in [
            "",
            "nats://",
            "http://user:secret@a",
            "ws://user:secret@a",
            "nats://user:secret@a:99999",
            "nats://user:secret@a/path",
            "nats://user:secret@a?x=secret",
            "nats://a,,nats://b",
        ] {
            let failure = parse_urls(url).map(drop).unwrap_err();
            assert!(failure.message.starts_with("--nats: URL"), "{failure}");
            assert!(!failure.message.contains("secret"), "{failure}");
        }
    }

    #[test]
    fn accepts_names_and_prefixes_that_the_server_accepts() {
        assert!(ensure_stream_name("CDC_1-a").is_ok());
        for name in ["", "a.b", "a b", "a*", "é", &"x".repeat(201)] {
            assert!(ensure_stream_name(name).is_err(), "{name}");
        }
        assert!(ensure_prefix("prod.cdc-1").is_ok());
        for prefix in ["", ".", "a.", "a..b", "a.*", ">", "a b", "$JS.API", "é"] {
            assert!(ensure_prefix(prefix).is_err(), "{prefix}");
        }
    }
}
