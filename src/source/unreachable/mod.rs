//! Deployments that cannot be reached: the reason, with the server that it is about, and the hint.

mod tls_test;
mod why;

use mongodb::error::{Error, ErrorKind};
use mongodb::options::{HostInfo, ReadPreference, ServerAddress, Tls};

use crate::config::{self, ConnectionConfig, StreamSpec};
use crate::error::{Failure, Kind};

use super::classify::{self, Verdict};
use super::messages::{self, describe};
use super::server_reports::{Report, Role, Server};

use self::tls_test::speaks;
use self::why::{TlsUse, Why};

pub(super) use self::why::is_final;

/// What the connection string asks for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Its hosts, as messages name them.
    hosts: String,
    /// Its hosts; empty for `mongodb+srv`.
    seeds: Vec<ServerAddress>,
    /// The name of the replica set.
    set: Option<String>,
    /// Which members are read; `None` for a direct connection.
    pub(super) preference: Option<ReadPreference>,
    /// Whether TLS is on.
    has_tls: bool,
}

impl Wanted {
    pub(super) fn by(config: &ConnectionConfig) -> Self {
        let uri = &config.uri;
        let preference = uri
            .read_preference
            .clone()
            .unwrap_or(ReadPreference::Primary);
        let seeds = match &uri.host_info {
            HostInfo::HostIdentifiers(hosts) => hosts.clone(),
            _ => Vec::new(),
        };
        Self {
            hosts: config.hosts(),
            // With mongodb+srv, TLS is on unless it is turned off.
            has_tls: match uri.tls {
                Some(Tls::Enabled(_)) => true,
                Some(Tls::Disabled) => false,
                None => seeds.is_empty(),
            },
            seeds,
            set: uri.replica_set.clone(),
            preference: (uri.direct_connection != Some(true)).then_some(preference),
        }
    }
}

/// An attempt to connect that failed.
#[derive(Debug)]
pub(super) struct Unreached {
    wanted: Wanted,
    /// The driver's error; `None` if the attempt ended before the driver gave up.
    error: Option<Error>,
    /// What the servers reported.
    servers: Vec<Server>,
    /// Whether TLS is off at a server and on in the connection string, or the other way around.
    is_tls_mismatch: bool,
}

impl Unreached {
    /// Creates the result of an attempt that ended with `error`, or without one because it could not succeed any more.
    pub(super) fn new(wanted: Wanted, error: Option<Error>, servers: Vec<Server>) -> Self {
        Self {
            wanted,
            error,
            servers,
            is_tls_mismatch: false,
        }
    }

    /// Returns what the error means for another attempt.
    pub(super) fn verdict(&self) -> Verdict {
        self.error
            .as_ref()
            .map_or(Verdict::Retry, classify::classify)
    }

    /// Returns the error that a server replied with, if one did.
    pub(super) fn replied_error(&self) -> Option<&Error> {
        let error = self.error.as_ref()?;
        classify::code(error).is_some().then_some(error)
    }

    /// Asks a server that closes connections whether it uses TLS, if the connection string turns it off, and the other way around. Sends no
    /// login.
    pub(super) async fn test_tls(&mut self) {
        let is_suspect = |error: &Error| {
            matches!(
                Why::of(&error.to_string(), false),
                Why::Closed | Why::Handshake
            )
        };
        let suspect = self
            .servers
            .iter()
            .find(|server| matches!(&server.report, Report::Failure(error) if is_suspect(error)));
        if let Some(server) = suspect {
            self.is_tls_mismatch = speaks(&server.address, !self.wanted.has_tls).await;
        }
    }

    /// Returns the failure of a connection attempt that is not retried.
    pub(super) fn failure(&self, spec: &StreamSpec) -> Failure {
        if let Some(error) = &self.error
            && let Some(failure) = refusal(error, spec)
        {
            return failure;
        }
        let Diagnosis { place, why, hint } = self.diagnosis();
        Failure::new(Kind::Unreachable, format!("cannot reach {place}: {why}")).hint(hint)
    }

