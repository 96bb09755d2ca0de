//! A pseudo-terminal, for output that differs on a terminal.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::deadline::DEADLINE;
use crate::transcript::Transcript;

/// The controlling side of a pseudo-terminal, which receives the output.
pub struct Terminal {
    keyboard: File,
    screen: Arc<Transcript>,
}

impl Terminal {
    /// Opens a terminal with this number of columns. Returns it and the side that a process writes to.
    pub fn open(columns: u16) -> (Terminal, File) {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&screen).expect("access to the other side");
        unlockpt(&screen).expect("its other side can be unlocked");
        let name = ptsname(&screen, Vec::new()).expect("its other side has a name");
        // It must not become the controlling terminal of the test run, nor be inherited by a process that another test starts at the same
        // time, which would hold it open.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let written = open(name, flags, Mode::empty());
        let written = written.expect("its other side can be opened");
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&written, size).expect("it can be sized");
        let mut modes = tcgetattr(&written).expect("it has modes");
        // Otherwise the terminal adds a carriage return before each newline.
        modes.output_modes.remove(OutputModes::OPOST);
        tcsetattr(&written, OptionalActions::Now, &modes).expect("its modes can be set");
        let screen = File::from(screen);
        let keyboard = screen.try_clone().expect("another handle of the terminal");
        let screen = Transcript::read(screen, None);
        (Terminal { keyboard, screen }, File::from(written))
    }

    /// Types this text.
    pub fn type_keys(&self, text: &str) {
        let mut keyboard = &self.keyboard;
        keyboard.write_all(text.as_bytes()).expect("keys");
    }

    /// Waits until `part` was written to it, and returns all output up to then.
    #[track_caller]
    pub fn expect(&self, part: &str) -> String {
        let found = self.screen.wait_for(Instant::now() + DEADLINE, |text| {
            let shown = text.shown();
            shown.contains(part).then_some(shown)
        });
        match found {
            Some(shown) => shown,
            None => panic!("{part:?} was not shown\n{:?}", self.screen.text().shown()),
        }
    }

    /// Returns all output after every process has closed its side.
    #[track_caller]
    pub fn shown(&self) -> String {
        self.wait_closed();
        self.screen.text().shown()
    }

    /// Returns all lines after every process has closed its side.
    #[track_caller]
    pub fn lines(&self) -> Vec<String> {
        self.wait_closed();
        let text = self.screen.text();
        let lines = text.lines.iter();
        lines
            .map(|line| String::from_utf8(line.clone()).expect("UTF-8"))
            .collect()
    }

    #[track_caller]
    fn wait_closed(&self) {
        let closed = self
            .screen
            .wait_for(Instant::now() + DEADLINE, |text| text.closed.then_some(()));
        assert!(closed.is_some(), "a process holds the terminal open");
    }
}
