//! What the operating system says of this process, and how many descriptors it lends it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept back for what is not a client's connection: listeners, operators' requests, logs, key fetches.
const RESERVED: u64 = 64;

/// What the process uses now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// User and system CPU time since the start, in seconds.
    pub cpu: f64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// When it was started, in seconds of Unix time; `None` where the system's start is not known.
    pub started: Option<f64>,
}

/// What can be read often: it costs the same however many descriptors are open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// User and system CPU time since the start, in seconds.
    pub cpu: f64,
}

impl Load {
    /// Reads it from `/proc`; `None` where there is none, or no descriptor left to read it with.
    #[cfg(target_os = "linux")]
    pub fn read() -> Option<Self> {
        Some(Self::of(&procfs::process::Process::myself().ok()?.stat().ok()?))
    }

    #[cfg(target_os = "linux")]
    fn of(stat: &procfs::process::Stat) -> Self {
        Load {
            resident: stat.rss * procfs::page_size(),
            cpu: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        }
    }

    /// Only Linux is asked.
    #[cfg(not(target_os = "linux"))]
    pub fn read() -> Option<Self> {
        None
    }
}

impl Usage {
    /// Reads it from `/proc`; `None` where there is none, or no descriptor left to read it with.
    #[cfg(target_os = "linux")]
    pub fn read() -> Option<Self> {
        let process = procfs::process::Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let Load { resident, cpu } = Load::of(&stat);
        Some(Usage {
            resident,
            cpu,
            // One of them is the folder that is being counted.
            descriptors: (process.fd_count().ok()? as u64).saturating_sub(1),
            threads: u64::try_from(stat.num_threads).unwrap_or_default(),
            started: procfs::boot_time_secs()
                .ok()
                .map(|boot| boot as f64 + stat.starttime as f64 / procfs::ticks_per_second() as f64),
        })
    }

    /// Only Linux is asked.
    #[cfg(not(target_os = "linux"))]
    pub fn read() -> Option<Self> {
        None
    }
}

/// How many descriptors the process may have open; `None` is without limit.
pub fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// How many of them may be clients' connections. At least half, so that a tight limit still serves somebody.
pub fn descriptors_for_clients(limit: u64) -> u64 {
    limit.saturating_sub(RESERVED).max(limit / 2)
}

/// Raises the descriptor limit as far as the process may itself: shells set a low one for the sake of old programs that
/// use `select`, and leave the rest to be asked for.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // What the kernel says it allows it may still refuse, in a sandbox; then the old limit stays, and is warned of.
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::debug!(?current, ?maximum, "cannot raise the limit of open files");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn usage_follows_what_is_used() {
        let before = Usage::read().unwrap();
        let files: Vec<_> = (0..100).map(|_| tempfile::tempfile().unwrap()).collect();
        let block = vec![1_u8; 64 << 20];
        let during = Usage::read().unwrap();
        // Other tests of this process open and close theirs meanwhile.
        assert!(during.descriptors >= files.len() as u64, "{during:?}");
        assert!(during.resident >= block.len() as u64, "{during:?}");
        assert!(during.cpu >= before.cpu);
        assert!(descriptor_limit().is_none_or(|limit| during.descriptors < limit));
    }

    #[test]
    fn some_descriptors_are_never_for_clients() {
        assert_eq!(descriptors_for_clients(65_536), 65_472);
        assert_eq!(descriptors_for_clients(64), 32);
        assert_eq!(descriptors_for_clients(1), 0);
    }
}
