//! One core for the server and another for the load, through `taskset`.

use std::fs;
use std::process::{Command, Stdio};

/// The cores of a run; neither is set where pinning is impossible.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cores {
    /// The core that servers are started on.
    pub server: Option<usize>,
    /// The core of this process.
    pub load: Option<usize>,
}

impl Cores {
    /// Both as `taskset` takes them. A server that may use both has to say so, because it inherits this process's one.
    #[must_use]
    pub fn both(self) -> Option<String> {
        let (server, load) = self.server.zip(self.load)?;
        Some(format!("{server},{load}"))
    }
}

/// Pins this process to the second core it may use and leaves the first to the servers.
///
/// # Errors
/// A sentence that says why nothing is pinned: the run is possible without.
pub fn pin() -> Result<Cores, String> {
    let allowed = allowed_cores().unwrap_or_default();
    let &[server, load, ..] = allowed.as_slice() else {
        return Err("fewer than two cores are usable: server and load share what there is, unpinned".into());
    };
    let status = Command::new("taskset")
        .args(["-cp", &load.to_string(), &std::process::id().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(Cores { server: Some(server), load: Some(load) }),
        Ok(status) => {
            Err(format!("taskset could not pin the load to core {load} ({status}): nothing is pinned"))
        }
        Err(error) => Err(format!("taskset (util-linux) could not be started ({error}): nothing is pinned")),
    }
}

fn allowed_cores() -> Option<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    parse_list(list.trim())
}

/// Reads a list such as `0-2,5`.
fn parse_list(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        assert_eq!(Cores { server: Some(2), load: Some(5) }.both().as_deref(), Some("2,5"));
        assert_eq!(Cores::default().both(), None);
        assert_eq!(parse_list("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_list("3"), Some(vec![3]));
        assert_eq!(parse_list(""), None);
    }
}
