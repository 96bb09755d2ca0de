//! Preflight tests of a deployment for `cswatch check`: one method for each thing that a watch depends on. Opens streams and closes them
//! again; never reads one, never retries. A test fails with the failure that a watch would end with.

use std::time::Duration;

use bson::{Timestamp, doc};
use futures::TryStreamExt as _;
use mongodb::error::Error;

use crate::config::{ConnectionConfig, Scope, StreamSpec};
use crate::error::{Failure, Kind};
use crate::snapshot::Collection;
use crate::time;
use crate::token::ResumeToken;

use super::classify::{self, Verdict};
use super::connecting;
use super::diagnosis::{self, Culprit};
use super::existence::{self, Missing};
use super::privilege::{self, User};
use super::snapshot::{self, Extent, Unmeasured};
use super::target::{Deployment, Target};
use super::unreachable::{self, Wanted};
use super::{members, messages, start};

/// Time for the list of collections.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// A feature that not every server version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// `showExpandedEvents`.
    ExpandedEvents,
    /// Pre- and post-images.
    Images,
    /// `$changeStreamSplitLargeEvent`.
    SplitLargeEvents,
}

/// Whether a collection keeps pre- and post-images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Images {
    /// The name of the collection.
    pub collection: String,
    /// `changeStreamPreAndPostImages.enabled`.
    pub kept: bool,
}

/// A connection to a deployment, for tests of what a watch depends on.
#[derive(Debug)]
pub(crate) struct Preflight {
    target: Target,
    wanted: Wanted,
    /// Who is logged in.
    user: Option<User>,
}

impl Preflight {
    /// Connects to the deployment, without a retry.
    ///
    /// # Errors
    /// As a watch without `--wait`: exit code 7 when no server can be reached, 8 when it refuses, 2 when the connection string names files
    /// that are unusable.
    pub(crate) async fn connect(
        config: &ConnectionConfig,
        spec: &StreamSpec,
    ) -> Result<Self, Failure> {
        match connecting::reported(&config.hosts(), Target::connect(config, spec)).await {
            Ok(target) => {
                connecting::log_reached(&target).await;
                Ok(Self {
                    user: User::logged_in(&target.connection).await,
                    target,
                    wanted: Wanted::by(config),
                })
            }
            Err(mut unreached) => {
                unreached.test_tls().await;
                Err(unreached.failure(spec))
            }
        }
    }

    /// Returns what the server reported about its deployment.
    pub(crate) fn deployment(&self) -> &Deployment {
        &self.target.deployment
    }

    /// Returns the server's version.
    ///
    /// # Errors
    /// When the server does not report it.
    pub(crate) async fn version(&self) -> Result<String, Failure> {
        let reply = self
            .target
            .connection
            .run("admin", doc! { "buildInfo": 1 })
            .await;
        let reply = reply.map_err(|error| self.failure(&error))?;
        let version = reply.get_str("version");
        version.map(ToOwned::to_owned).map_err(|error| {
            Failure::new(
                Kind::Other,
                format!("the server reports no version: {error}"),
            )
        })
    }

