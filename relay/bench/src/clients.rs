//! The addresses that clients of the load have. With a server on loopback one socket speaks for all of them, each by an
//! address of its own; with one elsewhere each has a socket of its own.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
};

use rustix::net::sockopt;

use crate::{
    datagrams::{self, Outgoing},
    poller::Poller,
};

/// The address of the first client on loopback.
const FIRST: u32 = u32::from_be_bytes([127, 16, 0, 1]);
/// Bytes that wait in a socket which many flows share; what does not fit is lost at the generator, not at the server.
const RECEIVE_BUFFER: usize = 32 << 20;

/// Sockets of clients.
pub struct Clients {
    /// Their server.
    pub server: SocketAddr,
    sockets: Vec<UdpSocket>,
    count: usize,
    /// The loopback address of the first one, where they share a socket.
    shared_from: Option<u32>,
}

impl Clients {
    /// Sockets for `count` clients. `several` lets the kernel hand over bursts in one piece. Clients on loopback with
    /// different `generation`s have different addresses.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn open(server: SocketAddr, count: usize, generation: u32, several: bool) -> io::Result<Self> {
        let is_shared = server.is_ipv4() && server.ip().is_loopback();
        let any = SocketAddr::new(if server.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() }, 0);
        let sockets = (0..if is_shared { 1 } else { count })
            .map(|_| {
                let socket = UdpSocket::bind(any)?;
                match is_shared {
                    true => datagrams::tell_destination(&socket)?,
                    false => socket.connect(server)?,
                }
                prepare(&socket, several)?;
                Ok(socket)
            })
            .collect::<io::Result<_>>()?;
        let shared_from = is_shared.then_some(FIRST + (generation % 64) * 0x1_0000);
        Ok(Self { server, sockets, count, shared_from })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The socket of a number that [`Self::watch`] gave.
    pub fn socket(&self, number: usize) -> &UdpSocket {
        &self.sockets[number]
    }

    /// The number of a client's socket.
    pub fn socket_of(&self, client: usize) -> usize {
        if self.shared_from.is_some() { 0 } else { client }
    }

    /// A message from a client to the server.
    pub fn outgoing<'a>(&self, client: usize, bytes: &'a [u8], segment: Option<u16>) -> Outgoing<'a> {
        let from = self.shared_from.map(|first| Ipv4Addr::from(first + client as u32));
        Outgoing { to: self.server, from, bytes, segment }
    }

    /// Which client a datagram is for that a socket took at this local address.
    pub fn client_at(&self, socket: usize, to: Option<Ipv4Addr>) -> Option<usize> {
        let client = match (self.shared_from, to) {
            (Some(first), Some(to)) => u32::from(to).checked_sub(first)? as usize,
            (Some(_), None) => return None,
            (None, _) => socket,
        };
        (client < self.count).then_some(client)
    }

    /// Adds their sockets to a set, by their numbers.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn watch(&self, poller: &Poller) -> io::Result<()> {
        self.sockets.iter().enumerate().try_for_each(|(number, socket)| poller.add(socket, number as u64))
    }

    /// Datagrams that did not fit into the sockets' buffers.
    ///
    /// # Errors
    /// When the kernel's tables cannot be read.
    pub fn overflown(&self) -> io::Result<u64> {
        self.sockets.iter().map(overflown).sum()
    }
}

/// The peer that every client talks to: it sends back what it gets.
///
/// # Errors
/// Of the kernel.
pub fn peer(address: IpAddr, several: bool) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, 0))?;
    prepare(&socket, several)?;
    Ok(socket)
}

/// Datagrams that did not fit into a socket's buffer (proc_net_udp(5), the last column).
///
/// # Errors
/// When the kernel's table cannot be read.
pub fn overflown(socket: &UdpSocket) -> io::Result<u64> {
    let port = format!("{:04X}", socket.local_addr()?.port());
    let table = if socket.local_addr()?.is_ipv4() { "/proc/net/udp" } else { "/proc/net/udp6" };
    let table = std::fs::read_to_string(table)?;
    let drops = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let is_this = columns.nth(1)?.rsplit(':').next()? == port;
        is_this.then(|| columns.next_back()?.parse::<u64>().ok()).flatten()
    });
    Ok(drops.sum())
}

fn prepare(socket: &UdpSocket, several: bool) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    grow(socket)?;
    if several {
        datagrams::take_several(socket)?;
    }
    Ok(())
}

/// Root may have more than `net.core.rmem_max`.
fn grow(socket: &impl AsFd) -> io::Result<()> {
    match sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER) {
        Ok(()) => Ok(()),
        Err(_) => Ok(sockopt::set_socket_recv_buffer_size(socket, RECEIVE_BUFFER)?),
    }
}
