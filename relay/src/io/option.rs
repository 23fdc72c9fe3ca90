//! Socket options that `socket2` does not know.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

use libc::{
    IP_MTU_DISCOVER, IP_PKTINFO, IP_PMTUDISC_DONT, IPPROTO_IP, IPPROTO_IPV6, IPV6_RECVPKTINFO, c_int,
};
use libc::{c_void, socklen_t};

/// Reports the address that each datagram was sent to (ip(7), ipv6(7)).
pub(super) fn report_destination(socket: &impl AsFd, is_ipv4: bool) -> io::Result<()> {
    match is_ipv4 {
        true => set(socket, IPPROTO_IP, IP_PKTINFO, 1),
        false => set(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1),
    }
}

/// Sends IPv4 without DF (RFC 8656 §14): what is too long for a link is fragmented.
pub(super) fn allow_fragments(socket: &impl AsFd) -> io::Result<()> {
    set(socket, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
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