    /// Returns why there is no connection yet, with the addresses.
    pub(super) fn reason(&self) -> String {
        let Diagnosis { place, why, .. } = self.diagnosis();
        format!("{place}: {why}")
    }

    fn diagnosis(&self) -> Diagnosis {
        let hosts = format!("MongoDB at {}", self.wanted.hosts);
        let unusable = self.servers.iter().find_map(|server| self.unusable(server));
        if let Some((why, hint)) = unusable {
            return Diagnosis {
                place: hosts,
                why,
                hint,
            };
        }
        let failed = self.failures();
        if let Some(set) = self.set()
            && !self.wanted.seeds.is_empty()
            && !failed.is_empty()
            && failed
                .iter()
                .all(|(address, _)| !self.wanted.seeds.contains(address))
        {
            return self.unreachable_members(set, &failed);
        }
        if let Some((why, hint)) = self.unfit() {
            return Diagnosis {
                place: hosts,
                why,
                hint,
            };
        }
        let (why, hint) = self.reasons(&failed);
        Diagnosis {
            place: hosts,
            why,
            hint,
        }
    }

    /// Returns the error of each server that failed, and of those without a reply if others failed.
    fn failures(&self) -> Vec<(&ServerAddress, String)> {
        let monitored = self.servers.iter().filter(|server| server.is_monitored);
        let failures: Vec<_> = monitored
            .filter_map(|server| match &server.report {
                Report::Failure(error) => Some((&server.address, describe(error))),
                Report::Pending => Some((&server.address, String::from("no reply"))),
                Report::Reply(_) => None,
            })
            .collect();
        let is_any = |server: &Server| matches!(server.report, Report::Failure(_));
        match self.servers.iter().any(is_any) {
            true => failures,
            // The driver's error says more.
            false => Vec::new(),
        }
    }

    /// Returns the name of the replica set that a server reported.
    fn set(&self) -> Option<&str> {
        self.servers.iter().find_map(|server| match &server.report {
            Report::Reply(hello) => hello.set.as_deref(),
            _ => None,
        })
    }

    /// Returns why a server that replied cannot be used, and the hint.
    fn unusable(&self, server: &Server) -> Option<(String, String)> {
        let Report::Reply(hello) = &server.report else {
            return None;
        };
        let address = &server.address;
        if hello.role == Role::Uninitiated {
            return Some((
                format!("{address} is started for a replica set, but the set is not initiated"),
                format!("run rs.initiate() on it once: mongosh {address} --eval 'rs.initiate()'"),
            ));
        }
        let wanted = self.wanted.set.as_ref()?;
        match &hello.set {
            Some(set) if set != wanted => Some((
                format!("{address} is a member of replica set {set}, not of {wanted}"),
                format!("use replicaSet={set} in --uri"),
            )),
            None if hello.role == Role::Standalone => Some((
                format!(
                    "{address} is not a member of replica set {wanted}, but a standalone server"
                ),
                format!(
                    "change streams need a replica set: start mongod with --replSet {wanted} and run rs.initiate() once"
                ),
            )),
            _ => None,
        }
    }

    /// Returns the diagnosis when a server in the connection string replied, and none of the members that it named can be reached.
    fn unreachable_members(&self, set: &str, failed: &[(&ServerAddress, String)]) -> Diagnosis {
        let names: Vec<String> = failed
            .iter()
            .map(|(address, _)| address.to_string())
            .collect();
        let members = if names.len() == 1 {
            "member"
        } else {
            "members"
        };
        let (why, _) = self.reasons(failed);
        let seed = &self.wanted.seeds[0];
        Diagnosis {
            place: format!("{} ({members} of replica set {set})", names.join(",")),
            why,
            hint: format!(
                "make the name in the configuration of the set reachable from here, or add directConnection=true to --uri to use {seed} alone"
            ),
        }
    }

