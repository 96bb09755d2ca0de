//! Reads a part of a collection with one command. It is complete by its reply, without a cursor that could be lost: after a failover another
//! server goes on where the last document was.

use std::pin::pin;

use bson::raw::cstr;
use bson::{Document, RawDocumentBuf, Timestamp};
use futures::StreamExt as _;
use mongodb::error::Error;

use crate::snapshot::{Collection, LineForm, Lines, key};
use crate::source::classify;
use crate::source::connection::Connection;
use crate::source::owner::Closing;
use crate::source::watchdog::{RequestTracker, Unanswered};

use super::commands::{Commands, Part, Stages, Types};
use super::reply::Reply;
use super::results::ResultLines;

/// Reads parts of collections.
#[derive(Debug)]
pub(super) struct Reader {
    connection: Connection,
    commands: Commands,
    /// The boundary of the next part.
    ahead: Option<Boundary>,
}

/// The end of a part, searched while the part before was read.
#[derive(Debug)]
struct Boundary {
    collection: Collection,
    /// The key of the last document before the part.
    after: RawDocumentBuf,
    /// The number of documents up to the end.
    limit: u32,
    /// The key of the last document of the part.
    last: RawDocumentBuf,
}

/// Where the documents that were read end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// There may be more.
    Open,
    /// There are no more with a key of this type.
    Type,
    /// There are no more.
    Collection,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) lines: Lines,
    /// The number of documents that were read, whether they passed the filter or not.
    pub(super) documents: u64,
    /// The key of the last document that was read, whether it passed the filter or not; `None` if there was none.
    pub(super) last: Option<RawDocumentBuf>,
    pub(super) ending: Ending,
    /// The time of the deployment.
    pub(super) time: Timestamp,
}

/// Why nothing was read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The collection has another name now, or none in its database.
    Moved(Option<String>),
    /// The driver's error. With the key of the document, if it was only one.
    Failed(Error, Option<RawDocumentBuf>),
    /// The stages changed the `_id` of a line, or a document has none.
    ChangedId,
    /// No reply will come.
    Unanswered(Unanswered),
}

impl From<Unanswered> for ReadError {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

impl Reader {
    /// Creates a reader of the documents that `query` finds, which applies these stages of the filter.
    pub(super) fn new(
        connection: Connection,
        query: Option<Document>,
        stages: Vec<Document>,
    ) -> Self {
        Self {
            connection,
            commands: Commands::new(query, stages),
            ahead: None,
        }
    }

    /// Returns whether documents pass through stages, which may fail on one.
    pub(super) fn has_stages(&self) -> bool {
        !matches!(self.commands.stages(), Stages::None)
    }

    /// Reads documents in the order of `_id`.
    ///
    /// # Errors
    /// The reason why there is no complete reply.
    pub(super) async fn read(&mut self, part: Part<'_>) -> Result<Read, ReadError> {
        match self.commands.stages() {
            Stages::None => self.find(part).await,
            Stages::Match(_) | Stages::Any(_) => self.aggregate(part).await,
        }
    }

    async fn find(&self, part: Part<'_>) -> Result<Read, ReadError> {
        let is_of_one_type = part.is_of_one_type();
        let reply = self.run(part, self.commands.find(part)).await?;
        let (is_cut, time) = (reply.is_cut(), reply.time);
        let documents = reply.into_documents()?;
        Ok(Read {
            documents: documents.len() as u64,
            ending: match (
                is_cut || documents.len() == part.limit as usize,
                is_of_one_type,
            ) {
                (true, _) => Ending::Open,
                (false, true) => Ending::Type,
                (false, false) => Ending::Collection,
            },
            last: documents.last_key(),
            lines: Lines::Documents(LineForm::new(part.token, part.collection), documents),
            time,
        })
    }

