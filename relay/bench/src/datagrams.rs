//! Datagrams in batches by recvmmsg and sendmmsg, with UDP_GRO and UDP_SEGMENT: what makes the generator cheaper than any
//! server. The only module with `unsafe`.
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd, AsRawFd as _},
    ptr,
};

use libc::{
    AF_INET, AF_INET6, CMSG_DATA, CMSG_FIRSTHDR, CMSG_LEN, CMSG_NXTHDR, CMSG_SPACE, IP_PKTINFO, IPPROTO_IP,
    MSG_DONTWAIT, SOL_UDP, UDP_GRO, UDP_SEGMENT, c_int, c_uint, c_void, in_addr, in_pktinfo, in6_addr, iovec,
    mmsghdr, msghdr, sa_family_t, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t,
};

/// Most entries of one call.
const MOST: usize = 64;
/// Bytes of a receive buffer: a whole GRO buffer fits.
const CAPACITY: usize = 65_600;

/// A datagram to be sent, or several of one length.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// To whom.
    pub to: SocketAddr,
    /// The local address it leaves from, on a socket that is bound on any.
    pub from: Option<Ipv4Addr>,
    /// The payload.
    pub bytes: &'a [u8],
    /// The kernel cuts the bytes into datagrams of this length (UDP_SEGMENT).
    pub segment: Option<u16>,
}

/// What one receive buffer holds.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// The local address it was sent to, where the socket tells.
    pub to: Option<Ipv4Addr>,
    /// One datagram, or several of `segment` bytes, of which the last may be shorter.
    pub bytes: &'a mut [u8],
    /// Length of each datagram in it.
    pub segment: usize,
}

/// Room for an in_pktinfo and a c_int, each with its header.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Receive buffers and the headers for one call of recvmmsg.
pub struct Inbox {
    bytes: Vec<u8>,
    names: Vec<sockaddr_storage>,
    controls: Vec<Control>,
    iovecs: Vec<iovec>,
    headers: Vec<mmsghdr>,
    filled: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage, iovec and mmsghdr.
        let (name, vector, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            bytes: vec![0; MOST * CAPACITY],
            names: vec![name; MOST],
            controls: vec![Control([0; 64]); MOST],
            iovecs: vec![vector; MOST],
            headers: vec![header; MOST],
            filled: 0,
        }
    }
}

impl Inbox {
    /// Takes what waits, and gives how many buffers were filled. An ICMP error about a datagram that was sent counts
    /// as nothing waiting.
    ///
    /// # Errors
    /// Of the kernel, but for these.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        for slot in 0..MOST {
            self.iovecs[slot] = iovec {
                iov_base: self.bytes[slot * CAPACITY..].as_mut_ptr().cast::<c_void>(),
                iov_len: CAPACITY,
            };
            self.headers[slot].msg_hdr = msghdr {
                msg_name: (&raw mut self.names[slot]).cast::<c_void>(),
                msg_namelen: size_of::<sockaddr_storage>() as socklen_t,
                msg_iov: &raw mut self.iovecs[slot],
                msg_iovlen: 1,
                msg_control: self.controls[slot].0.as_mut_ptr().cast::<c_void>(),
                msg_controllen: size_of::<Control>(),
                msg_flags: 0,
            };
        }
        // SAFETY: the headers point to buffers of this Inbox, distinct for each slot, of the lengths they say.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                MOST as c_uint,
                MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(received).unwrap_or(0);
        match received {
            0.. => Ok(self.filled),
            _ => match io::Error::last_os_error() {
                error if is_nothing(&error) => Ok(0),
                error => Err(error),
            },
        }
    }

    /// Whether the last call may have left something.
    pub fn is_full(&self) -> bool {
        self.filled == MOST
    }

    /// A buffer that the last call filled.
    pub fn get(&mut self, slot: usize) -> Option<Incoming<'_>> {
        assert!(slot < self.filled, "only filled buffers are read");
        let header = &self.headers[slot];
        let (to, segment) = read_controls(&header.msg_hdr);
        let length = header.msg_len as usize;
        let from = read_address(&self.names[slot])?;
        let bytes = &mut self.bytes[slot * CAPACITY..][..length];
        Some(Incoming { from, to, bytes, segment: segment.unwrap_or(length) })
    }

    /// What the last call filled, read only: sender and bytes, with the segment length where there are several.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8], Option<u16>)> {
        (0..self.filled).filter_map(|slot| {
            let header = &self.headers[slot];
            let length = header.msg_len as usize;
            let (_, segment) = read_controls(&header.msg_hdr);
            let segment = segment.filter(|segment| *segment < length).map(|segment| segment as u16);
            let bytes = &self.bytes[slot * CAPACITY..][..length];
            Some((read_address(&self.names[slot])?, bytes, segment))
        })
    }
}

