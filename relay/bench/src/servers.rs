//! The servers that are compared: each started with a configuration that is shown, and ended by its id.

use std::{
    env, fs,
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use turnpike_turn_client::{Connection, Endpoint, Retransmission, Transport, Writer, method};

use crate::{forward::Mode, process::Process};

/// The secret of every server that is started here.
pub const SECRET: &str = "a secret of the benchmark, of 32 bytes and more";
/// Where peers are, for a server on loopback.
pub const PEER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const REALM: &str = "bench.test";
/// How long a server may take until it answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// Listeners are below the ports that the kernel and the relays give out.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;

/// A server that can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The relay of this workspace.
    Turnpike {
        /// Its threads.
        shards: usize,
    },
    /// coturn, with as many relay threads as ours has shards.
    Coturn,
    /// No TURN at all.
    Bare(Mode),
}

impl Kind {
    /// As it is called in reports.
    pub fn name(self) -> String {
        match self {
            Self::Turnpike { shards: 1 } => "turnpike".into(),
            Self::Turnpike { shards } => format!("turnpike, {shards} shards"),
            Self::Coturn => "coturn".into(),
            Self::Bare(Mode::Plain) => "bare, recvfrom/sendto".into(),
            Self::Bare(Mode::Batched) => "bare, recvmmsg/sendmmsg".into(),
            Self::Bare(Mode::Segments) => "bare, GRO/GSO".into(),
        }
    }

    /// Whether it speaks TURN.
    pub fn is_turn(self) -> bool {
        !matches!(self, Self::Bare(_))
    }
}

/// Where the programs are, and which processors they run on.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Ours.
    pub turnpike: PathBuf,
    /// coturn's, or another that takes its options.
    pub coturn: PathBuf,
    /// The benchmark's own, whose `forward` is the bare forwarder.
    pub bench: PathBuf,
    /// Of a server with one thread; any where empty.
    pub server_processors: Vec<usize>,
    /// Of the generator; any where empty.
    pub generator_processors: Vec<usize>,
}

/// A server that answers.
pub struct Server {
    process: Process,
    /// Where it listens for UDP.
    pub address: SocketAddr,
    /// Its configuration as it was given.
    pub config: String,
    /// Where it serves its metrics.
    pub metrics: Option<SocketAddr>,
    folder: TempDir,
}

impl Server {
    /// Starts one and waits until it answers; a bare forwarder sends to `peer`, or joins its clients in pairs.
    ///
    /// # Errors
    /// When it cannot be started, or does not answer; with the end of its log.
    pub fn start(kind: Kind, programs: &Programs, peer: Option<SocketAddr>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let log = File::create(folder.path().join("log"))?;
        let (mut command, config, metrics) = match kind {
            Kind::Turnpike { shards } => turnpike(programs, &folder, address, shards)?,
            Kind::Coturn => coturn(programs, &folder, address),
            Kind::Bare(mode) => bare(programs, mode, peer),
        };
        command.stdin(Stdio::null()).stderr(log.try_clone()?);
        command.stdout(if kind.is_turn() { Stdio::from(log) } else { Stdio::piped() });
        let several = matches!(kind, Kind::Turnpike { shards: 2.. });
        let both: Vec<usize> =
            programs.server_processors.iter().chain(&programs.generator_processors).copied().collect();
        let on = if several { &both } else { &programs.server_processors };
        let process = Process::start(command, on, &programs.generator_processors)?;
        let mut server = Self { process, address, config, metrics, folder };
        match kind.is_turn() {
            true => server.wait_until_it_answers().with_context(|| server.last_words())?,
            false => server.address = server.announced()?,
        }
        Ok(server)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it, and tells how long that took.
    ///
    /// # Errors
    /// When it has ended before, or does not end.
    pub fn stop(self) -> anyhow::Result<Duration> {
        let words = self.last_words();
        self.process.stop().context(words)
    }

    /// Datagrams that it says it dropped, over all reasons; none where it does not say.
    ///
    /// # Errors
    /// When its metrics cannot be read.
    pub fn dropped(&self) -> anyhow::Result<Option<u64>> {
        self.metric("turnpike_relay_dropped_packets_total{")
    }

    /// Runs of datagrams that did not fit into a receive buffer of this machine, as it exports them: the kernel counts a
    /// run as one.
    ///
    /// # Errors
    /// When its metrics cannot be read.
    pub fn overflown(&self) -> anyhow::Result<Option<u64>> {
        self.metric("turnpike_udp_receive_drops_total ")
    }

    /// The sum of the samples that begin so.
    fn metric(&self, beginning: &str) -> anyhow::Result<Option<u64>> {
        let Some(metrics) = self.metrics else { return Ok(None) };
        let mut stream = TcpStream::connect(metrics).context("the server's metrics")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("the server's metrics")?;
        let values = answer
            .lines()
            .filter(|line| line.starts_with(beginning))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(Some(values.sum::<f64>() as u64))
    }

    fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let endpoint = Endpoint { server: self.address, transport: Transport::Udp, tls: None, bind: None };
        let mut connection = Connection::open(&endpoint)?;
        connection.set_retransmission(Retransmission {
            first: Duration::from_millis(20),
            transmissions: 1,
            last: 1,
        });
        let deadline = Instant::now() + ANSWERS_WITHIN;
        while let Err(error) = connection.ask(Writer::request(method::BINDING).bytes()) {
            if !self.process.runs()? {
                bail!("the server has ended: {error}");
            }
            if Instant::now() > deadline {
                bail!("the server does not answer on {}: {error}", self.address);
            }
        }
        Ok(())
    }

