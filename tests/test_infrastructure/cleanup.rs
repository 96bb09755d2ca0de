//! Cleanup of processes and files after a test run that was killed.

use std::env;
use std::io::{BufRead, BufReader, pipe};
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use testkit::deadline::{DEADLINE, poll};
use testkit::guard::Process;
use testkit::mongod::Mongod;
use testkit::mongod_binary::MongodBinary;

/// Environment variable that is set for the test binary that is killed.
const VICTIM: &str = "MONGOD_TEST_VICTIM";

#[test]
fn removes_servers_and_data_of_a_killed_test_binary() {
    if env::var_os(VICTIM).is_some() {
        let mongod = Mongod::start(MongodBinary::found(), &[]);
        // The hardest process to end: while it is stopped, only SIGKILL has an effect.
        mongod.freeze();
        println!(
            "\n{VICTIM} {} {}",
            mongod.port(),
            mongod.directory().display()
        );
        loop {
            thread::park();
        }
    }
    let (stdout, writer) = pipe().expect("a pipe");
    let (_, module) = module_path!()
        .split_once("::")
        .expect("a module below the crate");
    let test_binary = env::current_exe().expect("the test binary");
    let mut victim = Process::spawn(&test_binary, |command| {
        let name = format!("{module}::removes_servers_and_data_of_a_killed_test_binary");
        command.args(["--exact", &name, "--nocapture"]);
        command.env(VICTIM, "1").stdout(writer);
    })
    .expect("the test binary starts again");
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let line = lines.find(|line| line.starts_with(VICTIM));
    let line = line.expect("a line from the victim");
    let mut words = line.splitn(3, ' ').skip(1);
    let port: u16 = words
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let directory = words.next().expect("a directory");
    TcpStream::connect(("127.0.0.1", port)).expect("a server that listens");
    victim.kill();
    let gone =
        || TcpStream::connect(("127.0.0.1", port)).is_err() && !Path::new(directory).exists();
    assert!(
        poll(DEADLINE, || gone().then_some(())).is_some(),
        "still exists: {line}"
    );
}
