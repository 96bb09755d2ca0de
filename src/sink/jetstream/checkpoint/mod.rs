//! The checkpoint in the key-value bucket: for idle and filtered streams, whose last message may be older than the oplog.
//! It holds the stream's last sequence at that moment, because a server that loses its power may lose messages that it acknowledged.

mod value;

use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use async_nats::jetstream::context::CreateKeyValueErrorKind;
use async_nats::jetstream::kv::{Config, Store, UpdateErrorKind};
use async_nats::jetstream::stream::{RawMessageErrorKind, StorageType};
use bytes::Bytes;

use crate::checkpoint::{Invalid, Owner};
use crate::error::{Failure, Kind};
use crate::snapshot::SnapshotProgress;
use crate::telemetry::Telemetry;
use crate::token::ResumeToken;

use super::client::Connection;
use super::failures::{Request, Trouble};
use super::log::Tail;

use self::value::Head;

pub(crate) use self::value::{First, SavedCheckpoint};

/// The key of the checkpoint.
const KEY: &str = "checkpoint";

/// Time between two saves while no event comes, if the token moves.
const IDLE_SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// Time between two attempts to save while they fail.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The longest wait for the last save, and for the one before it.
const LAST_SAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The bucket, and when the checkpoint in it is saved.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointStore {
    store: Store,
    connection: Connection,
    owner: Owner,
    save_interval: Duration,
    /// The revision of the key that was read or written last; 0 if there is none.
    revision: u64,
    /// The newest token and its sequence.
    current: Option<(ResumeToken, u64)>,
    /// How far the snapshot has come; `None` if the stream began without one.
    snapshot: Option<SnapshotProgress>,
    first: Option<First>,
    /// As [`SavedCheckpoint::broken_at`].
    broken_at: Option<u64>,
    /// When the next save is due; `None` if everything is saved.
    due: Option<Instant>,
    saved_at: Option<Instant>,
    has_failed: bool,
    /// The values that were written since the last reply: any of them may have been saved.
    attempted: Vec<Bytes>,
    telemetry: Telemetry,
}

/// How a save ended.
#[derive(Debug)]
pub(super) enum Save {
    /// The key has this revision.
    Done(u64),
    /// Another writer changed the key.
    Changed,
    Failed(String),
}

/// What moved the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    ByEvent,
    ByEmptyReply,
}

/// A save under way.
pub(super) type Saving = Pin<Box<dyn Future<Output = Save> + Send>>;

impl CheckpointStore {
    /// Opens the bucket of the stream, or creates it with this number of replicas.
    ///
    /// # Errors
    /// The reason why it cannot be used.
    pub(crate) async fn open(
        connection: Connection,
        owner: Owner,
        save_interval: Duration,
        telemetry: Telemetry,
    ) -> Result<Self, Trouble> {
        let config = &connection.config;
        let found = connection.jetstream.get_key_value(config.bucket()).await;
        let store = match found {
            Ok(store) => store,
            // If the bucket is there and cannot be read, it cannot be created either.
            Err(_) => create(&connection).await?,
        };
        Ok(Self {
            store,
            connection,
            owner,
            save_interval,
            revision: 0,
            current: None,
            snapshot: None,
            first: None,
            broken_at: None,
            due: None,
            saved_at: None,
            has_failed: false,
            attempted: Vec::new(),
            telemetry,
        })
    }

    /// Returns the bucket.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the checkpoint in the bucket; `None` if there is none.
    ///
    /// # Errors
    /// Exit code 5 when it is damaged or belongs to another scope.
    pub(crate) async fn read(&mut self) -> Result<Option<SavedCheckpoint>, Trouble> {
        let Some((revision, value)) = self.entry().await? else {
            self.revision = 0;
            return Ok(None);
        };
        self.revision = revision;
        if value.is_empty() {
            // The marker of a deleted key.
            return Ok(None);
        }
        let saved = value::parse(&value, &self.owner.scope, &self.owner.fingerprint);
        self.first = saved.as_ref().ok().and_then(|saved| saved.first.clone());
        saved.map(Some).map_err(|invalid| {
            let bucket = self.connection.config.bucket();
            let hint = match invalid {
                Invalid::Damaged(_) => format!("delete it with nats kv del {bucket} {KEY}: cswatch then resumes after the last message"),
                Invalid::OtherScope(_) => "give another --nats-stream and --nats-subject, or watch the stream that it was saved for".to_owned(),
            };
            let why = invalid.reason(&self.owner.scope);
            Failure::new(Kind::ResumeFile, format!("checkpoint in bucket {bucket} {why}")).hint(hint).into()
        })
    }

