use std::{
    env,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket},
    path::PathBuf,
    thread::available_parallelism,
};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use turnpike_bench::{
    cells::{self, Cell, Size},
    forward,
    framing::Framing,
    load::{Pace, Path, Plan},
    servers::{Kind, PEER, Programs},
};

/// Loads TURN servers and says what arrived at the far end, how fast, and what it cost the server's process
#[derive(Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Ours, coturn and a bare forwarder in one alternating run, with the figures to reach
    Compare(Comparing),
    /// One load over any TURN server on UDP
    Load(Loading),
    /// Many live allocations at ours: set-up, memory, a thin flow among them, shutdown
    Many {
        /// Allocations
        #[arg(long, default_value_t = 10_000)]
        count: usize,
        /// Seconds that the flow is measured
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        #[command(flatten)]
        place: Place,
    },
    /// A long load at a part of what ours can: memory, and loss that nobody counted
    Soak {
        /// How long
        #[arg(long, default_value_t = 8.0)]
        minutes: f64,
        /// Seconds between two looks at the server
        #[arg(long, default_value_t = 10.0)]
        slice: f64,
        /// Part of what it delivers at saturation
        #[arg(long, default_value_t = 0.7)]
        part: f64,
        #[command(flatten)]
        place: Place,
    },
    /// The bare forwarder that servers are held against
    #[command(hide = true)]
    Forward(forward::Arguments),
}

/// Which programs, and where they run.
#[derive(Args)]
pub(crate) struct Place {
    /// Our binary
    #[arg(long, env = "TURNPIKE", default_value = "target/release/turnpike")]
    turnpike: PathBuf,
    /// coturn, or another server that takes its options
    #[arg(long, env = "COTURN", default_value = "turnserver")]
    coturn: PathBuf,
    /// Processor of servers with one thread
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// Processor of the generator
    #[arg(long, default_value_t = 1)]
    generator_cpu: usize,
}

#[derive(Args)]
pub(crate) struct Comparing {
    /// Rounds: each runs every cell at every server
    #[arg(long, default_value_t = 6, value_parser = positive)]
    pub(crate) rounds: usize,
    /// Seconds that each load is measured
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Clients
    #[arg(long, default_value_t = 100)]
    flows: usize,
    /// Bytes of payload
    #[arg(long, default_value_t = 1000)]
    payload: usize,
    /// Relayed datagrams a second of cells with an offered rate
    #[arg(long, default_value_t = 30_000.0)]
    rate: f64,
    /// Allocations of the cell that makes them
    #[arg(long, default_value_t = 4000)]
    allocations: usize,
    /// Only these cells, by their names in the JSON
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    cell: Vec<String>,
    /// Only these servers
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Who>,
    /// Count system calls as well, by strace, behind the rounds
    #[arg(long)]
    pub(crate) syscalls: bool,
    /// Write every sample as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    /// Ours, with one shard and with two
    Turnpike,
    Coturn,
    /// The bare forwarders
    Bare,
}

#[derive(Args)]
pub(crate) struct Loading {
    /// The server's UDP listener
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) server: SocketAddr,
    /// Its TURN REST secret
    #[arg(long)]
    pub(crate) secret: String,
    /// Id of its process, when it is on this machine: its processor time is told too
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// This machine's address for the echo peer [default: 127.0.0.2 for a server on loopback]
    #[arg(long, value_name = "IP")]
    peer: Option<IpAddr>,
    /// Clients
    #[arg(long, default_value_t = 100)]
    flows: usize,
    /// Bytes of payload
    #[arg(long, default_value_t = 1000)]
    payload: usize,
    /// Datagrams that a flow sends at once
    #[arg(long, default_value_t = 1)]
    burst: usize,
    /// A burst goes to the kernel in one piece (UDP_SEGMENT)
    #[arg(long)]
    in_one_piece: bool,
    /// Relayed datagrams a second [default: as many as it takes]
    #[arg(long)]
    rate: Option<f64>,
    /// From client to client instead of to an echo peer
    #[arg(long)]
    pairs: bool,
    /// Send and Data indications instead of ChannelData
    #[arg(long)]
    indications: bool,
    /// Seconds that it is measured
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Place {
    /// Nothing is pinned where there is one processor only.
    pub(crate) fn programs(&self) -> anyhow::Result<Programs> {
        let has_two = available_parallelism().is_ok_and(|count| count.get() > 1);
        let pinned = |processor: usize| if has_two { vec![processor] } else { Vec::new() };
        if !self.turnpike.exists() {
            bail!(
                "there is no {}: build it with `make build`, or name it with --turnpike",
                self.turnpike.display()
            );
        }
        Ok(Programs {
            turnpike: self.turnpike.clone(),
            coturn: self.coturn.clone(),
            bench: env::current_exe()?,
            server_processors: pinned(self.server_cpu),
            generator_processors: pinned(self.generator_cpu),
        })
    }
}

impl Comparing {
    pub(crate) fn cells(&self) -> anyhow::Result<Vec<Cell>> {
        let size = Size {
            seconds: self.seconds,
            flows: self.flows,
            payload: self.payload,
            rate: self.rate,
            allocations: self.allocations,
        };
        let mut cells = cells::all(&size);
        if let Some(unknown) = self.cell.iter().find(|name| !cells.iter().any(|cell| cell.key == **name)) {
            let names: Vec<&str> = cells.iter().map(|cell| cell.key).collect();
            bail!("there is no cell {unknown}; there are {}", names.join(", "));
        }
        cells.retain(|cell| self.cell.is_empty() || self.cell.iter().any(|name| name == cell.key));
        Ok(cells)
    }

    pub(crate) fn servers(&self) -> Vec<Kind> {
        let all =
            [cells::OURS, cells::TWO_SHARDS, Kind::Coturn, cells::PLAIN, cells::BATCHED, cells::SEGMENTS];
        let who = |kind: &Kind| match kind {
            Kind::Turnpike { .. } => Who::Turnpike,
            Kind::Coturn => Who::Coturn,
            Kind::Bare(_) => Who::Bare,
        };
        all.into_iter().filter(|kind| self.only.is_empty() || self.only.contains(&who(kind))).collect()
    }

    pub(crate) fn describe(&self, programs: &Programs) -> String {
        format!(
            "{} clients, {} bytes of payload, {} s a load; servers on processor {:?}, two shards also on that of the \
             generator, which is {:?}.",
            self.flows, self.payload, self.seconds, programs.server_processors, programs.generator_processors
        )
    }
}

impl Loading {
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            flows: self.flows,
            payload: self.payload,
            burst: self.burst,
            in_one_piece: self.in_one_piece,
            path: if self.pairs { Path::Pairs } else { Path::Echo },
            framing: if self.indications { Framing::Indication } else { Framing::Channel },
            pace: self.rate.map_or(Pace::Saturated, Pace::Rate),
            seconds: self.seconds,
        }
    }

    /// Of a server elsewhere, the address that this machine reaches it from.
    pub(crate) fn peer_ip(&self) -> anyhow::Result<IpAddr> {
        match self.peer {
            Some(ip) => Ok(ip),
            None if self.server.ip().is_loopback() && self.server.is_ipv4() => Ok(PEER.into()),
            None => {
                let socket = UdpSocket::bind(if self.server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
                socket.connect(self.server).context("the way to the server")?;
                Ok(socket.local_addr()?.ip())
            }
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("{error}: write HOST:PORT"))?;
    found.next().ok_or_else(|| "it has no address".into())
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "a number from 1 on".into())
}
