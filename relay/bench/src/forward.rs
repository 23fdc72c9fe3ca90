//! A bare forwarder: a listener for all clients and a socket for each towards the peer, as a TURN server has, and nothing
//! else. What a relay costs more than this is its own.

mod batched;
mod plain;

use std::{
    collections::HashMap,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use crate::{datagrams, poller::Poller};

/// How it talks to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Mode {
    /// recvfrom and sendto, one datagram a call
    Plain,
    /// recvmmsg and sendmmsg
    Batched,
    /// the same with UDP_GRO in and UDP_SEGMENT out
    Segments,
}

/// What a forwarder is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How it talks to the kernel
    #[arg(long, value_enum, default_value_t = Mode::Plain)]
    pub mode: Mode,
    /// Where the clients' datagrams go. Without it clients are joined in pairs, in the order of their first datagrams
    #[arg(long)]
    pub peer: Option<SocketAddr>,
}

/// The number of the listener in the set that is waited for; sockets of clients have those of the clients.
const LISTENER: u64 = u64::MAX;
/// Datagrams that one socket hands over a turn.
const TURN: usize = 64;

/// Sockets of a forwarder.
struct Forwarder {
    listener: UdpSocket,
    peer: Option<SocketAddr>,
    several: bool,
    clients: HashMap<SocketAddr, usize>,
    flows: Vec<Flow>,
    poller: Poller,
}

struct Flow {
    client: SocketAddr,
    socket: UdpSocket,
    address: SocketAddr,
}

/// Forwards until the process is ended; the listener's address is the first line of standard output.
///
/// # Errors
/// Of the kernel.
pub fn forward(arguments: &Arguments) -> io::Result<()> {
    let mut forwarder = Forwarder::open(arguments)?;
    writeln!(io::stdout(), "{}", forwarder.listener.local_addr()?)?;
    match arguments.mode {
        Mode::Plain => plain::run(&mut forwarder),
        // What differs is that the sockets take several datagrams as one, which go out as they came.
        Mode::Batched | Mode::Segments => batched::run(&mut forwarder),
    }
}

impl Forwarder {
    fn open(arguments: &Arguments) -> io::Result<Self> {
        let several = arguments.mode == Mode::Segments;
        let listener = socket(several)?;
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER)?;
        Ok(Self {
            listener,
            peer: arguments.peer,
            several,
            clients: HashMap::new(),
            flows: Vec::new(),
            poller,
        })
    }

    /// The number of a client, with a socket of its own from its first datagram on.
    fn client(&mut self, client: SocketAddr) -> io::Result<usize> {
        if let Some(number) = self.clients.get(&client) {
            return Ok(*number);
        }
        let number = self.flows.len();
        let socket = socket(self.several)?;
        self.poller.add(&socket, number as u64)?;
        let address = socket.local_addr()?;
        self.flows.push(Flow { client, socket, address });
        self.clients.insert(client, number);
        Ok(number)
    }

    /// Where a client's datagrams go; nowhere as long as the other of its pair has sent nothing.
    fn peer_of(&self, number: usize) -> Option<SocketAddr> {
        self.peer.or_else(|| Some(self.flows.get(number ^ 1)?.address))
    }
}

fn socket(several: bool) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20)?;
    if several {
        datagrams::take_several(&socket)?;
    }
    Ok(socket)
}

/// A receive failed: of a closed peer's port the next one tells nothing.
fn nothing(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}