/// The scratch of one thread for its calls of sendmmsg.
pub struct Sender {
    names: Vec<sockaddr_storage>,
    controls: Vec<Control>,
    iovecs: Vec<iovec>,
    headers: Vec<mmsghdr>,
}

impl Default for Sender {
    fn default() -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage, iovec and mmsghdr.
        let (name, vector, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            names: vec![name; MOST],
            controls: vec![Control([0; 64]); MOST],
            iovecs: vec![vector; MOST],
            headers: vec![header; MOST],
        }
    }
}

impl Sender {
    /// Sends in order by one socket. What the kernel refuses is skipped; gives how many entries it refused.
    pub fn send<'a>(
        &mut self,
        socket: &impl AsFd,
        outgoing: impl IntoIterator<Item = Outgoing<'a>>,
    ) -> usize {
        let mut outgoing = outgoing.into_iter();
        let mut refused = 0;
        loop {
            let mut count = 0;
            for one in outgoing.by_ref().take(MOST) {
                self.prepare(count, &one);
                count += 1;
            }
            if count == 0 {
                return refused;
            }
            refused += self.flush(socket, count);
        }
    }

    fn flush(&mut self, socket: &impl AsFd, count: usize) -> usize {
        let (mut done, mut refused, mut tries) = (0, 0, 0);
        while done < count {
            let headers = &mut self.headers[done..count];
            // SAFETY: `prepare` pointed each header to a name, vector and control of this Sender and to bytes that the
            // iterator of `send` borrows for longer than this call.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_fd().as_raw_fd(),
                    headers.as_mut_ptr(),
                    headers.len() as c_uint,
                    MSG_DONTWAIT as _,
                )
            };
            match usize::try_from(sent) {
                Ok(sent) => (done, tries) = (done + sent, 0),
                // A pending ICMP error fails one call only.
                Err(_) if tries < 2 => tries += 1,
                Err(_) => (done, refused, tries) = (done + 1, refused + 1, 0),
            }
        }
        refused
    }

    fn prepare(&mut self, slot: usize, one: &Outgoing<'_>) {
        self.iovecs[slot] =
            iovec { iov_base: one.bytes.as_ptr().cast_mut().cast::<c_void>(), iov_len: one.bytes.len() };
        let name_len = write_address(one.to, &mut self.names[slot]);
        let header = &mut self.headers[slot];
        header.msg_len = 0;
        header.msg_hdr = msghdr {
            msg_name: (&raw mut self.names[slot]).cast::<c_void>(),
            msg_namelen: name_len,
            msg_iov: &raw mut self.iovecs[slot],
            msg_iovlen: 1,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        let several = one.segment.filter(|segment| usize::from(*segment) < one.bytes.len());
        if one.from.is_none() && several.is_none() {
            return;
        }
        self.controls[slot] = Control([0; 64]);
        header.msg_hdr.msg_control = self.controls[slot].0.as_mut_ptr().cast::<c_void>();
        header.msg_hdr.msg_controllen = size_of::<Control>();
        // SAFETY: the control buffer is zeroed, aligned for cmsghdr, and longer than both values with their headers,
        // so that neither CMSG_FIRSTHDR nor CMSG_NXTHDR is null, and CMSG_DATA lies within.
        unsafe {
            let mut used = 0;
            let mut place = CMSG_FIRSTHDR(&raw const header.msg_hdr);
            if let Some(from) = one.from {
                let info = in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                let len = size_of::<in_pktinfo>() as c_uint;
                (*place).cmsg_level = IPPROTO_IP;
                (*place).cmsg_type = IP_PKTINFO;
                (*place).cmsg_len = CMSG_LEN(len) as _;
                CMSG_DATA(place).cast::<in_pktinfo>().write_unaligned(info);
                used += CMSG_SPACE(len) as usize;
                place = CMSG_NXTHDR(&raw const header.msg_hdr, place);
            }
            if let Some(segment) = several {
                let len = size_of::<u16>() as c_uint;
                (*place).cmsg_level = SOL_UDP;
                (*place).cmsg_type = UDP_SEGMENT;
                (*place).cmsg_len = CMSG_LEN(len) as _;
                CMSG_DATA(place).cast::<u16>().write_unaligned(segment);
                used += CMSG_SPACE(len) as usize;
            }
            header.msg_hdr.msg_controllen = used;
        }
    }
}

