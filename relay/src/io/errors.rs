//! The error queue of a socket (ip(7), ipv6(7)): ICMP about what it sent, and what the kernel itself refused to send.
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::SocketAddr,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

use libc::{
    CMSG_DATA, CMSG_FIRSTHDR, CMSG_NXTHDR, EMSGSIZE, IP_RECVERR, IPPROTO_IP, IPPROTO_IPV6, IPV6_RECVERR,
    MSG_DONTWAIT, MSG_ERRQUEUE, SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, SO_EE_ORIGIN_LOCAL, c_void, msghdr,
    sock_extended_err, sockaddr_storage, socklen_t,
};

use super::address;

/// An error about a datagram that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketError {
    /// Where the datagram was to go; of a [`Origin::TooLong`] one over IPv4 the port is 0.
    pub(crate) peer: SocketAddr,
    pub(crate) origin: Origin,
}

/// Whose error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A router's or the peer's; `info` is the MTU where the error names one.
    Icmp { kind: u8, code: u8, info: u32 },
    /// This host's: longer than this MTU and not to be fragmented.
    TooLong { mtu: u32 },
    /// Another of this host's.
    Other,
}

/// Room for a sock_extended_err, the address behind it, and what the kernel puts beside it.
#[repr(C, align(8))]
struct Control([u8; 256]);

/// Takes the oldest error of a socket that queues them; `None` when there is none.
pub(crate) fn next_error(socket: BorrowedFd<'_>) -> Option<SocketError> {
    loop {
        // SAFETY: all zeros is a valid sockaddr_storage.
        let mut name: sockaddr_storage = unsafe { mem::zeroed() };
        let mut control = Control([0; 256]);
        let mut header = msghdr {
            msg_name: (&raw mut name).cast::<c_void>(),
            msg_namelen: size_of::<sockaddr_storage>() as socklen_t,
            msg_iov: ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: control.0.as_mut_ptr().cast::<c_void>(),
            msg_controllen: control.0.len(),
            msg_flags: 0,
        };
        // SAFETY: name and control are buffers of the lengths given, and nothing else refers to them during the call.
        let received =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, MSG_ERRQUEUE | MSG_DONTWAIT) };
        if received < 0 {
            match io::Error::last_os_error().kind() {
                io::ErrorKind::Interrupted => continue,
                _ => return None,
            }
        }
        if let Some(peer) = address::read(&name) {
            return Some(SocketError { peer, origin: origin(&header) });
        }
    }
}

fn origin(header: &msghdr) -> Origin {
    // SAFETY: the kernel has written `msg_controllen` bytes of a buffer that is aligned for cmsghdr.
    let mut message = unsafe { CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give only headers within the buffer.
        let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
        if matches!((level, kind), (IPPROTO_IP, IP_RECVERR) | (IPPROTO_IPV6, IPV6_RECVERR)) {
            // SAFETY: the kernel writes a whole sock_extended_err behind a header of that level and type.
            let error = unsafe { CMSG_DATA(message).cast::<sock_extended_err>().read_unaligned() };
            return match error.ee_origin {
                SO_EE_ORIGIN_ICMP | SO_EE_ORIGIN_ICMP6 => {
                    Origin::Icmp { kind: error.ee_type, code: error.ee_code, info: error.ee_info }
                }
                SO_EE_ORIGIN_LOCAL if error.ee_errno == EMSGSIZE as u32 && error.ee_info > 0 => {
                    Origin::TooLong { mtu: error.ee_info }
                }
                _ => Origin::Other,
            };
        }
        // SAFETY: as above.
        message = unsafe { CMSG_NXTHDR(header, message) };
    }
    Origin::Other
}

#[cfg(test)]
pub(super) mod tests {
    use std::{net::UdpSocket, os::fd::AsFd as _, time::Duration};

    use super::*;
    use crate::io::{open_relay_socket, set_dont_fragment};

    fn closed_port(ip: &str) -> SocketAddr {
        UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap()
    }

    /// Waits until a socket has an error.
    fn wait(socket: &UdpSocket) {
        let epoll = crate::io::Epoll::new().unwrap();
        let mut ready = crate::io::Ready::new();
        epoll.add(socket, crate::io::Token::Wake).unwrap();
        epoll.wait(&mut ready, Duration::from_secs(10)).unwrap();
        assert!(ready.len() == 1 && ready.has_errors(0));
    }

    /// A relay socket that was told of a closed port and has not noticed, and a peer.
    pub(in crate::io) fn with_a_pending_error(ip: &str) -> (UdpSocket, UdpSocket) {
        let socket = open_relay_socket(ip.parse().unwrap(), 0).unwrap();
        socket.send_to(b"to nobody", closed_port(ip)).unwrap();
        wait(&socket);
        let peer = UdpSocket::bind((ip, 0)).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (socket, peer)
    }

    #[test]
    fn a_closed_port_is_told_with_its_address() {
        for (ip, kind, code) in [("127.0.0.1", 3, 3), ("::1", 1, 4)] {
            let socket = open_relay_socket(ip.parse().unwrap(), 0).unwrap();
            assert_eq!(next_error(socket.as_fd()), None);
            let peer = closed_port(ip);
            socket.send_to(b"to nobody", peer).unwrap();
            let origin = Origin::Icmp { kind, code, info: 0 };
            wait(&socket);
            assert_eq!(next_error(socket.as_fd()), Some(SocketError { peer, origin }));
            assert_eq!(next_error(socket.as_fd()), None);
        }
    }

    #[test]
    fn what_may_not_be_fragmented_and_is_too_long_for_the_interface_is_told_with_its_mtu() {
        let socket = open_relay_socket("::1".parse().unwrap(), 0).unwrap();
        let peer = UdpSocket::bind("[::1]:0").unwrap();
        let address = peer.local_addr().unwrap();
        // 65,555 bytes with the headers, and the loopback interface carries 64 KiB.
        socket.send_to(&[0; 65_507], address).unwrap();
        set_dont_fragment(&socket, false, true).unwrap();
        let sent = socket.send_to(&[0; 65_507], address);
        assert_eq!(sent.unwrap_err().raw_os_error(), Some(EMSGSIZE));
        wait(&socket);
        let expected = SocketError { peer: address, origin: Origin::TooLong { mtu: 65_536 } };
        assert_eq!(next_error(socket.as_fd()), Some(expected));
        set_dont_fragment(&socket, false, false).unwrap();
        socket.send_to(&[0; 65_507], address).unwrap();
    }
}
