//! The last report of each server to the driver's monitors, and whether an attempt to select one can still succeed.

use std::fmt;
use std::time::{Duration, Instant};

use bson::Document;
use mongodb::error::Error;
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::{ReadPreference, ServerAddress};
use tokio::sync::watch;

use super::driver_log;
use super::messages::describe;
use super::unreachable::is_final;

/// How long servers that reply, but cannot be used, are waited for: a member that has just started replies as one that is not initiated.
const GRACE: Duration = Duration::from_secs(2);

/// What the servers of a connection last reported. Shared by all clones.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerReports {
    servers: watch::Sender<Vec<Server>>,
}

/// A server that the driver monitors, or did.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) address: ServerAddress,
    /// Whether the driver still monitors it. It stops when a replica set does not name a server as its member.
    pub(super) is_monitored: bool,
    pub(super) report: Report,
}

/// The last result of monitoring a server.
#[derive(Debug, Clone)]
pub(super) enum Report {
    /// None yet.
    Pending,
    /// It replied.
    Reply(Hello),
    /// It did not reply.
    Failure(Error),
}

/// A reply to `hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    /// The name of the replica set.
    pub(super) set: Option<String>,
    pub(super) role: Role,
    /// The names and values of the member's tags.
    tags: Vec<(String, String)>,
}

/// What a server is for its deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    Secondary,
    /// A member that cannot be read, for example an arbiter or one that starts.
    Other,
    Mongos,
    Standalone,
    /// Started as a member of a replica set, which is not initiated.
    Uninitiated,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::Other => "other member",
            Self::Mongos => "mongos",
            Self::Standalone => "standalone",
            Self::Uninitiated => "not initiated",
        })
    }
}

/// Whether a server can be selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlook {
    /// One can, or may soon.
    Open,
    /// None can, unless one changes its role.
    Doubtful,
    /// None can.
    Hopeless,
}

impl ServerReports {
    /// Returns the handler of the driver's events.
    pub(super) fn handler(&self) -> EventHandler<SdamEvent> {
        let servers = self.servers.clone();
        EventHandler::callback(move |event| {
            driver_log::monitoring(&event);
            let (address, change): (_, Change) = match event {
                SdamEvent::ServerOpening(event) => (event.address, Change::Monitored(true)),
                SdamEvent::ServerClosed(event) => (event.address, Change::Monitored(false)),
                SdamEvent::ServerHeartbeatSucceeded(event) => {
                    let hello = Hello::from(&event.reply);
                    (event.server_address, Change::Report(Report::Reply(hello)))
                }
                SdamEvent::ServerHeartbeatFailed(event) => {
                    let report = Report::Failure(event.failure);
                    (event.server_address, Change::Report(report))
                }
                _ => return,
            };
            servers.send_modify(|servers| apply(servers, address, change));
        })
    }

    /// Returns all servers, in the order in which they became known.
    pub(super) fn servers(&self) -> Vec<Server> {
        self.servers.borrow().clone()
    }

    /// Returns why the servers could not be asked; `None` if none of them failed.
    pub(super) fn failures(&self) -> Option<String> {
        let servers = self.servers.borrow();
        let failures = servers.iter().filter_map(|server| match &server.report {
            Report::Failure(error) if server.is_monitored => {
                Some(format!("{}: {}", server.address, describe(error)))
            }
            _ => None,
        });
        let failures: Vec<String> = failures.collect();
        (!failures.is_empty()).then(|| failures.join("; "))
    }

