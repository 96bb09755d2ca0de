//! The files of a watch: the resume file and the output, checked and locked.

use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, ResumeFile, default_file};
use crate::config::{Config, ResumePath, Start};
use crate::error::Failure;
use crate::sink::{self, Opened, Output, OutputFile};
use crate::snapshot::SnapshotProgress;
use crate::source::Deployment;

/// The files of a watch, as far as they can be opened before cswatch connects.
pub(super) enum Files {
    /// All of them, checked and locked.
    Open(Box<OpenFiles>),
    /// The default resume file depends on the deployment, and an output file on the checkpoint in it.
    Unchosen {
        /// The folder of default resume files.
        folder: PathBuf,
        /// Stdout, unless there is an output file.
        stdout: Option<Output>,
    },
}

/// The files of a watch, checked and locked.
pub(super) struct OpenFiles {
    pub(super) resume_file: Option<ResumeFile>,
    pub(super) saved: Option<Checkpoint>,
    pub(super) output: Output,
}

impl Files {
    /// Opens what can be opened before the deployment is known, and checks the rest.
    ///
    /// # Errors
    /// Exit code 5 for the resume file, 6 for the output.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        let stdout = match &config.output.file {
            Some(_) => None,
            None => Some(Output::stdout()?),
        };
        let path = match &config.resume_file {
            Some(ResumePath::Default(folder)) => {
                default_file::prepare(folder)?;
                if let Some(output) = &config.output.file {
                    sink::ensure_openable(output)?;
                }
                let folder = folder.clone();
                return Ok(Self::Unchosen { folder, stdout });
            }
            Some(ResumePath::Named(path)) => Some(path.as_path()),
            None => None,
        };
        OpenFiles::open(config, path, stdout).map(|files| Self::Open(Box::new(files)))
    }

    /// Chooses the default resume file for `deployment`, and opens what is not open yet.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn choose(
        self,
        config: &Config,
        deployment: &Deployment,
    ) -> Result<OpenFiles, Failure> {
        let (folder, stdout) = match self {
            Self::Open(files) => return Ok(*files),
            Self::Unchosen { folder, stdout } => (folder, stdout),
        };
        let now = deployment.cluster_time;
        let choice = default_file::choose(&folder, &config.stream, &deployment.identity, now)?;
        for other in choice.others {
            tracing::info!(
                "resume file {} belongs to another deployment of this name or scope",
                other.display()
            );
        }
        OpenFiles::open(config, Some(&choice.path), stdout)
    }
}

impl OpenFiles {
    /// Opens the resume file at `path` and the output file. `stdout` is the output if there is no output file.
    fn open(config: &Config, path: Option<&Path>, stdout: Option<Output>) -> Result<Self, Failure> {
        let (resume_file, mut saved) = match path {
            Some(path) => {
                let (file, saved) = ResumeFile::open(path, &config.stream)?;
                (Some(file), saved)
            }
            None => (None, None),
        };
        let output = match (&config.output.file, stdout) {
            (Some(path), _) => {
                // A start that the user chose needs no file that is gone.
                let is_start_chosen = matches!(config.start, Some(Start::After(_)));
                let is_needed = !is_start_chosen || !OutputFile::is_missing(path);
                let opened = OutputFile::open(path, saved.as_ref().filter(|_| is_needed))?;
                let Opened {
                    file,
                    newest_token,
                    snapshot,
                } = opened;
                if let (Some(saved), Some(newest_token)) = (&mut saved, newest_token) {
                    saved.token = newest_token;
                }
                if let (Some(saved), Some(position)) = (&mut saved, snapshot) {
                    saved
                        .snapshot
                        .get_or_insert(SnapshotProgress::Begun)
                        .move_to(position);
                }
                Output::File(file)
            }
            (None, Some(stdout)) => stdout,
            (None, None) => Output::stdout()?,
        };
        Ok(Self {
            resume_file,
            saved,
            output,
        })
    }
}
