//! TCP: listeners that shards share, connections from them, and what the kernel knows of a connection.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::AsFd,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{SocketFlags, acceptfrom_with},
};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that wait for a shard; the kernel gives no more than `net.core.somaxconn`.
const BACKLOG: i32 = 1_024;
/// What the kernel may hold unsent: 60 ms of video at 4 Mbit/s. The rest waits where the oldest can be dropped.
const UNSENT: u32 = 32 << 10;
/// A client whose network is gone is noticed within two minutes where it sends and gets nothing.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// A connection that a listener gave.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: TcpStream,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
}

/// Why a listener gives no connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
    /// None waits.
    Empty,
    /// That one is gone already; there may be others.
    Gone,
    /// The process or the system has no file or no memory for it.
    Starved(io::Error),
}

/// Opens `count` listeners on one address, on a free port when its port is 0, and gives the address they have.
///
/// The first listens without SO_REUSEPORT, so that it fails where anyone else listens, even one who would share; it gets
/// the option afterwards, and the others join it.
///
/// # Errors
/// Of the kernel; [`io::ErrorKind::AddrInUse`] when another program holds the port.
pub(crate) fn open_group(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<Socket>)> {
    let first = new_listener(address)?;
    first.bind(&address.into())?;
    first.listen(BACKLOG)?;
    first.set_reuse_port(true)?;
    let bound = first.local_addr()?.as_socket().expect("a TCP socket has an IP address");
    let mut group = vec![first];
    while group.len() < count {
        let next = new_listener(address)?;
        next.set_reuse_port(true)?;
        next.bind(&bound.into())?;
        next.listen(BACKLOG)?;
        group.push(next);
    }
    Ok((bound, group))
}

/// Connections inherit these options (tcp(7)), which saves a few calls for each.
fn new_listener(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier process that the kernel still remembers are no reason not to start.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    Ok(socket)
}

/// Takes the next connection, nonblocking.
///
/// # Errors
/// [`NoConnection`].
pub(crate) fn accept(listener: impl AsFd) -> Result<Accepted, NoConnection> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, client) = acceptfrom_with(listener, flags).map_err(|error| match error {
        Errno::AGAIN => NoConnection::Empty,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => NoConnection::Starved(error.into()),
        // Errors of the connection itself are told here as well (accept(2)).
        _ => NoConnection::Gone,
    })?;
    let socket = TcpStream::from(socket);
    let client = client.and_then(|address| SocketAddr::try_from(address).ok()).ok_or(NoConnection::Gone)?;
    let server = socket.local_addr().map_err(|_| NoConnection::Gone)?;
    Ok(Accepted { socket, client, server })
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use super::*;
    use crate::io::segments;

    fn accepted(group: &[Socket]) -> Vec<(usize, Accepted)> {
        let from = |(place, socket): (usize, &Socket)| {
            std::iter::from_fn(move || accept(socket).ok()).map(move |one| (place, one)).collect::<Vec<_>>()
        };
        group.iter().enumerate().flat_map(from).collect()
    }

    #[test]
    fn a_group_shares_its_port_and_refuses_everyone_else() {
        let (bound, group) = open_group("127.0.0.1:0".parse().unwrap(), 4).unwrap();
        for second in [bound, SocketAddr::from(([0, 0, 0, 0], bound.port()))] {
            assert_eq!(open_group(second, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
        let clients: Vec<_> = (0..200).map(|_| TcpStream::connect(bound).unwrap()).collect();
        let accepted = accepted(&group);
        assert_eq!(accepted.len(), clients.len());
        let places: HashSet<_> = accepted.iter().map(|(place, _)| *place).collect();
        assert_eq!(places.len(), group.len(), "each socket of the group got some of 200 connections");
        let expected: HashSet<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        assert_eq!(accepted.iter().map(|(_, one)| one.client).collect::<HashSet<_>>(), expected);
        assert!(accepted.iter().all(|(_, one)| one.server == bound));
    }

    #[test]
    fn a_port_whose_last_connections_are_remembered_can_be_had_again() {
        let (bound, group) = open_group("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let mut client = TcpStream::connect(bound).unwrap();
        // Who closes first is remembered.
        drop(accepted(&group));
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        drop((client, group));
        open_group(bound, 2).unwrap();
    }

    #[test]
    fn a_port_on_which_another_program_listens_is_refused() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = open_group(other.local_addr().unwrap(), 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn connections_inherit_what_their_listener_was_set_to() {
        let (bound, group) = open_group("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let _client = TcpStream::connect(bound).unwrap();
        let (_, one) = accepted(&group).pop().unwrap();
        let socket = socket2::SockRef::from(&one.socket);
        assert!(
            socket.nonblocking().unwrap() && socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap()
        );
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT);
    }

    #[test]
    fn segments_are_those_of_both_directions() {
        let (bound, group) = open_group("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let mut client = TcpStream::connect(bound).unwrap();
        let (_, mut one) = accepted(&group).pop().unwrap();
        let start = segments(&one.socket).unwrap();
        for _ in 0..3 {
            client.write_all(b"hello").unwrap();
            one.socket.set_nonblocking(false).unwrap();
            one.socket.read_exact(&mut [0; 5]).unwrap();
            one.socket.write_all(b"hello").unwrap();
            client.read_exact(&mut [0; 5]).unwrap();
        }
        let end = segments(&one.socket).unwrap();
        assert!((3..=7).contains(&end.received.wrapping_sub(start.received)), "{start:?} {end:?}");
        assert!((3..=7).contains(&end.sent.wrapping_sub(start.sent)), "{start:?} {end:?}");
    }
}
