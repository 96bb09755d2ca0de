//! The files of a watch: opened, checked and locked before cswatch connects, or right after where the deployment decides.

use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, ResumeFile, default_file};
use crate::config::{Config, ResumePath};
use crate::error::Failure;
use crate::sink::{self, Output, OutputFile};
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
    /// `None` with `--no-resume`.
    pub(super) resume_file: Option<ResumeFile>,
    /// The checkpoint in the resume file.
    pub(super) saved: Option<Checkpoint>,
    /// Where the lines go.
    pub(super) output: Output,
}

impl Files {
    /// Opens what does not depend on the deployment, and checks the rest as far as possible.
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
    /// As [`Files::open`].
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
                let mark = saved.as_ref().and_then(|saved| saved.output.as_ref());
                let (file, newest_token) = OutputFile::open(path, mark)?;
                if let (Some(saved), Some(newest_token)) = (&mut saved, newest_token) {
                    saved.token = newest_token;
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
