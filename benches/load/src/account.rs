//! What a process has cost, from the kernel's own accounting (proc(5)). Linux only.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// One tick of `/proc/<pid>/stat`: the kernel reports in hundredths of a second whatever its own timer does.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of a process at one moment.
#[derive(Debug, Clone)]
pub struct CpuReading {
    /// Time on CPU by thread, from `schedstat`; empty where the kernel keeps none.
    threads: BTreeMap<u32, Duration>,
    /// User and system time of the whole process, ended threads included, from `stat`.
    whole: Duration,
}

impl CpuReading {
    /// Reads the process `pid`.
    ///
    /// # Errors
    /// When there is no such process, or `/proc` cannot be read.
    pub fn of(pid: u32) -> Result<Self> {
        Ok(Self { threads: threads(pid)?, whole: whole(pid)? })
    }

    /// CPU time since an `earlier` reading of the same process: to the nanosecond while no thread has ended between the
    /// two, else in ticks, because an ended thread takes its `schedstat` with it.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Duration {
        let complete = !self.threads.is_empty()
            && earlier.threads.keys().all(|thread| self.threads.contains_key(thread));
        if !complete {
            return self.whole.saturating_sub(earlier.whole);
        }
        let spent = |(thread, now): (&u32, &Duration)| {
            now.saturating_sub(earlier.threads.get(thread).copied().unwrap_or_default())
        };
        self.threads.iter().map(spent).sum()
    }
}

/// Resident memory of the process `pid` in bytes.
///
/// # Errors
/// When there is no such process, or its status has no `VmRSS`.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmRSS:")
}

/// The most resident memory that the process `pid` had since [`forget_peak`], in bytes.
///
/// # Errors
/// When there is no such process, or its status has no `VmHWM`.
pub fn peak_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmHWM:")
}

/// Makes what the process `pid` holds now the peak from which on it is kept.
///
/// # Errors
/// When there is no such process, or it is not ours.
pub fn forget_peak(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    // proc(5): 5 resets the peak resident set size.
    fs::write(&path, "5").with_context(|| format!("writing {path}"))
}

fn status_bytes(pid: u32, key: &str) -> Result<u64> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Ok(kilobytes.with_context(|| format!("/proc/{pid}/status has no {key} in kB"))? * 1024)
}

fn threads(pid: u32) -> Result<BTreeMap<u32, Duration>> {
    let mut times = BTreeMap::new();
    let path = format!("/proc/{pid}/task");
    for entry in fs::read_dir(&path).with_context(|| format!("reading {path}"))? {
        let entry = entry?;
        // A thread may end between the listing and the read; it is then missing here, which `since` notices.
        let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else {
            continue;
        };
        let thread = entry.file_name().to_string_lossy().parse();
        let on_cpu = text.split_whitespace().next().and_then(|field| field.parse().ok());
        if let (Ok(thread), Some(on_cpu)) = (thread, on_cpu) {
            times.insert(thread, Duration::from_nanos(on_cpu));
        }
    }
    // Kernels without the accounting show zeros.
    if times.values().all(Duration::is_zero) {
        times.clear();
    }
    Ok(times)
}

fn whole(pid: u32) -> Result<Duration> {
    let stat = read(pid, "stat")?;
    // The second field is the command in parentheses and may hold anything; utime and stime are the 14th and 15th.
    let after_command = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks =
        |index| after_command.split_whitespace().nth(index).and_then(|field: &str| field.parse::<u32>().ok());
    let (user, system) =
        ticks(11).zip(ticks(12)).with_context(|| format!("/proc/{pid}/stat has no CPU times"))?;
    Ok(TICK * user + TICK * system)
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("reading {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(threads: &[(u32, u64)], whole_ms: u64) -> CpuReading {
        let threads = threads.iter().map(|&(thread, nanos)| (thread, Duration::from_nanos(nanos))).collect();
        CpuReading { threads, whole: Duration::from_millis(whole_ms) }
    }

    #[test]
    fn new_threads_count_and_an_ended_thread_falls_back_to_the_process() {
        let start = reading(&[(1, 100), (2, 50)], 10);
        assert_eq!(reading(&[(1, 300), (2, 50), (3, 7)], 20).since(&start), Duration::from_nanos(207));
        assert_eq!(reading(&[(1, 300)], 30).since(&start), Duration::from_millis(20));
        assert_eq!(reading(&[], 40).since(&start), Duration::from_millis(30));
    }

    #[test]
    fn this_process_has_spent_time_and_memory() {
        let pid = std::process::id();
        let start = CpuReading::of(pid).unwrap();
        let mut sum = 0_u64;
        while CpuReading::of(pid).unwrap().since(&start).is_zero() {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(resident_bytes(pid).unwrap() > 100_000);
    }

    #[test]
    fn a_peak_outlives_its_memory_until_it_is_forgotten() {
        const BIG: usize = 64 << 20;
        let pid = std::process::id();
        drop(std::hint::black_box(vec![1_u8; BIG]));
        let peak = peak_bytes(pid).unwrap();
        assert!(peak > resident_bytes(pid).unwrap() + BIG as u64 / 2, "{peak}");
        forget_peak(pid).unwrap();
        assert!(peak_bytes(pid).unwrap() < peak - BIG as u64 / 2);
    }
}
