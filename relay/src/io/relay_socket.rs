//! The socket that an allocation talks to its peers by.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::option;

/// Asked of the kernel: some tenths of a second of video between two turns.
const BUFFER: usize = 512 << 10;

/// Binds a relay socket of one family. It shares its port with nobody.
pub(crate) fn open(ip: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    match ip.is_ipv4() {
        true => option::allow_fragments(&socket)?,
        false => socket.set_only_v6(true)?,
    }
    option::queue_errors(&socket, ip.is_ipv4())?;
    // A small buffer is no reason not to serve.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