    /// Waits until it is certain that no server can be selected with `preference`; `None` for a direct connection.
    pub(super) async fn hopeless(&self, preference: Option<&ReadPreference>) {
        let mut servers = self.servers.subscribe();
        let mut doubtful_since = None;
        loop {
            let outlook = outlook(&servers.borrow_and_update(), preference);
            match outlook {
                Outlook::Hopeless => return,
                Outlook::Doubtful => {
                    let since: Instant = *doubtful_since.get_or_insert_with(Instant::now);
                    let left = GRACE.saturating_sub(since.elapsed());
                    if tokio::time::timeout(left, servers.changed()).await.is_err() {
                        return;
                    }
                }
                Outlook::Open => {
                    doubtful_since = None;
                    // The sender lives as long as `self`.
                    let _ = servers.changed().await;
                }
            }
        }
    }
}

/// Returns whether a server that is still monitored belongs to a replica set that is not initiated.
pub(super) fn has_uninitiated(servers: &[Server]) -> bool {
    servers.iter().any(|server| {
        server.is_monitored
            && matches!(&server.report, Report::Reply(hello) if hello.role == Role::Uninitiated)
    })
}

enum Change {
    Monitored(bool),
    Report(Report),
}

fn apply(servers: &mut Vec<Server>, address: ServerAddress, change: Change) {
    let index = servers.iter().position(|server| server.address == address);
    let index = index.unwrap_or_else(|| {
        servers.push(Server {
            address,
            is_monitored: true,
            report: Report::Pending,
        });
        servers.len() - 1
    });
    match change {
        Change::Monitored(is_monitored) => servers[index].is_monitored = is_monitored,
        Change::Report(report) => servers[index].report = report,
    }
}

fn outlook(servers: &[Server], preference: Option<&ReadPreference>) -> Outlook {
    let monitored = || servers.iter().filter(|server| server.is_monitored);
    let is_any = |is: &dyn Fn(&Report) -> bool| monitored().any(|server| is(&server.report));
    let has_role =
        |role| is_any(&|report| matches!(report, Report::Reply(hello) if hello.role == role));
    if servers.is_empty() || is_any(&|report| is_open(report, preference)) {
        return Outlook::Open;
    }
    let mut failures = monitored().map(|server| &server.report);
    if monitored().next().is_some()
        && failures.all(|report| matches!(report, Report::Failure(error) if is_final(error)))
    {
        return Outlook::Hopeless;
    }
    // Without a primary, an election may be under way.
    match has_role(Role::Secondary) && !has_role(Role::Primary) {
        true => Outlook::Open,
        false => Outlook::Doubtful,
    }
}

/// Returns whether a server that reported this can be selected, or may be soon.
fn is_open(report: &Report, preference: Option<&ReadPreference>) -> bool {
    match report {
        Report::Pending => true,
        Report::Failure(error) => error.to_string().contains("timed out"),
        Report::Reply(hello) => match (hello.role, preference) {
            (_, None) => true,
            (Role::Uninitiated, Some(_)) => false,
            (Role::Other | Role::Mongos | Role::Standalone, Some(_)) => true,
            (Role::Primary | Role::Secondary, Some(preference)) => hello.fits(preference),
        },
    }
}

impl Hello {
    /// Returns whether a primary or secondary can be read with `preference`.
    fn fits(&self, preference: &ReadPreference) -> bool {
        let is_primary = self.role == Role::Primary;
        let options = match preference {
            ReadPreference::Primary => return is_primary,
            ReadPreference::PrimaryPreferred { .. } | ReadPreference::SecondaryPreferred { .. }
                if is_primary =>
            {
                return true;
            }
            ReadPreference::Secondary { .. } if is_primary => return false,
            ReadPreference::Secondary { options }
            | ReadPreference::PrimaryPreferred { options }
            | ReadPreference::SecondaryPreferred { options }
            | ReadPreference::Nearest { options } => options,
            // A mode that this version of the driver does not have.
            _ => return true,
        };
        let tag_sets = options
            .as_ref()
            .and_then(|options| options.tag_sets.as_ref());
        tag_sets.is_none_or(|sets| {
            let has = |(name, value): (&String, &String)| {
                self.tags
                    .iter()
                    .any(|tag| (&tag.0, &tag.1) == (name, value))
            };
            sets.is_empty() || sets.iter().any(|set| set.iter().all(has))
        })
    }
}

