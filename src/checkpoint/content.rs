//! The text of a resume file: a checkpoint, the stream that it belongs to, and a checksum.

use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::StreamSpec;
use crate::deployment::DeploymentId;
use crate::snapshot::SnapshotProgress;
use crate::text;
use crate::token::ResumeToken;

/// Version of the file's format. A file of a newer format is refused, because its fields could be misread.
const FORMAT_VERSION: u32 = 3;

/// Version of the format of a file without a snapshot, which an older cswatch reads too.
const FORMAT_WITHOUT_SNAPSHOT: u32 = 2;

/// Value of the field `program`, which distinguishes the file from another tool's.
const PROGRAM: &str = "cswatch";

/// The text between the fields and their checksum.
const CHECKSUM_FIELD: &str = ",\"checksum\":\"";

/// State of the output file when the checkpoint was saved. Lines beyond its length came after the checkpoint's token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputMark {
    /// Bytes written, up to and including the line of the token.
    pub length: u64,
    /// SHA-256 (hex) of the last bytes before `length`, to detect an edit.
    pub tail: String,
}

/// A checkpoint: a resume token, and what it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The token to resume after.
    pub token: ResumeToken,
    /// State of the output file, if there is one.
    pub output: Option<OutputMark>,
    /// The deployment that it belongs to.
    pub deployment: DeploymentId,
    /// How far the snapshot has come; `None` if the watch began without one.
    pub(crate) snapshot: Option<SnapshotProgress>,
    /// Whether it was saved with the filter and options of this run.
    pub same_filter: bool,
}

impl Checkpoint {
    /// Reads a checkpoint, saved as the text of a resume file, for a stream of this scope and fingerprint.
    ///
    /// # Errors
    /// When the text is damaged, was not written by cswatch, has a newer format, or belongs to another scope.
    pub(crate) fn parse(text: &[u8], scope: &str, fingerprint: &str) -> Result<Self, Invalid> {
        let content = parse(text).map_err(Invalid::Damaged)?;
        let token = ResumeToken::parse(&content.token.to_string())
            .map_err(|error| Invalid::Damaged(format!("holds no valid resume token: {error}")))?;
        if content.scope != scope {
            return Err(Invalid::OtherScope(content.scope));
        }
        Ok(Self {
            token,
            output: content.output,
            deployment: content.deployment,
            snapshot: content.snapshot,
            same_filter: content.fingerprint == fingerprint,
        })
    }
}

/// Why a text is not a checkpoint of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// It is not a checkpoint, in one clause.
    Damaged(String),
    /// It was saved for this scope.
    OtherScope(String),
}

impl Invalid {
    /// Returns what a message says about it, where `scope` is that of the stream.
    pub(crate) fn reason(&self, scope: &str) -> String {
        match self {
            Self::Damaged(why) => why.clone(),
            Self::OtherScope(saved) => {
                format!("belongs to another stream: it was saved for {saved}, this is {scope}")
            }
        }
    }
}

/// The stream that a checkpoint belongs to, as it is saved.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    /// The scope.
    pub(crate) scope: String,
    /// The fingerprint of filter and options.
    pub(crate) fingerprint: String,
    /// The deployment.
    pub(crate) deployment: DeploymentId,
}

impl Owner {
    /// Returns the owner of checkpoints of `stream`, of a deployment that is not known yet.
    pub(crate) fn of(stream: &StreamSpec) -> Self {
        Self {
            scope: stream.scope_id(),
            fingerprint: stream.fingerprint(),
            deployment: DeploymentId::default(),
        }
    }

    /// Returns a checkpoint as the text of a resume file.
    ///
    /// # Errors
    /// When the token is not valid BSON.
    pub(crate) fn text(
        &self,
        token: &ResumeToken,
        snapshot: Option<SnapshotProgress>,
        output: Option<OutputMark>,
    ) -> io::Result<String> {
        let token_text = token.to_extended_json().map_err(io::Error::other)?;
        let time = token.time();
        let content = Content {
            version: match snapshot {
                Some(_) => FORMAT_VERSION,
                None => FORMAT_WITHOUT_SNAPSHOT,
            },
            program: PROGRAM.to_owned(),
            deployment: self.deployment.clone(),
            scope: self.scope.clone(),
            fingerprint: self.fingerprint.clone(),
            token: serde_json::from_str(&token_text)?,
            time: Time {
                t: time.time,
                i: time.increment,
            },
            output,
            snapshot,
            saved: jiff::Timestamp::now().to_string(),
        };
        let mut body = text::escaped_json(&serde_json::to_string(&content)?).into_owned();
        body.pop();
        let checksum = checksum(&body);
        Ok(format!("{body}{CHECKSUM_FIELD}{checksum}\"}}\n"))
    }
}

/// The file's fields. The field `checksum` follows them and covers their text.
#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    program: String,
    #[serde(flatten)]
    deployment: DeploymentId,
    scope: String,
    fingerprint: String,
    token: serde_json::Value,
    time: Time,
    output: Option<OutputMark>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<SnapshotProgress>,
    saved: String,
}

/// A cluster time, for people who open the file.
#[derive(Serialize, Deserialize)]
struct Time {
    t: u32,
    i: u32,
}

/// Returns the scope that a resume file with this text was saved for; `None` if the text is damaged.
pub(super) fn scope_of(text: &[u8]) -> Option<String> {
    parse(text).ok().map(|content| content.scope)
}

/// Returns why a watch would refuse a resume file with this text, in one clause; `None` if the file is intact. For `cswatch token`, which
/// prints the token of a damaged file too.
pub(crate) fn damage(text: &[u8]) -> Option<String> {
    parse(text).err()
}

/// Parses the text of a resume file, or returns in one clause why it is invalid. The checksum is needed because the server accepts
/// tokens that were cut or extended.
fn parse(text: &[u8]) -> Result<Content, String> {
    let text = std::str::from_utf8(text).map_err(|_| "is damaged: not UTF-8".to_owned())?;
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let foreign = || "was not written by cswatch, or is damaged".to_owned();
    let (body, rest) = text.rsplit_once(CHECKSUM_FIELD).ok_or_else(foreign)?;
    #[derive(Deserialize)]
    struct Head {
        version: u32,
        program: String,
    }
    let json = format!("{body}}}");
    if let Ok(head) = serde_json::from_str::<Head>(&json)
        && head.program == PROGRAM
        && head.version > FORMAT_VERSION
    {
        return Err(format!(
            "was written by a newer cswatch: format {}, this version reads {FORMAT_VERSION}",
            head.version
        ));
    }
    if rest.trim_end() != format!("{}\"}}", checksum(body)) {
        return Err("is damaged: its checksum does not match its content".to_owned());
    }
    let content: Content =
        serde_json::from_str(&json).map_err(|error| format!("is damaged: {error}"))?;
    if content.program != PROGRAM {
        return Err(foreign());
    }
    Ok(content)
}

fn checksum(body: &str) -> String {
    const_hex::encode(Sha256::digest(body))
}