    /// Returns the revision and value of the key, from the server that leads the bucket: others may be behind.
    async fn entry(&self) -> Result<Option<(u64, Bytes)>, Trouble> {
        let subject = format!("{}{KEY}", self.store.prefix);
        let read = self
            .store
            .stream
            .get_last_raw_message_by_subject(&subject)
            .await;
        match read {
            Ok(message) => Ok(Some((message.sequence, message.payload))),
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(error) => {
                    Err(self.connection.refused(Request::Checkpoint, &error))
                }
                _ => Err(self
                    .connection
                    .unanswered(Request::Checkpoint, None, &error.to_string())),
            },
        }
    }

    /// Returns the stream that checkpoints belong to, to be completed by the deployment.
    pub(crate) fn owner_mut(&mut self) -> &mut Owner {
        &mut self.owner
    }

    /// Sets the checkpoint at the start, and saves it: after a crash before the first event, the next run must still start here. Returns
    /// false if another writer has saved one since it was read.
    ///
    /// # Errors
    /// The reason why it cannot be saved.
    pub(crate) async fn save_start(
        &mut self,
        token: ResumeToken,
        snapshot: Option<SnapshotProgress>,
        tail: &Tail,
    ) -> Result<bool, Trouble> {
        self.snapshot = snapshot;
        self.broken_at = None;
        let sequence = tail.last_sequence;
        if sequence == 0 {
            self.first = Some(First {
                token: token.clone(),
                created: tail.created,
            });
        }
        self.current = Some((token, sequence));
        let is_own = self.save_now().await?;
        if is_own {
            // The first move is saved at once: a process that is killed soon after each start still makes progress.
            self.saved_at = None;
        }
        Ok(is_own)
    }

    /// Saves that a message of another program, `sequence`, took the place of the event after `token`, with which the snapshot had come as far
    /// as `snapshot`. Returns false if another writer has saved a checkpoint since it was read.
    ///
    /// # Errors
    /// The reason why it cannot be saved.
    pub(crate) async fn save_broken(
        &mut self,
        token: ResumeToken,
        snapshot: Option<SnapshotProgress>,
        sequence: u64,
    ) -> Result<bool, Trouble> {
        self.snapshot = snapshot;
        self.broken_at = Some(sequence);
        self.current = Some((token, sequence - 1));
        self.save_now().await
    }

    /// Saves the newest checkpoint. Returns false if another writer has saved one since it was read.
    ///
    /// # Errors
    /// The reason why it cannot be saved.
    async fn save_now(&mut self) -> Result<bool, Trouble> {
        let save = match self.begin_save() {
            Some(saving) => saving.await,
            None => {
                let outage = self.connection.outage().unwrap_or_default();
                return Err(Trouble::Passing(outage));
            }
        };
        match save {
            Save::Done(_) => {
                self.end_save(save);
                Ok(true)
            }
            Save::Changed => match self.adopt().await? {
                true => Err(Trouble::Passing("the reply to a save was lost".to_owned())),
                false => Ok(false),
            },
            Save::Failed(error) => {
                Err(self
                    .connection
                    .unanswered(Request::Checkpoint, None, &error))
            }
        }
    }

    /// Records that everything up to `token` is in the stream, whose last sequence is `sequence`.
    pub(super) fn record(&mut self, token: ResumeToken, sequence: u64, moved: Moved) {
        if let Some((current, _)) = &self.current
            && (*current == token || !token.is_after(current))
        {
            // A server that sends events out of order must not make the next run repeat others.
            if let Some((_, saved)) = &mut self.current {
                *saved = sequence;
            }
            return;
        }
        self.current = Some((token, sequence));
        self.make_due(moved);
    }

    /// Records how far the snapshot has come with what is in the stream.
    pub(super) fn record_snapshot(&mut self, progress: SnapshotProgress) {
        self.snapshot = Some(progress);
        self.make_due(Moved::ByEvent);
    }

    /// Records that the message `sequence` of another writer took the place of an event.
    pub(super) fn record_broken(&mut self, sequence: u64) {
        self.broken_at = Some(sequence);
        self.due = Some(Instant::now());
    }

    fn make_due(&mut self, moved: Moved) {
        let interval = match moved {
            Moved::ByEvent => self.save_interval,
            Moved::ByEmptyReply => IDLE_SAVE_INTERVAL,
        };
        let now = Instant::now();
        let due = self.saved_at.map_or(now, |saved_at| saved_at + interval);
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Returns when the next save is due; `None` if everything is saved.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Starts to save the newest checkpoint; `None` if there is none, or no connection.
    pub(super) fn begin_save(&mut self) -> Option<Saving> {
        if self.connection.outage().is_some() {
            self.retry_later();
            return None;
        }
        self.due = None;
        self.saved_at = Some(Instant::now());
        let (token, sequence) = self.current.as_ref()?;
        let value = match self.value(token, *sequence) {
            Ok(value) => value,
            Err(error) => return Some(Box::pin(async move { Save::Failed(error.to_string()) })),
        };
        self.attempted.push(value.clone());
        let (store, revision) = (self.store.clone(), self.revision);
        Some(Box::pin(async move {
            match store.update(KEY, value, revision).await {
                Ok(revision) => Save::Done(revision),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Save::Changed,
                Err(error) => Save::Failed(error.to_string()),
            }
        }))
    }

    fn value(&self, token: &ResumeToken, sequence: u64) -> io::Result<Bytes> {
        let head = Head::new(sequence, self.first.as_ref(), self.broken_at)?;
        head.followed_by(&self.owner.text(token, self.snapshot.clone(), None)?)
    }

    /// Records how a save ended, and returns true; false if another writer changed the key, which [`Self::adopt`] then looks at.
    pub(super) fn end_save(&mut self, save: Save) -> bool {
        self.telemetry.saved(matches!(save, Save::Done(_)));
        match save {
            Save::Done(revision) => {
                self.revision = revision;
                self.attempted.clear();
                if std::mem::take(&mut self.has_failed) {
                    tracing::info!(
                        "the checkpoint in bucket {} can be saved again",
                        self.connection.config.bucket()
                    );
                }
            }
            Save::Changed => {
                self.retry_later();
                return false;
            }
            Save::Failed(error) => {
                self.retry_later();
                // An outage is reported by what it stops.
                if self.connection.outage().is_none()
                    && !std::mem::replace(&mut self.has_failed, true)
                {
                    tracing::warn!(
                        "cannot save the checkpoint to bucket {}, retrying: {error}",
                        self.connection.config.bucket()
                    );
                }
            }
        }
        true
    }

    fn retry_later(&mut self) {
        self.due = Some(Instant::now() + RETRY_INTERVAL);
    }

    /// Takes the revision of the key if its value is one that this process wrote and got no reply for. Otherwise another writer wrote it, and
    /// the result is false.
    ///
    /// # Errors
    /// The reason why the key cannot be read.
    pub(super) async fn adopt(&mut self) -> Result<bool, Trouble> {
        let entry = self.entry().await?;
        let is_own = match &entry {
            Some((_, value)) => self.attempted.contains(value),
            // The bucket was emptied.
            None => true,
        };
        if is_own {
            self.revision = entry.map_or(0, |(revision, _)| revision);
        }
        Ok(is_own)
    }

    /// Saves the newest checkpoint at the end, if it is not saved yet, after `saving`, a save under way.
    pub(super) async fn save_last(&mut self, saving: Option<Saving>) {
        if let Some(saving) = saving
            && let Ok(save) = tokio::time::timeout(LAST_SAVE_TIMEOUT, saving).await
        {
            self.end_save(save);
        }
        if self.due.is_none() {
            return;
        }
        let Some(saving) = self.begin_save() else {
            return;
        };
        match tokio::time::timeout(LAST_SAVE_TIMEOUT, saving).await {
            Ok(save) => drop(self.end_save(save)),
            // The last message holds a checkpoint too.
            Err(_) => tracing::debug!("the last checkpoint was not saved in time"),
        }
    }
}

async fn create(connection: &Connection) -> Result<Store, Trouble> {
    let config = &connection.config;
    let wanted = Config {
        bucket: config.bucket(),
        description: "checkpoint and lease of cswatch".to_owned(),
        history: 1,
        storage: StorageType::File,
        num_replicas: config.replicas.into(),
        ..Config::default()
    };
    let created = connection.jetstream.create_key_value(wanted).await;
    created.map_err(|error| {
        let text = match std::error::Error::source(&error) {
            Some(source) if error.kind() != CreateKeyValueErrorKind::TimedOut => source.to_string(),
            _ => error.to_string(),
        };
        connection.unanswered(Request::Create, None, &text)
    })
}
