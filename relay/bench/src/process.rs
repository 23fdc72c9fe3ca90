//! What the kernel tells of a process: the processor time of its threads, its memory; and how it is ended.

use std::{
    fs, io,
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// How long a server may take to end before it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// A child process; it is killed when it is dropped.
pub struct Process(Child);

impl Process {
    /// Starts a command on these processors; the calling thread stays on `back`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command, on: &[usize], back: &[usize]) -> anyhow::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        pin(on)?;
        let child = command.spawn().with_context(|| format!("{program} cannot be started"));
        pin(back)?;
        Ok(Self(child?))
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its standard output, where that is a pipe; once.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.0.stdout.take()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn runs(&mut self) -> io::Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// Asks it to end, and tells how long that took.
    ///
    /// # Errors
    /// When it has ended before, or does not end.
    pub fn stop(mut self) -> anyhow::Result<Duration> {
        if let Some(status) = self.0.try_wait()? {
            bail!("the server has ended of its own accord: {status}");
        }
        let asked = Instant::now();
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM)?;
        while self.0.try_wait()?.is_none() {
            if asked.elapsed() > ENDS_WITHIN {
                bail!("the server does not end within {} s of SIGTERM", ENDS_WITHIN.as_secs());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(asked.elapsed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Binds the calling thread to processors; to none is to leave it.
///
/// # Errors
/// When there is no such processor.
pub fn pin(processors: &[usize]) -> anyhow::Result<()> {
    if processors.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    processors.iter().for_each(|processor| set.set(*processor));
    sched_setaffinity(None, &set).with_context(|| format!("there is no processor {processors:?}"))
}

/// Time that all threads of a process have run.
///
/// # Errors
/// When it has ended.
pub fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the server has ended")? {
        // A thread may end between the two.
        let Ok(schedstat) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += first_number(&schedstat)
            .context("schedstat has no number: the kernel needs CONFIG_SCHED_INFO")?;
    }
    Ok(Duration::from_nanos(sum))
}

/// Bytes of memory that a process has to itself, without files.
///
/// # Errors
/// When it has ended.
pub fn memory(pid: u32) -> anyhow::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("the server has ended")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    Ok(line.and_then(first_number).context("smaps_rollup has no Anonymous line")? * 1024)
}

/// Time that the calling thread has run.
pub fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_measured_and_ended_by_its_id() {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        let mut process = Process::start(command, &[], &[]).unwrap();
        let pid = process.id();
        while processor_time(pid).unwrap() < Duration::from_millis(20) {
            std::thread::yield_now();
        }
        assert!(memory(pid).unwrap() > 4096);
        assert!(process.runs().unwrap());
        process.stop().unwrap();
        assert!(processor_time(pid).is_err());
    }
}
