//! Loads TURN servers and says what arrived, how fast, and what it cost.

mod arguments;

use std::{
    fs,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use turnpike_bench::{
    compare::{Comparison, compare},
    flows::{Flows, Site, peer_for},
    forward::forward,
    measure::Measured,
    process::pin,
    report::Sample,
    scenarios::{many, soak},
};

use arguments::{Arguments, Command, Comparing, Loading};

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "turnpike-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    raise_files();
    match command {
        Command::Compare(comparing) => run_comparison(&comparing),
        Command::Load(loading) => run_load(&loading),
        Command::Many { count, seconds, place } => {
            let programs = place.programs()?;
            pin(&programs.generator_processors)?;
            show_json(&many(count, seconds, &programs)?)
        }
        Command::Soak { minutes, slice, part, place } => {
            let programs = place.programs()?;
            pin(&programs.generator_processors)?;
            let lasts = Duration::from_secs_f64(minutes * 60.0);
            let mut soaked = soak(lasts, slice, part, &programs, tell)?;
            soaked.slices.clear();
            show_json(&soaked)
        }
        Command::Forward(arguments) => Ok(forward(&arguments)?),
    }
}

fn run_comparison(comparing: &Comparing) -> anyhow::Result<()> {
    let programs = comparing.place.programs()?;
    pin(&programs.generator_processors)?;
    let comparison = Comparison {
        cells: comparing.cells()?,
        rounds: comparing.rounds,
        servers: comparing.servers(),
        syscalls: comparing.syscalls,
    };
    let mut report = compare(&comparison, &programs, tell)?;
    report.machine = machine();
    report.options = comparing.describe(&programs);
    if let Some(file) = &comparing.json {
        fs::write(file, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    if let Some(file) = &comparing.markdown {
        fs::write(file, report.markdown())
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(io::stdout().write_all(report.markdown().as_bytes())?)
}

fn run_load(loading: &Loading) -> anyhow::Result<()> {
    let plan = loading.plan();
    let peer = peer_for(&plan, loading.peer_ip()?)?;
    let site = Site {
        server: loading.server,
        secret: Some(&loading.secret),
        peer_ip: loading.peer_ip()?,
        generation: 0,
    };
    let mut flows = Flows::open(&site, &plan, peer)?;
    let seen = flows.run(plan, loading.pid)?;
    flows.close()?;
    if loading.json {
        return show_json(&seen);
    }
    let sample = Sample {
        round: 0,
        cell: String::new(),
        server: loading.server.to_string(),
        measured: Measured::Load(seen),
    };
    tell(&sample.line("load"));
    Ok(())
}

fn show_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn tell(line: &str) {
    // With stderr gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Servers inherit it: each allocation is a file.
fn raise_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The processor and the kernel.
fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.split('-').next().unwrap_or_default().trim();
    format!("{count} processors ({}), Linux {kernel}, loopback", model.unwrap_or("unknown"))
}
