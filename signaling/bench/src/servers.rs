//! The servers that crowds are let loose on: ours, and a small one on Node. Each is ended by its id.

use std::{
    env, fs,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use turnpike_bench::process::{self, Process};

use crate::stranger::Stranger;

const SECRET: &str = "a secret of the benchmark, of 32 bytes and more";
/// How long a server may take until it greets.
const GREETS_WITHIN: Duration = Duration::from_secs(30);
/// More than the largest crowd has.
const FILES: u64 = 100_000;
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// A server that can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Kind {
    /// The signaling of this workspace.
    Turnpike,
    /// Socket.IO on Node, 150 lines.
    Node,
}

impl Kind {
    /// As it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Turnpike => "turnpike",
            Self::Node => "Socket.IO on Node",
        }
    }
}

/// Where the programs are, and which processors they run on.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Ours.
    pub turnpike: PathBuf,
    /// Node.
    pub node: PathBuf,
    /// The script of the server on Node.
    pub script: PathBuf,
    /// Of the server; any where empty.
    pub server_processors: Vec<usize>,
    /// Of the crowd; any where empty.
    pub crowd_processors: Vec<usize>,
}

/// A server that greets.
pub struct Server {
    process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    kind: Kind,
    folder: TempDir,
}

impl Server {
    /// Starts one and waits until it greets.
    ///
    /// # Errors
    /// When it cannot be started or does not greet, with the end of its log.
    pub async fn start(kind: Kind, programs: &Programs) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        Self::launch(kind, programs, address, folder).await
    }

    /// Ends it and starts another on the same folder and address, as a restart of the unit does; how long nobody greeted.
    ///
    /// # Errors
    /// When it has ended before, does not end, or the next one does not start.
    pub async fn restart(self, programs: &Programs) -> anyhow::Result<(Self, Duration)> {
        let Self { process, address, kind, folder } = self;
        let began = Instant::now();
        process.stop().with_context(|| last_words(folder.path()))?;
        let next = Self::launch(kind, programs, address, folder).await?;
        Ok((next, began.elapsed()))
    }

    /// Time that its threads have run.
    ///
    /// # Errors
    /// When it has ended.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        process::processor_time(self.process.id()).with_context(|| last_words(self.folder.path()))
    }

    /// Bytes of memory that it has to itself.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&self) -> anyhow::Result<u64> {
        process::memory(self.process.id()).with_context(|| last_words(self.folder.path()))
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it has ended before, or does not end.
    pub fn stop(self) -> anyhow::Result<Duration> {
        self.process.stop().with_context(|| last_words(self.folder.path()))
    }

    async fn launch(
        kind: Kind,
        programs: &Programs,
        address: SocketAddr,
        folder: TempDir,
    ) -> anyhow::Result<Self> {
        raise_files();
        let mut command = match kind {
            Kind::Turnpike => turnpike(programs, folder.path(), address)?,
            Kind::Node => {
                let mut command = Command::new(&programs.node);
                command.arg(&programs.script).arg(address.port().to_string());
                command
            }
        };
        let log = File::create(folder.path().join("log"))?;
        command.stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log);
        let process = Process::start(command, &programs.server_processors, &programs.crowd_processors)?;
        let mut server = Self { process, address, kind, folder };
        server.until_it_greets().await.with_context(|| last_words(server.folder.path()))?;
        Ok(server)
    }

    async fn until_it_greets(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + GREETS_WITHIN;
        while let Err(error) = Stranger::connect(self.address, Ipv4Addr::LOCALHOST.into()).await {
            if !self.process.runs()? {
                bail!("the server has ended: {error:#}");
            }
            if Instant::now() > deadline {
                bail!("the server does not greet on {}: {error:#}", self.address);
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Ok(())
    }
}

fn turnpike(programs: &Programs, folder: &Path, address: SocketAddr) -> anyhow::Result<Command> {
    let at = folder.display();
    let config = format!(
        "[node]\npublic_ipv4 = \"127.0.0.1\"\nallow_private_address = true\nstate_dir = \"{at}\"\n\n\
         [auth]\nsecret_file = \"{at}/secret\"\n\n\
         [ice]\nurls = [\"stun:198.18.0.1:3478\", \"turn:198.18.0.1:3478?transport=udp\"]\n\n\
         [signaling]\nlisten = [\"{address}\"]\ninternal_socket = \"{at}/signaling.sock\"\n\n\
         [metrics]\nrelay_listen = \"\"\nsignaling_listen = \"\"\n"
    );
    let file = folder.join("turnpike.toml");
    fs::write(&file, config)?;
    fs::write(folder.join("secret"), SECRET)?;
    let mut command = Command::new(&programs.turnpike);
    command.args(["signaling", "--config"]).arg(file);
    // The environment wins over the file.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TURNPIKE_")) {
        command.env_remove(name);
    }
    Ok(command)
}

/// Servers inherit it: each socket is a file on both sides. Root may raise the limit, others go up to it.
fn raise_files() {
    let both = |files| Rlimit { current: files, maximum: files };
    if setrlimit(Resource::Nofile, both(Some(FILES))).is_err() {
        let _ = setrlimit(Resource::Nofile, both(getrlimit(Resource::Nofile).maximum));
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn last_words(folder: &Path) -> String {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