impl From<&Document> for Hello {
    fn from(reply: &Document) -> Self {
        let is = |field: &str| reply.get_bool(field).unwrap_or_default();
        let set = reply.get_str("setName").ok().map(ToOwned::to_owned);
        let role = if is("isreplicaset") {
            Role::Uninitiated
        } else if reply.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
            Role::Mongos
        } else if set.is_none() {
            Role::Standalone
        } else if is("isWritablePrimary") || is("ismaster") {
            Role::Primary
        } else if is("secondary") {
            Role::Secondary
        } else {
            Role::Other
        };
        let tags = reply.get_document("tags").ok().into_iter().flatten();
        let tags =
            tags.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        Self {
            set,
            role,
            tags: tags.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use bson::doc;

    use super::*;

    fn server(port: u16, report: Report) -> Server {
        Server {
            address: ServerAddress::Tcp {
                host: "h".to_owned(),
                port: Some(port),
            },
            is_monitored: true,
            report,
        }
    }

    fn member(role: &str) -> Report {
        let reply = doc! { "setName": "rs0", role: true, "tags": { "dc": "ny" } };
        Report::Reply(Hello::from(&reply))
    }

    fn failed(kind: io::ErrorKind) -> Report {
        Report::Failure(Error::from(kind))
    }

    fn outlook_of(reports: Vec<Report>, preference: &ReadPreference) -> Outlook {
        let servers: Vec<Server> = (1..)
            .zip(reports)
            .map(|(port, report)| server(port, report))
            .collect();
        outlook(&servers, Some(preference))
    }

    #[test]
    fn gives_up_at_once_when_every_server_refused() {
        let refused = || failed(io::ErrorKind::ConnectionRefused);
        let primary = ReadPreference::Primary;
        assert_eq!(
            outlook_of(vec![refused(), refused()], &primary),
            Outlook::Hopeless
        );
        assert_eq!(
            outlook_of(vec![refused(), Report::Pending], &primary),
            Outlook::Open
        );
        assert_eq!(
            outlook_of(vec![refused(), failed(io::ErrorKind::TimedOut)], &primary),
            Outlook::Open
        );
        assert_eq!(
            outlook_of(vec![failed(io::ErrorKind::ConnectionReset)], &primary),
            Outlook::Doubtful
        );
    }

    #[test]
    fn waits_for_an_election() {
        let primary = ReadPreference::Primary;
        let refused = failed(io::ErrorKind::ConnectionRefused);
        assert_eq!(
            outlook_of(vec![refused, member("secondary")], &primary),
            Outlook::Open
        );
    }

    #[test]
    fn finds_that_no_member_fits_the_read_preference() {
        let primary = || vec![member("isWritablePrimary")];
        let secondary = ReadPreference::Secondary { options: None };
        assert_eq!(outlook_of(primary(), &secondary), Outlook::Doubtful);
        let preferred = ReadPreference::SecondaryPreferred { options: None };
        assert_eq!(outlook_of(primary(), &preferred), Outlook::Open);
        let tagged = |value: &str| {
            let mut options = mongodb::options::ReadPreferenceOptions::default();
            options.tag_sets = Some(vec![[("dc".to_owned(), value.to_owned())].into()]);
            ReadPreference::Nearest {
                options: Some(options),
            }
        };
        assert_eq!(outlook_of(primary(), &tagged("ny")), Outlook::Open);
        assert_eq!(outlook_of(primary(), &tagged("la")), Outlook::Doubtful);
    }

    #[test]
    fn doubts_a_server_whose_set_is_not_initiated() {
        let reply = Report::Reply(Hello::from(&doc! { "isreplicaset": true }));
        assert_eq!(
            outlook_of(vec![reply], &ReadPreference::Primary),
            Outlook::Doubtful
        );
    }
}
