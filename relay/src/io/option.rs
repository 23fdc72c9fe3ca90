//! Socket options that `socket2` does not know.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

use libc::{
    IP_MTU_DISCOVER, IP_PKTINFO, IP_PMTUDISC_OMIT, IP_PMTUDISC_PROBE, IP_RECVERR, IPPROTO_IP, IPPROTO_IPV6,
    IPPROTO_TCP, IPV6_DONTFRAG, IPV6_RECVERR, IPV6_RECVPKTINFO, SOL_UDP, TCP_INFO, UDP_GRO, UDP_SEGMENT,
    c_int, c_void, socklen_t,
};
use socket2::{Domain, Protocol, Socket, Type};

/// Segments of a connection so far, those without data included. Both counts wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Segments {
    pub(crate) received: u32,
    pub(crate) sent: u32,
}

/// The beginning of the kernel's `tcp_info` (linux/tcp.h), which only ever grows at its end.
#[repr(C, align(8))]
struct TcpInfo {
    _before: [u8; 136],
    segs_out: u32,
    segs_in: u32,
}

/// Segments of a TCP connection (tcp(7), TCP_INFO).
///
/// # Errors
/// Of the kernel, or when it is older than Linux 4.2, which does not count them.
pub(crate) fn segments(socket: &impl AsFd) -> io::Result<Segments> {
    let mut info = TcpInfo { _before: [0; 136], segs_out: 0, segs_in: 0 };
    let mut len = size_of::<TcpInfo>() as socklen_t;
    // SAFETY: the kernel writes `len` bytes at most, all of them plain integers, into a value that lives during the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            IPPROTO_TCP,
            TCP_INFO,
            (&raw mut info).cast::<c_void>(),
            &raw mut len,
        )
    };
    match result {
        0 if len as usize == size_of::<TcpInfo>() => {
            Ok(Segments { received: info.segs_in, sent: info.segs_out })
        }
        0 => Err(io::ErrorKind::Unsupported.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reports the address that each datagram was sent to (ip(7), ipv6(7)).
pub(super) fn report_destination(socket: &impl AsFd, is_ipv4: bool) -> io::Result<()> {
    match is_ipv4 {
        true => set(socket, IPPROTO_IP, IP_PKTINFO, 1),
        false => set(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1),
    }
}

/// Sends IPv4 without DF (RFC 8656 §14): what is too long for a link is fragmented. No ICMP error, which anyone may
/// forge, changes what is known of the path, but each is told.
pub(super) fn allow_fragments(socket: &impl AsFd) -> io::Result<()> {
    set(socket, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT)
}

/// Sends what follows with DF, over IPv6 without fragments, or as before.
pub(crate) fn set_dont_fragment(socket: &impl AsFd, is_ipv4: bool, on: bool) -> io::Result<()> {
    match is_ipv4 {
        true => {
            let discover = if on { IP_PMTUDISC_PROBE } else { IP_PMTUDISC_OMIT };
            set(socket, IPPROTO_IP, IP_MTU_DISCOVER, discover)
        }
        false => set(socket, IPPROTO_IPV6, IPV6_DONTFRAG, on.into()),
    }
}

/// Takes datagrams of one sender that came together as one buffer (UDP_GRO, udp(7)).
///
/// # Errors
/// Of the kernel, or when it is older than Linux 5.0.
pub(crate) fn coalesce(socket: &impl AsFd) -> io::Result<()> {
    set(socket, SOL_UDP, UDP_GRO, 1)
}

/// Whether the kernel cuts one buffer into several datagrams (UDP_SEGMENT, udp(7)). One older than Linux 4.18 does not, and
/// would send it as one.
pub(super) fn can_segment() -> bool {
    let socket = [Domain::IPV4, Domain::IPV6]
        .into_iter()
        .find_map(|domain| Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).ok());
    // 0 is what it is: whole datagrams.
    socket.is_some_and(|socket| set(&socket, SOL_UDP, UDP_SEGMENT, 0).is_ok())
}

/// Queues ICMP errors and tells of them ([`super::next_error`]).
pub(super) fn queue_errors(socket: &impl AsFd, is_ipv4: bool) -> io::Result<()> {
    match is_ipv4 {
        true => set(socket, IPPROTO_IP, IP_RECVERR, 1),
        false => set(socket, IPPROTO_IPV6, IPV6_RECVERR, 1),
    }
}

fn set(socket: &impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the option's value is a c_int that lives during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>() as socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
