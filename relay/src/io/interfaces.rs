//! The addresses of this host's interfaces.
#![allow(unsafe_code)]

use std::{io, net::IpAddr, ptr};

use libc::{ifaddrs, sockaddr_in, sockaddr_in6, sockaddr_storage};

use super::address;

/// Every IPv4 and IPv6 address of every interface.
pub(crate) fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut ifaddrs = ptr::null_mut();
    // SAFETY: getifaddrs writes one pointer.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: the entry belongs to the list, which is freed only below.
        found.extend(unsafe { address_of(&*entry) });
        // SAFETY: as above.
        entry = unsafe { (*entry).ifa_next };
    }
    // SAFETY: the list came from getifaddrs and no reference into it is left.
    unsafe { libc::freeifaddrs(list) };
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// # Safety
/// The entry comes from a list of getifaddrs that has not been freed.
unsafe fn address_of(entry: &ifaddrs) -> Option<IpAddr> {
    if entry.ifa_addr.is_null() {
        return None;
    }
    // SAFETY: a non-null ifa_addr points to at least a sa_family_t.
    let len = match i32::from(unsafe { (*entry.ifa_addr).sa_family }) {
        libc::AF_INET => size_of::<sockaddr_in>(),
        libc::AF_INET6 => size_of::<sockaddr_in6>(),
        _ => return None,
    };
    // SAFETY: all zeros is a valid sockaddr_storage.
    let mut storage: sockaddr_storage = unsafe { std::mem::zeroed() };
    // SAFETY: an address of that family is `len` bytes long, and a sockaddr_storage holds any.
    unsafe { ptr::copy_nonoverlapping(entry.ifa_addr.cast::<u8>(), (&raw mut storage).cast::<u8>(), len) };
    address::read(&storage).map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    #[test]
    fn loopback_is_among_the_interface_addresses() {
        assert!(super::addresses().unwrap().contains(&"127.0.0.1".parse().unwrap()));
    }
}