    /// The first line of a bare forwarder.
    fn announced(&mut self) -> anyhow::Result<SocketAddr> {
        let stdout = self.process.stdout().context("the forwarder has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("the forwarder says `{line}`: {}", self.last_words()))
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

fn turnpike(
    programs: &Programs,
    folder: &TempDir,
    address: SocketAddr,
    shards: usize,
) -> anyhow::Result<(Command, String, Option<SocketAddr>)> {
    let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let config = format!(
        "[node]\npublic_ipv4 = \"127.0.0.1\"\npublic_ipv6 = \"none\"\nallow_private_address = true\n\
         state_dir = \"state\"\n\n\
         [auth]\nsecret_file = \"secret\"\nrealm = \"{REALM}\"\n\n\
         [relay]\nlisten_udp = [\"{address}\"]\nlisten_tcp = []\nshards = {shards}\n\
         allow_peers = [\"127.0.0.0/8\"]\nadmin_socket = \"relay.sock\"\ndrain_timeout = \"0s\"\n\n\
         [signaling]\ninternal_socket = \"signaling.sock\"\n\n\
         [metrics]\nrelay_listen = \"{metrics}\"\n"
    );
    let file = folder.path().join("turnpike.toml");
    fs::write(&file, &config)?;
    fs::write(folder.path().join("secret"), SECRET)?;
    let mut command = Command::new(&programs.turnpike);
    command.args(["relay", "--config"]).arg(file);
    // The environment wins over the file.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TURNPIKE_")) {
        command.env_remove(name);
    }
    Ok((command, config, Some(metrics)))
}

fn coturn(
    programs: &Programs,
    folder: &TempDir,
    address: SocketAddr,
) -> (Command, String, Option<SocketAddr>) {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let port = address.port().to_string();
    let shown = [
        "-n",
        "--no-cli",
        "--no-tls",
        "--no-dtls",
        "--no-tcp",
        "--log-file",
        "stdout",
        "--simple-log",
        "--listening-ip",
        "127.0.0.1",
        "--relay-ip",
        "127.0.0.1",
        "--relay-threads",
        "1",
        "--realm",
        REALM,
        "--use-auth-secret",
        "--allow-loopback-peers",
    ];
    let mut command = Command::new(&programs.coturn);
    command.args(shown).args(["--static-auth-secret", SECRET, "--listening-port", &port]);
    command.args(["--cli-password", "x", "--pidfile", &path("pid"), "--userdb", &path("turndb")]);
    (command, format!("turnserver {}\n", shown.join(" ")), None)
}

fn bare(programs: &Programs, mode: Mode, peer: Option<SocketAddr>) -> (Command, String, Option<SocketAddr>) {
    let mode = match mode {
        Mode::Plain => "plain",
        Mode::Batched => "batched",
        Mode::Segments => "segments",
    };
    let mut command = Command::new(&programs.bench);
    command.args(["forward", "--mode", mode]);
    if let Some(peer) = peer {
        command.arg("--peer").arg(peer.to_string());
    }
    (command, format!("turnpike-bench forward --mode {mode}\n"), None)
}

/// A port of 127.0.0.1 that is free for UDP and TCP now.
fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = std::process::id() as u16;
    for _ in 0..PORTS {
        let offset = own.wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let address = (Ipv4Addr::LOCALHOST, FIRST_PORT + offset);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return Ok(address.1);
        }
    }
    bail!("no port from {FIRST_PORT} on is free")
}
