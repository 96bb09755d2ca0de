//! A library that replaces functions of the C library in a process, for faults that no file system here has.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::cswatch::Cswatch;
use crate::guard;

/// Functions written in C, compiled. Its file is removed when dropped.
pub struct Preload(TempDir);

impl Preload {
    /// Compiles `source` with `cc`.
    ///
    /// # Panics
    /// When there is no C compiler, or `source` is not C.
    #[track_caller]
    pub fn compile(source: &str) -> Preload {
        let preload = Preload(guard::temp_dir("preload-"));
        let file = preload.0.path().join("preload.c");
        std::fs::write(&file, source).expect("a source file");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([preload.library().as_path(), &file])
            .status();
        let status = compiled.expect("a C compiler, named cc, is needed");
        assert!(status.success(), "cc compiles the library");
        preload
    }

    /// Makes `cswatch` call these functions in place of the C library's.
    pub fn preloaded(&self, cswatch: Cswatch) -> Cswatch {
        cswatch.env("LD_PRELOAD", self.library())
    }

    fn library(&self) -> std::path::PathBuf {
        Path::join(self.0.path(), "preload.so")
    }
}