    /// Returns why no member can be selected although some replied, and the hint.
    fn unfit(&self) -> Option<(String, String)> {
        let preference = self.wanted.preference.as_ref()?;
        let has_role = |role| {
            self.servers.iter().any(
                |server| matches!(&server.report, Report::Reply(hello) if hello.role == role && server.is_monitored),
            )
        };
        let set = self.set()?;
        if !has_role(Role::Primary) {
            let needs_primary = *preference == ReadPreference::Primary;
            return (needs_primary && has_role(Role::Secondary)).then(|| {
                (
                    format!("replica set {set} has no primary"),
                    "see rs.status() on a member; --wait keeps trying, and readPreference=secondaryPreferred in --uri reads from a secondary".to_owned(),
                )
            });
        }
        let (mode, options) = match preference {
            ReadPreference::Secondary { options } => ("secondary", options),
            ReadPreference::PrimaryPreferred { options } => ("primaryPreferred", options),
            ReadPreference::SecondaryPreferred { options } => ("secondaryPreferred", options),
            ReadPreference::Nearest { options } => ("nearest", options),
            _ => return None,
        };
        let has_tags = options
            .as_ref()
            .is_some_and(|options| options.tag_sets.is_some());
        if mode == "secondary" && !has_role(Role::Secondary) {
            return Some((
                format!(
                    "replica set {set} has no secondary that replies, as readPreference=secondary needs"
                ),
                "use readPreference=secondaryPreferred in --uri".to_owned(),
            ));
        }
        has_tags.then(|| {
            (
                format!("no member of replica set {set} has the tags of readPreferenceTags for readPreference={mode}"),
                "correct readPreferenceTags in --uri (rs.conf() lists the tags), or add an empty readPreferenceTags= after them for any member".to_owned(),
            )
        })
    }

    /// Returns why servers failed, each by its own reason if they differ, and the hint for the first one.
    fn reasons(&self, failed: &[(&ServerAddress, String)]) -> (String, String) {
        let is_unresolved = (self.error.as_ref())
            .is_some_and(|error| matches!(&*error.kind, ErrorKind::DnsResolve { .. }));
        let reason = |text: &str| Why::of(text, is_unresolved);
        let tls = TlsUse {
            is_on: self.wanted.has_tls,
            is_mismatch: self.is_tls_mismatch,
        };
        let of_driver = || self.error.as_ref().map(describe).unwrap_or_default();
        let first = failed
            .first()
            .map_or_else(of_driver, |(_, text)| text.clone());
        let (why, hint) = reason(&first).text(&first, tls);
        if failed
            .iter()
            .all(|(_, text)| reason(text) == reason(&first))
        {
            return (format!("{why} ({first})"), hint.to_owned());
        }
        let each = failed.iter().map(|(address, text)| {
            let (why, _) = reason(text).text(text, tls);
            format!("{address}: {why} ({text})")
        });
        (each.collect::<Vec<_>>().join("; "), hint.to_owned())
    }
}

/// The parts of a message about an attempt that failed.
struct Diagnosis {
    /// What cannot be reached.
    place: String,
    why: String,
    hint: String,
}

/// Returns the failure of a request after the connection was made.
pub(super) fn failure(error: &Error, wanted: &Wanted, spec: &StreamSpec) -> Failure {
    Unreached::new(wanted.clone(), Some(error.clone()), Vec::new()).failure(spec)
}

/// Returns the failure when the server, or the driver, was reached and refuses.
fn refusal(error: &Error, spec: &StreamSpec) -> Option<Failure> {
    if let ErrorKind::InvalidArgument { message, .. }
    | ErrorKind::IncompatibleServer { message, .. } = &*error.kind
    {
        let (reason, hint) = config::reason_and_hint(message);
        if let Some(hint) = hint {
            return Some(Failure::usage(format!("--uri: {reason}")).hint(hint));
        }
    }
    matches!(
        classify::classify(error),
        Verdict::Fatal | Verdict::Doubt | Verdict::Login
    )
    .then(|| messages::failure(error, spec))
}