    /// Reads the documents up to a boundary, which is searched first: the reply does not show which documents did not pass the stages.
    async fn aggregate(&mut self, part: Part<'_>) -> Result<Read, ReadError> {
        let ahead = self.ahead.take().filter(|ahead| ahead.is_of(part));
        let (boundary, limit) = match ahead {
            Some(ahead) => (Some(ahead.last), ahead.limit),
            None => (self.boundary(part).await?, part.limit),
        };
        let failed = |error| match error {
            ReadError::Failed(error, _) if part.limit == 1 => {
                ReadError::Failed(error, boundary.clone())
            }
            error => error,
        };
        let aggregate = self.commands.aggregate(part, boundary.as_deref(), limit);
        let reading = self.run(part, aggregate);
        let (reply, ahead) = futures::join!(reading, self.boundary_after(part, boundary.clone()));
        let reply = reply.map_err(failed)?;
        self.ahead = ahead;
        let (is_cut, time) = (reply.is_cut(), reply.time);
        let (lines, last) = match self.commands.stages() {
            Stages::Any(_) => {
                let builder = ResultLines::new(part.token, part.collection);
                let mut last = None;
                let lines = reply.documents()?.into_iter().map(|result| {
                    let (line, key) = builder.line(result)?;
                    last = Some(key);
                    Some(line)
                });
                let lines = lines.collect::<Option<_>>().ok_or(ReadError::ChangedId)?;
                (Lines::Results(lines), last)
            }
            Stages::None | Stages::Match(_) => {
                let documents = reply.into_documents()?;
                let last = documents.last_key();
                let form = LineForm::new(part.token, part.collection);
                (Lines::Documents(form, documents), last)
            }
        };
        Ok(Read {
            documents: match (&boundary, is_cut) {
                (Some(_), false) => limit.into(),
                // Those that did not pass are unknown.
                _ => lines.len() as u64,
            },
            lines,
            ending: match is_cut || boundary.is_some() {
                true => Ending::Open,
                false => Ending::Collection,
            },
            last: match is_cut {
                true => last,
                false => boundary.or(last),
            },
            time,
        })
    }

    /// Searches the boundary of the part that follows `part` up to `last`; `None` if it is to be searched when that part is read.
    async fn boundary_after(
        &self,
        part: Part<'_>,
        last: Option<RawDocumentBuf>,
    ) -> Option<Boundary> {
        let after = last?;
        let next = Part {
            after: Some(&after),
            types: Types::OneSuffices,
            ..part
        };
        // The end of the collection may have moved until then.
        let last = self.boundary(next).await.ok()??;
        Some(Boundary {
            collection: part.collection.clone(),
            after,
            limit: part.limit,
            last,
        })
    }

    /// Returns the key of the last document of `part`; `None` if the collection ends within it.
    async fn boundary(&self, part: Part<'_>) -> Result<Option<RawDocumentBuf>, ReadError> {
        let find = self.commands.find_last_key(part);
        let reply = self.run(part, find).await?;
        match reply
            .documents()?
            .last()
            .and_then(|document| key::of(document))
        {
            None if part.is_of_one_type() => {
                let types = Types::All;
                Box::pin(self.boundary(Part { types, ..part })).await
            }
            boundary => Ok(boundary),
        }
    }

    /// Stops using options that the server does not know, if `error` may be about one. Returns whether it did.
    pub(super) fn simplify(&mut self, error: &Error) -> bool {
        self.commands.simplify(error)
    }

    /// Runs a command, and returns its only reply.
    async fn run(&self, part: Part<'_>, mut command: RawDocumentBuf) -> Result<Reply, ReadError> {
        let connection = &self.connection;
        let requests = RequestTracker::default();
        let mut closing = Closing::new(connection, &requests);
        command.append(cstr!("comment"), closing.comment());
        let db = connection.client.database(&part.collection.db);
        let run = async {
            let run = db.run_raw_cursor_command(command);
            let run = match connection.criteria() {
                Some(criteria) => run.selection_criteria(criteria),
                None => run,
            };
            // The first reply is there. Dropped with more to come, the cursor is closed.
            let batch = run.batch().await?.next().await;
            batch.unwrap_or_else(|| Err(Error::custom("the server sent no reply".to_owned())))
        };
        let reply = requests
            .await_reply(
                &connection.pool_events,
                pin!(requests.track(run)),
                connection.selection_timeout + part.timeout,
                async |_| false,
            )
            .await?;
        closing.answered(&reply);
        match reply {
            Ok(batch) => Ok(Reply::new(batch, part.time)),
            Err(error) if classify::code(&error) == Some(classify::COLLECTION_UUID_MISMATCH) => {
                let reply = error.server_response();
                let name = reply.and_then(|reply| reply.get_str("actualCollection").ok());
                Err(ReadError::Moved(name.map(ToOwned::to_owned)))
            }
            Err(error) => Err(ReadError::Failed(error, None)),
        }
    }
}

impl Boundary {
    /// Returns whether it is the end of `part`, or an earlier one.
    fn is_of(&self, part: Part<'_>) -> bool {
        self.collection == *part.collection
            && Some(&*self.after) == part.after
            && self.limit <= part.limit
    }
}