/// Lets a socket tell the local address that each datagram was sent to (ip(7), IP_PKTINFO).
///
/// # Errors
/// Of the kernel.
pub fn tell_destination(socket: &impl AsFd) -> io::Result<()> {
    set(socket, IPPROTO_IP, IP_PKTINFO)
}

/// Lets a socket take several datagrams of one flow as one (udp(7), UDP_GRO).
///
/// # Errors
/// Of the kernel.
pub fn take_several(socket: &impl AsFd) -> io::Result<()> {
    set(socket, SOL_UDP, UDP_GRO)
}

fn set(socket: &impl AsFd, level: c_int, option: c_int) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: the option's value is a c_int that lives during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const on).cast::<c_void>(),
            size_of::<c_int>() as socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A closed peer's port is told by the next call on the socket; the datagrams behind it are not concerned.
fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused
    )
}

fn read_controls(header: &msghdr) -> (Option<Ipv4Addr>, Option<usize>) {
    let (mut to, mut segment) = (None, None);
    // SAFETY: the kernel wrote the control messages and their length; each value is read as the type that goes with it.
    unsafe {
        let mut place = CMSG_FIRSTHDR(header);
        while !place.is_null() {
            match ((*place).cmsg_level, (*place).cmsg_type) {
                (IPPROTO_IP, IP_PKTINFO) => {
                    let info = CMSG_DATA(place).cast::<in_pktinfo>().read_unaligned();
                    to = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()));
                }
                (SOL_UDP, UDP_GRO) => {
                    segment = usize::try_from(CMSG_DATA(place).cast::<c_int>().read_unaligned()).ok();
                }
                _ => {}
            }
            place = CMSG_NXTHDR(header, place);
        }
    }
    (to, segment.filter(|segment| *segment > 0))
}

fn write_address(address: SocketAddr, into: &mut sockaddr_storage) -> socklen_t {
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

fn read_address(from: &sockaddr_storage) -> Option<SocketAddr> {
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
            Some(SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), 0, raw.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use super::*;

    /// Waits for one datagram, then takes all that wait.
    fn take(inbox: &mut Inbox, socket: &UdpSocket) -> usize {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.peek(&mut [0]).unwrap();
        inbox.receive(socket).unwrap()
    }

    #[test]
    fn one_socket_speaks_and_listens_for_many_addresses() {
        let clients = UdpSocket::bind("0.0.0.0:0").unwrap();
        tell_destination(&clients).unwrap();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let sources = [Ipv4Addr::new(127, 16, 0, 1), Ipv4Addr::new(127, 16, 0, 2)];
        let sent = sources.map(|source| Outgoing { to, from: Some(source), bytes: b"hello", segment: None });
        assert_eq!(Sender::default().send(&clients, sent), 0);
        let mut inbox = Inbox::default();
        assert_eq!(take(&mut inbox, &server), 2);
        let from: Vec<_> = inbox.iter().map(|(from, bytes, _)| (from, bytes.to_vec())).collect();
        let port = clients.local_addr().unwrap().port();
        assert_eq!(from, sources.map(|source| (SocketAddr::from((source, port)), b"hello".to_vec())));
        server.send_to(b"back", from[1].0).unwrap();
        assert_eq!(take(&mut inbox, &clients), 1);
        let back = inbox.get(0).unwrap();
        assert_eq!((back.to, &*back.bytes, back.from), (Some(sources[1]), &b"back"[..], to));
    }

    #[test]
    fn a_burst_goes_and_comes_as_one_buffer_of_segments() {
        let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        take_several(&to).unwrap();
        let bytes: Vec<u8> = (0..250).collect();
        let burst = Outgoing { to: to.local_addr().unwrap(), from: None, bytes: &bytes, segment: Some(100) };
        assert_eq!(Sender::default().send(&from, [burst]), 0);
        let mut inbox = Inbox::default();
        assert_eq!(take(&mut inbox, &to), 1);
        let burst = inbox.get(0).unwrap();
        assert_eq!((&*burst.bytes, burst.segment), (&bytes[..], 100));
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_skipped() {
        let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let good = Outgoing { to: to.local_addr().unwrap(), from: None, bytes: b"x", segment: None };
        let nowhere = Outgoing { to: "127.0.0.1:0".parse().unwrap(), ..good };
        assert_eq!(Sender::default().send(&from, [good, nowhere, good]), 1);
        assert_eq!(take(&mut Inbox::default(), &to), 2);
    }
}
