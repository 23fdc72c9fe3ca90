//! Socket addresses as the kernel reads and writes them.
#![allow(unsafe_code)]

use std::{
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
    ptr,
};

use libc::{
    AF_INET, AF_INET6, c_int, in_addr, in6_addr, sa_family_t, sockaddr_in, sockaddr_in6, sockaddr_storage,
    socklen_t,
};

/// Writes an address and gives its length.
pub(super) fn write(address: SocketAddr, into: &mut sockaddr_storage) -> socklen_t {
    let place = ptr::from_mut(into);
    match address {
        SocketAddr::V4(v4) => {
            let raw = sockaddr_in {
                sin_family: AF_INET as sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: a sockaddr_storage is large enough for any address and aligned for it.
            unsafe { place.cast::<sockaddr_in>().write(raw) };
            size_of::<sockaddr_in>() as socklen_t
        }
        SocketAddr::V6(v6) => {
            let raw = sockaddr_in6 {
                sin6_family: AF_INET6 as sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { place.cast::<sockaddr_in6>().write(raw) };
            size_of::<sockaddr_in6>() as socklen_t
        }
    }
}

/// Reads an address; `None` for another family than IP.
pub(super) fn read(from: &sockaddr_storage) -> Option<SocketAddr> {
    let place = ptr::from_ref(from);
    match c_int::from(from.ss_family) {
        AF_INET => {
            // SAFETY: the family says what the storage holds.
            let raw = unsafe { &*place.cast::<sockaddr_in>() };
            Some(SocketAddr::from((raw.sin_addr.s_addr.to_ne_bytes(), u16::from_be(raw.sin_port))))
        }
        AF_INET6 => {
            // SAFETY: the family says what the storage holds.
            let raw = unsafe { &*place.cast::<sockaddr_in6>() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let port = u16::from_be(raw.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, raw.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["192.0.2.7:3478", "[2001:db8::1]:65535", "[fe80::1%3]:1", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            // SAFETY: all zeros is a sockaddr_storage of family AF_UNSPEC.
            let mut storage = unsafe { std::mem::zeroed() };
            assert_eq!(read(&storage), None);
            write(address, &mut storage);
            assert_eq!(read(&storage), Some(address));
        }
    }
}
