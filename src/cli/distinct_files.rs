//! Files of a watch that must not be the same: what is written to one must not damage another. Looks at metadata only; opens nothing.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::files;
use crate::platform::{self, FileId};

use super::WatchArgs;

/// Maximum number of symbolic links that are followed to a file that does not exist yet, as on Linux (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Endings of names that cswatch gives to files next to a resume file, besides hidden ones: `.NAME.` and more.
const COMPANION_ENDINGS: [&str; 2] = [".lock", ".heartbeat"];

/// What a watch does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Reads it at the start.
    Input,
    /// Appends events or messages to it.
    Output,
    /// Replaces it, and keeps files next to it.
    ResumeFile,
}

/// A file and how the user named it.
struct NamedFile {
    /// The flag with its value, or `stdout` or `stderr`.
    shown: String,
    used_as: Use,
    location: Option<Location>,
    id: Option<FileId>,
}

/// Where a file is or will be, with symbolic links followed.
struct Location {
    directory: PathBuf,
    directory_id: Option<FileId>,
    name: OsString,
}

/// The files that a command line names.
pub(super) struct NamedFiles(Vec<NamedFile>);

impl NamedFiles {
    /// Collects the files given by flags, stdout if events go there, and stderr.
    pub(super) fn of(args: &WatchArgs) -> Self {
        let mut files = Self(Vec::new());
        let stderr = platform::stderr_file().ok();
        let stdout = platform::stdout_file().ok();
        files
            .0
            .extend(NamedFile::of_stream("stderr", stderr.as_ref()));
        match &args.output.output {
            Some(path) => files.push("--output", path, Use::Output),
            // The entry of stderr is about this file too.
            None if args.delivers_to_nats() => {}
            None if overwrite_nothing(stdout.as_ref(), stderr.as_ref()) => {}
            None => files
                .0
                .extend(NamedFile::of_stream("stdout", stdout.as_ref())),
        }
        if let Some(path) = &args.checkpoint.resume_file {
            files.push("--resume-file", path, Use::ResumeFile);
        }
        #[cfg(feature = "nats")]
        {
            let nats = &args.nats;
            for (flag, path) in [
                ("--nats-creds", &nats.nats_creds),
                ("--nats-ca", &nats.nats_ca),
            ] {
                if let Some(path) = path {
                    files.push_input(flag, path);
                }
            }
            if let Some(path) = &nats.nats_health_file {
                files.push("--nats-health-file", path, Use::ResumeFile);
            }
        }
        if let Some(path) = &args.connection.uri_file {
            files.push_input("--uri-file", path);
        }
        let pipeline = args.filter.pipeline.as_deref();
        if let Some(path) = pipeline.and_then(|text| text.strip_prefix('@')) {
            files.push_input("--pipeline", Path::new(path));
        }
        files
    }

    /// Adds a file that `flag` names, which is only read.
    pub(super) fn push_input(&mut self, flag: &str, path: &Path) {
        self.push(flag, path, Use::Input);
    }

    fn push(&mut self, flag: &str, path: &Path, used_as: Use) {
        self.0.push(NamedFile {
            shown: format!(
                "{flag} {}",
                crate::config::redacted(&path.to_string_lossy())
            ),
            used_as,
            location: Location::of(path),
            id: platform::file_id_at(path).ok(),
        });
    }

    /// Checks that no file is written that has another use.
    ///
    /// # Errors
    /// Exit code 2 with both names.
    pub(super) fn ensure_distinct(&self) -> Result<(), Failure> {
        for (index, file) in self.0.iter().enumerate() {
            for other in &self.0[..index] {
                file.ensure_distinct(other)?;
                other.ensure_apart_from_companions(file)?;
                file.ensure_apart_from_companions(other)?;
            }
        }
        Ok(())
    }
}

impl NamedFile {
    /// Returns `stream` if it is a regular file.
    fn of_stream(name: &str, stream: Option<&File>) -> Option<Self> {
        let stream = stream?;
        stream.metadata().ok().filter(fs::Metadata::is_file)?;
        Some(Self {
            shown: name.to_owned(),
            used_as: Use::Output,
            location: None,
            id: platform::file_id(stream).ok(),
        })
    }

