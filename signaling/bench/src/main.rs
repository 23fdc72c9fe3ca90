//! Lets crowds of strangers loose on signaling and says what arrived, how fast, and what it cost.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use turnpike_bench::process::pin;
use turnpike_signaling_bench::{
    idle::idle,
    matches::matches,
    report::{Sample, Seen, table},
    servers::{Kind, Programs, Server},
    signals::signals,
    storm::storm,
};

/// Crowds of strangers for signaling
///
/// Each scenario starts its server afresh on loopback, and the strangers come from as many addresses as the limit of
/// sockets an address asks for.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum Command {
    /// Everything below at ours and at the server on Node in turn, as a table
    All {
        /// Rounds
        #[arg(long, default_value_t = 1)]
        rounds: usize,
        /// Seconds that matches and signals last
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
        /// Write the table as Markdown
        #[arg(long, value_name = "FILE")]
        markdown: Option<PathBuf>,
        /// Write every sample as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Sockets that only answer pings
    Idle {
        /// Sockets
        #[arg(long, default_value_t = 20_000)]
        count: usize,
        /// Seconds that they are watched
        #[arg(long, default_value_t = 30.0)]
        seconds: f64,
    },
    /// Strangers who are paired, part, and want the next one
    Matches {
        /// Strangers
        #[arg(long, default_value_t = 4000)]
        count: usize,
        /// Matches a second
        #[arg(long, default_value_t = 500.0)]
        rate: f64,
        /// Seconds
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
    },
    /// Pairs that negotiate without end
    Signals {
        /// Signals a second
        #[arg(long, default_value_t = 10_000.0)]
        rate: f64,
        /// Seconds
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
    },
    /// A restart under live pairs
    Storm {
        /// Clients
        #[arg(long, default_value_t = 5000)]
        clients: usize,
    },
}

/// Which programs, and where they run.
#[derive(Args)]
struct Place {
    /// The server
    #[arg(long, value_enum, default_value_t = Kind::Turnpike, global = true)]
    server: Kind,
    /// Our binary
    #[arg(long, env = "TURNPIKE", default_value = "target/release/turnpike", global = true)]
    turnpike: PathBuf,
    /// Node
    #[arg(long, env = "NODE", default_value = "node", global = true)]
    node: PathBuf,
    /// The script of the server on Node
    #[arg(long, default_value = "signaling/bench/node/server.mjs", global = true)]
    script: PathBuf,
    /// Processors of the server; any by default
    #[arg(long, value_delimiter = ',', global = true)]
    server_cpu: Vec<usize>,
    /// Processors of the crowd; any by default
    #[arg(long, value_delimiter = ',', global = true)]
    crowd_cpu: Vec<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "turnpike-signaling-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { command, place }: Arguments) -> anyhow::Result<()> {
    let programs = Programs {
        turnpike: place.turnpike,
        node: place.node,
        script: place.script,
        server_processors: place.server_cpu,
        crowd_processors: place.crowd_cpu,
    };
    pin(&programs.crowd_processors)?;
    // One thread: what the crowd costs is one number, and the rest of the machine is the server's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = place.server;
        match command {
            Command::All { rounds, seconds, markdown, json } => {
                all(&programs, rounds, Duration::from_secs_f64(seconds), markdown, json).await
            }
            Command::Idle { count, seconds } => {
                let scenario = Scenario::Idle { count, lasts: Duration::from_secs_f64(seconds) };
                tell(&scenario.run(server, &programs).await?.line())
            }
            Command::Matches { count, rate, seconds } => {
                let scenario = Scenario::Matches { count, rate, lasts: Duration::from_secs_f64(seconds) };
                tell(&scenario.run(server, &programs).await?.line())
            }
            Command::Signals { rate, seconds } => {
                let scenario = Scenario::Signals { rate, lasts: Duration::from_secs_f64(seconds) };
                tell(&scenario.run(server, &programs).await?.line())
            }
            Command::Storm { clients } => {
                tell(&Scenario::Storm { clients }.run(server, &programs).await?.line())
            }
        }
    })
}

/// One of them with its size.
#[derive(Clone, Copy)]
enum Scenario {
    Idle { count: usize, lasts: Duration },
    Matches { count: usize, rate: f64, lasts: Duration },
    Signals { rate: f64, lasts: Duration },
    Storm { clients: usize },
}

impl Scenario {
    async fn run(self, kind: Kind, programs: &Programs) -> anyhow::Result<Sample> {
        let server = Server::start(kind, programs).await?;
        let (server, seen) = match self {
            Self::Idle { count, lasts } => {
                let seen = idle(&server, count, lasts).await?;
                (server, Seen::Idle(seen))
            }
            Self::Matches { count, rate, lasts } => {
                let seen = matches(&server, count, rate, lasts).await?;
                (server, Seen::Matches(seen))
            }
            Self::Signals { rate, lasts } => {
                let seen = signals(&server, rate, lasts).await?;
                (server, Seen::Signals(seen))
            }
            Self::Storm { clients } => {
                let (server, seen) = storm(server, programs, clients).await?;
                (server, Seen::Storm(seen))
            }
        };
        server.stop()?;
        Ok(Sample { server: kind, seen })
    }
}

async fn all(
    programs: &Programs,
    rounds: usize,
    lasts: Duration,
    markdown: Option<PathBuf>,
    json: Option<PathBuf>,
) -> anyhow::Result<()> {
    let scenarios = [
        Scenario::Idle { count: 20_000, lasts: Duration::from_secs(30) },
        Scenario::Matches { count: 4000, rate: 500.0, lasts },
        Scenario::Signals { rate: 10_000.0, lasts },
        Scenario::Storm { clients: 5000 },
    ];
    let mut samples = Vec::new();
    for scenario in scenarios.into_iter().cycle().take(scenarios.len() * rounds) {
        for kind in [Kind::Turnpike, Kind::Node] {
            // Sessions of Socket.IO alone end with the process.
            if matches!((scenario, kind), (Scenario::Storm { .. }, Kind::Node)) {
                continue;
            }
            let sample = scenario.run(kind, programs).await?;
            let _ = writeln!(io::stderr(), "{}", sample.line());
            samples.push(sample);
        }
    }
    let table = table(&samples);
    for (file, text) in [(markdown, table.clone()), (json, serde_json::to_string_pretty(&samples)?)] {
        if let Some(file) = file {
            fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
        }
    }
    tell(&table)
}

fn tell(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}
