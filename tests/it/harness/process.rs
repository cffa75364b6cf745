//! The real binary, where the process itself is what a test is about.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
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
    log: Arc<Mutex<String>>,
    pub public: SocketAddr,
    pub internal: SocketAddr,
    /// Its first line said so.
    pub is_tls: bool,
    _folder: tempfile::TempDir,
}

impl Process {
    /// `serve` with these settings above [`BASE`], once it listens.
    pub fn serve(settings: &str) -> Self {
        Self::serve_in(settings, &[])
    }

    /// The same with further variables in its environment.
    pub fn serve_in(settings: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = flowgate(&["serve"]);
        for path in write_settings(folder.path(), &[BASE, settings]) {
            command.arg("--config").arg(path);
        }
        command.env(SECRET_VARIABLE, secret()).envs(environment.iter().copied());
        Self::start(&mut command, folder)
    }

    /// The same with a limit to the descriptors that it may have open.
    pub fn serve_with_descriptors(settings: &str, limit: u32) -> Self {
        Self::serve_after(settings, &format!("ulimit -n {limit}"), &[])
    }

    /// The same with a limit to the size of the files that it writes, in units of 512 bytes: writing beyond it fails, as on a
    /// disk that is full.
    pub fn serve_with_little_disk(settings: &str, blocks: u32) -> Self {
        Self::serve_with_little_disk_in(settings, blocks, &[])
    }

    /// The same with further variables in its environment.
    pub fn serve_with_little_disk_in(settings: &str, blocks: u32, environment: &[(&str, &str)]) -> Self {
        Self::serve_after(settings, &format!("trap '' XFSZ && ulimit -f {blocks}"), environment)
    }

    /// The same after these words of a shell, whose process it then is.
    fn serve_after(settings: &str, words: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.env_clear().env(SECRET_VARIABLE, secret()).envs(environment.iter().copied());
        command.args(["-c", &format!("{words} && exec \"$0\" \"$@\"")]);
        command.args([env!("CARGO_BIN_EXE_flowgate"), "serve"]);
        for path in write_settings(folder.path(), &[BASE, settings]) {
            command.arg("--config").arg(path);
        }
        Self::start(&mut command, folder)
    }

    /// `serve` with these settings files or folders, and with further variables in its environment.
    pub fn serve_files(settings: &[PathBuf], environment: &[(&str, &str)]) -> Self {
        let mut command = flowgate(&["serve"]);
        for path in settings {
            command.arg("--config").arg(path);
        }
        command.env(SECRET_VARIABLE, secret()).envs(environment.iter().copied());
        Self::start(&mut command, tempfile::tempdir().unwrap())
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
        Self::serve_dev_in(&[])
    }

    /// The same with further variables in its environment.
    pub fn serve_dev_in(environment: &[(&str, &str)]) -> Self {
        let arguments = ["serve", "--dev", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"];
        let mut command = flowgate(&arguments);
        Self::start(command.envs(environment.iter().copied()), tempfile::tempdir().unwrap())
    }

    fn start(command: &mut Command, folder: tempfile::TempDir) -> Self {
        Self::listening(command.stderr(Stdio::piped()), folder)
    }

    fn listening(command: &mut Command, folder: tempfile::TempDir) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let log: Arc<Mutex<String>> = Arc::default();
        // Read all the time so that the process never waits for it.
        if let Some(stderr) = child.stderr.take() {
            let log = log.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
            });
        }
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut process =
            Process { child, lines, log, public: unknown, internal: unknown, is_tls: false, _folder: folder };
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

    /// Whether it has not exited.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Bytes of memory that it has now.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Bytes of memory that it has had at its worst.
    pub fn peak_resident(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// A line of `/proc/PID/status` (`proc(5)`) in bytes.
    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix("kB"));
        kilobytes.unwrap().trim().parse::<u64>().unwrap() * 1024
    }

    /// Descriptors that it has open now.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
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