    /// Checks that the stream can be opened.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub(crate) async fn opens(&self) -> Result<(), Failure> {
        let Err(error) = self.open(&self.target.spec).await else {
            return Ok(());
        };
        Err(match diagnosis::culprit(&self.target, &error, None).await {
            Culprit::Stage(origin) => messages::refused_stage(&error, &origin),
            _ => self.failure(&error),
        })
    }

    /// Returns whether the server knows `feature`, by an attempt to use it.
    ///
    /// # Errors
    /// When the attempt fails for another reason.
    pub(crate) async fn knows(&self, feature: Feature) -> Result<bool, Failure> {
        let mut spec = StreamSpec {
            pipeline: Vec::new(),
            full_document: None,
            full_document_before_change: None,
            expanded_events: false,
            ..self.target.spec.clone()
        };
        match feature {
            Feature::ExpandedEvents => spec.expanded_events = true,
            Feature::Images => {
                spec.full_document = Some("whenAvailable");
                spec.full_document_before_change = Some("whenAvailable");
            }
            Feature::SplitLargeEvents => spec = spec.with_split_stage(true),
        }
        match self.open(&spec).await {
            Ok(()) => Ok(true),
            Err(error) if classify::is_unknown_feature(&error) => Ok(false),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Returns for each watched collection whether it keeps images; nothing when the whole deployment is watched.
    ///
    /// # Errors
    /// When the collections cannot be listed, which needs a privilege that the stream does not need.
    pub(crate) async fn images(&self) -> Result<Vec<Images>, Failure> {
        let StreamSpec {
            scope, namespaces, ..
        } = &self.target.spec;
        let (name, filter) = match scope {
            Scope::Deployment => return Ok(Vec::new()),
            Scope::Database(db) => (db, doc! { "type": "collection" }),
            Scope::Collections(db, colls) => (db, doc! { "name": { "$in": colls } }),
            Scope::Collection(db, coll) => (db, doc! { "name": coll }),
        };
        let db = self.target.connection.client.database(name);
        let listed = async {
            let collections = db.list_collections().filter(filter).await?;
            collections.try_collect::<Vec<_>>().await
        };
        let listed = tokio::time::timeout(LIST_TIMEOUT, listed)
            .await
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
            .map_err(|error| self.failure_on(&error, "listCollections", scope))?;
        let mut images: Vec<Images> = listed
            .into_iter()
            .filter(|collection| {
                !collection.name.starts_with("system.")
                    && namespaces.contains(name, &collection.name)
            })
            .map(|collection| Images {
                collection: collection.name,
                kept: (collection.options.change_stream_pre_and_post_images)
                    .is_some_and(|images| images.enabled),
            })
            .collect();
        images.sort_by(|a, b| a.collection.cmp(&b.collection));
        Ok(images)
    }

    /// Returns how much a snapshot has to read.
    ///
    /// # Errors
    /// When a collection cannot be read, or the list of them.
    pub(crate) async fn snapshot(&self) -> Result<Extent, Failure> {
        let Target {
            connection, spec, ..
        } = &self.target;
        let extent = snapshot::measure(connection, spec).await;
        extent.map_err(|Unmeasured { error, collection }| match collection {
            Some(Collection { db, coll, .. }) => {
                self.failure_on(&error, "find", &Scope::Collection(db, coll))
            }
            None => self.failure_on(&error, "listCollections", &spec.scope),
        })
    }

    /// Returns what of the scope does not exist yet.
    pub(crate) async fn missing(&self) -> Option<Missing> {
        existence::missing(&self.target.connection, &self.target.spec.scope).await
    }

    /// Checks that a watch could resume after `token`. Returns the member that it would read from, if that is not the one that the read
    /// preference selects; later tests then ask that member.
    ///
    /// # Errors
    /// The reason why it could not; exit code 3 when it is the token or lost history.
    pub(crate) async fn resumes(&self, token: &ResumeToken) -> Result<Option<String>, Failure> {
        let Target {
            connection, spec, ..
        } = &self.target;
        let has_history = start::has_history(connection, spec, token.time()).await;
        let mut member = None;
        if !has_history.map_err(|error| self.failure(&error))? {
            let Some(found) = members::with_history(connection, spec, token.time()).await else {
                return Err(messages::history_lost(format!(
                    "the oplog no longer reaches back to {}",
                    time::rfc3339(token.time())
                )));
            };
            member = Some(found.member.to_string());
            connection.read_from(Some(found.member));
        }
        match start::check_token(connection, spec, token).await {
            Ok(()) => Ok(member),
            // A watch then starts at the token's time, and drops the events up to the token.
            Err(error) if classify::classify(&error) == Verdict::TokenNotFound => Ok(member),
            Err(error) if classify::may_be_bad_token(&error) => Err(messages::bad_token(&error)),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Asks the other members for the cluster time, if `time` is ahead of the one that is known.
    pub(crate) async fn update_cluster_time(&mut self, time: Timestamp) {
        self.target.update_cluster_time(time).await;
    }

    /// Returns the oldest time that the oplog still reaches back to; `None` while it has overwritten nothing.
    ///
    /// # Errors
    /// When an attempt to open a stream fails.
    pub(crate) async fn oldest(&self) -> Result<Option<Timestamp>, Failure> {
        let oldest = start::oldest(&self.target.connection, &self.target.spec).await;
        oldest.map_err(|error| self.failure(&error))
    }

    /// Closes cursors and connections, as many as it can in a short time.
    pub(crate) async fn close(self) {
        self.target.connection.close().await;
    }

    async fn open(&self, spec: &StreamSpec) -> mongodb::error::Result<()> {
        start::token(&self.target.connection, spec, None)
            .await
            .map(drop)
    }

    fn failure(&self, error: &Error) -> Failure {
        self.failure_on(error, privilege::STREAM, &self.target.spec.scope)
    }

    /// Returns the failure of a request that needs `privileges` on `scope`.
    fn failure_on(&self, error: &Error, privileges: &str, scope: &Scope) -> Failure {
        match classify::code(error) {
            Some(classify::UNAUTHORIZED) => {
                privilege::failure(error, privileges, scope, self.user.as_ref())
            }
            _ => unreachable::failure(error, &self.wanted, &self.target.spec),
        }
    }
}
