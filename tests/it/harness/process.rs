//! The real binary, where the process itself is what a test is about.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::{BASE, PATIENCE, SECRET_VARIABLE, secret, write_settings};

/// The binary, with an environment that holds nothing of the machine's but the path.
pub fn flowgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowgate"));
    command.args(arguments).env_clear();
    command
}

/// Runs a command that ends by itself.
pub fn run(arguments: &[&str]) -> Output {
    flowgate(arguments).stdin(Stdio::null()).output().unwrap()
}

/// A running `flowgate serve`; killed with this value.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    pub public: SocketAddr,
    pub internal: SocketAddr,
    /// Its first line said so.
    pub is_tls: bool,
    _folder: tempfile::TempDir,
}

impl Process {
    /// `serve` with these settings above [`BASE`], once it listens.
    pub fn serve(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = flowgate(&["serve"]);
        for path in write_settings(folder.path(), &[BASE, settings]) {
            command.arg("--config").arg(path);
        }
        Self::start(command.env(SECRET_VARIABLE, secret()), folder)
    }

    /// `serve` with these settings files, its log in a file.
    pub fn serve_logging(settings: &[PathBuf], log: &Path) -> Self {
        let mut command = flowgate(&["serve"]);
        for path in settings {
            command.arg("--config").arg(path);
        }
        command.env(SECRET_VARIABLE, secret()).stderr(File::create(log).unwrap());
        Self::listening(&mut command, tempfile::tempdir().unwrap())
    }

    /// `serve --dev` on free ports.
    pub fn serve_dev() -> Self {
        let arguments = ["serve", "--dev", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"];
        Self::start(&mut flowgate(&arguments), tempfile::tempdir().unwrap())
    }

    fn start(command: &mut Command, folder: tempfile::TempDir) -> Self {
        Self::listening(command.stderr(Stdio::piped()), folder)
    }

    fn listening(command: &mut Command, folder: tempfile::TempDir) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        // Read so that the process never waits for it.
        if let Some(mut stderr) = child.stderr.take() {
            std::thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
        }
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut process =
            Process { child, lines, public: unknown, internal: unknown, is_tls: false, _folder: folder };
        let line = process.line();
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}"));
        process.is_tls = url.starts_with("https://");
        let (_, address) = url.split_once("://").unwrap();
        process.public = address.parse().unwrap();
        process.internal = process.address("internal on http://");
        process
    }

    fn address(&self, words: &str) -> SocketAddr {
        let line = self.line();
        line.strip_prefix(words).unwrap_or_else(|| panic!("{line:?} instead of {words}")).parse().unwrap()
    }

    /// The next line on standard output.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line on standard output")
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("/bin/sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Waits for the exit code; `None` is a death by signal.
    pub fn exit_code(&mut self) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < PATIENCE, "the process does not exit");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
