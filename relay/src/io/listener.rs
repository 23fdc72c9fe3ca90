//! UDP listeners: one socket a shard on one address, shared by SO_REUSEPORT.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::option;

/// Asked of the kernel, which gives no more than `net.core.rmem_max` and `wmem_max`.
const BUFFER: usize = 4 << 20;

/// Opens `count` sockets on one address, on a free port when its port is 0, and gives the address they have.
///
/// The first is bound without SO_REUSEPORT, so that it fails where anyone else is bound, even one who would share; it
/// gets the option afterwards, and the others join it. No moment is left in which a second instance could join instead.
///
/// # Errors
/// Of the kernel; [`io::ErrorKind::AddrInUse`] when another program holds the port.
pub(crate) fn open_group(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<Socket>)> {
    let first = new_socket(address)?;
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let bound = first.local_addr()?.as_socket().expect("a UDP socket has an IP address");
    let mut group = vec![first];
    while group.len() < count {
        let next = new_socket(address)?;
        next.set_reuse_port(true)?;
        next.bind(&bound.into())?;
        group.push(next);
    }
    Ok((bound, group))
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    match address.is_ipv4() {
        true => option::allow_fragments(&socket)?,
        false => socket.set_only_v6(true)?,
    }
    if address.ip().is_unspecified() {
        option::report_destination(&socket, address.is_ipv4())?;
    }
    // A kernel that cannot, and a small buffer, are no reason not to serve.
    let _ = option::coalesce(&socket);
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_group_shares_its_port_and_refuses_everyone_else() {
        let (bound, group) = open_group("127.0.0.1:0".parse().unwrap(), 4).unwrap();
        for (place, socket) in group.iter().enumerate() {
            assert_eq!(socket.local_addr().unwrap().as_socket(), Some(bound), "socket {place}");
        }
        for second in [bound, SocketAddr::from(([0, 0, 0, 0], bound.port()))] {
            assert_eq!(open_group(second, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
        for _ in 0..200 {
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", bound).unwrap();
        }
        for (place, socket) in group.iter().enumerate() {
            let mut byte = [std::mem::MaybeUninit::uninit()];
            assert!(socket.recv(&mut byte).is_ok(), "socket {place} of the group got none of 200 flows");
        }
    }
}
