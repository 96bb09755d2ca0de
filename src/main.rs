//! The `cswatch` program. Everything is in the library, which benchmarks and fuzz targets use too.

use std::process::ExitCode;

fn main() -> ExitCode {
    cswatch::run()
}