    fn ensure_distinct(&self, other: &Self) -> Result<(), Failure> {
        let is_same_place = match (&self.location, &other.location) {
            (Some(location), Some(other)) => location.is_same(other),
            _ => false,
        };
        let is_harmless = self.used_as == Use::Input && other.used_as == Use::Input;
        if is_harmless || !(is_same_place || is_same_id(self.id, other.id)) {
            return Ok(());
        }
        let hint = match (&*other.shown, &*self.shown) {
            ("stderr", "stdout") => "give each a file of its own, or use 2>&1",
            _ => "give each a file of its own",
        };
        Err(Failure::usage(format!(
            "{} and {} are the same file",
            other.shown, self.shown
        ))
        .hint(hint))
    }

    /// Fails if this is a resume file, and `other` is one of the files that cswatch keeps next to it.
    fn ensure_apart_from_companions(&self, other: &Self) -> Result<(), Failure> {
        let Some(location) = &self.location else {
            return Ok(());
        };
        if self.used_as != Use::ResumeFile || !location.has_companion(other) {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "{} has the name of a lock, heartbeat or temporary file of {}",
            other.shown, self.shown
        ))
        .hint("give each a file of its own"))
    }
}

impl Location {
    /// Returns the location that `path` leads to; `None` if it has no file name.
    fn of(path: &Path) -> Option<Self> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Ok(target) = fs::read_link(&path) else {
                break;
            };
            path = files::parent_dir(&path).join(target);
        }
        let name = path.file_name()?.to_owned();
        let directory = files::parent_dir(&path);
        let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        Some(Self {
            directory_id: platform::file_id_at(&directory).ok(),
            directory,
            name,
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.is_in_same_directory(other) && is_same_name(&self.name, &other.name)
    }

    fn is_in_same_directory(&self, other: &Self) -> bool {
        // A directory may have several paths: bind mounts.
        self.directory == other.directory || is_same_id(self.directory_id, other.directory_id)
    }

    /// Returns whether `file` is, or is named like, a file that cswatch keeps next to this resume file.
    fn has_companion(&self, file: &NamedFile) -> bool {
        let is_named_so = |location: &Location| {
            self.is_in_same_directory(location) && self.is_companion_name(&location.name)
        };
        if file.location.as_ref().is_some_and(is_named_so) {
            return true;
        }
        // Another name of such a file: a hard link.
        file.id.is_some()
            && fs::read_dir(&self.directory).is_ok_and(|entries| {
                entries
                    .flatten()
                    .filter(|entry| self.is_companion_name(&entry.file_name()))
                    .any(|entry| is_same_id(platform::file_id_at(&entry.path()).ok(), file.id))
            })
    }

    fn is_companion_name(&self, name: &OsStr) -> bool {
        let own_name = self.name.to_string_lossy();
        let is_hidden = name.to_string_lossy().starts_with(&format!(".{own_name}."));
        is_hidden
            || COMPANION_ENDINGS
                .iter()
                .any(|ending| is_same_name(name, format!("{own_name}{ending}").as_ref()))
    }
}

/// Returns whether stdout and stderr are one regular file to which each is written after the other: both append, as with `>> FILE 2>> FILE`,
/// or they share an offset, as with `> FILE 2>&1`. Otherwise each would overwrite the other.
fn overwrite_nothing(stdout: Option<&File>, stderr: Option<&File>) -> bool {
    let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
        return false;
    };
    is_same_id(
        platform::file_id(stdout).ok(),
        platform::file_id(stderr).ok(),
    ) && stdout.metadata().is_ok_and(|metadata| metadata.is_file())
        && (platform::is_append(stdout) && platform::is_append(stderr)
            || platform::shares_offset(stdout, stderr).unwrap_or(false))
}

fn is_same_id(one: Option<FileId>, other: Option<FileId>) -> bool {
    one.is_some() && one == other
}

fn is_same_name(one: &OsStr, other: &OsStr) -> bool {
    // File systems there ignore case by default.
    match cfg!(any(windows, target_os = "macos")) {
        true => one.eq_ignore_ascii_case(other),
        false => one == other,
    }
}
