//! What this process has used so far, as the operating system counts it.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Processor time and memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time together.
    pub cpu: Duration,
    /// The most memory it ever held, in bytes.
    pub peak_rss_bytes: u64,
}

/// This process's usage, from `/proc/self`.
///
/// `utime` and `stime` of `/proc/self/stat` count in ticks of 10 ms; `schedstat` of each thread counts nanoseconds, but
/// loses threads that have ended. The ticks are enough for seconds of load.
pub fn usage() -> Usage {
    usage_of("self")
}

/// The usage of another process of this user.
pub fn usage_of(pid: &str) -> Usage {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; the fields behind it are numbers.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let cpu = Duration::from_micros((ticks(11) + ticks(12)) * 1_000_000 / per_second);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default();
    Usage { cpu, peak_rss_bytes: kib * 1024 }
}

/// Raises the number of open files to what the system allows: one per phone.
pub fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
