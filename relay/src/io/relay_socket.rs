//! The socket that an allocation talks to its peers by.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::option;

/// Asked of the kernel: some tenths of a second of video between two turns.
const BUFFER: usize = 512 << 10;

/// Binds a relay socket. It shares its port with nobody.
pub(crate) fn open(ip: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    option::allow_fragments(&socket)?;
    // A small buffer is no reason not to serve.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&SocketAddr::from((ip, port)).into())?;
    Ok(socket.into())
}
