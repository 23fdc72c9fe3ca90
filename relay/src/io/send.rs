//! Sending in batches (sendmmsg): header, payload and padding are gathered by the kernel, not copied together here.
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

use libc::{
    CMSG_DATA, CMSG_FIRSTHDR, CMSG_LEN, CMSG_SPACE, EAGAIN, EINTR, EMSGSIZE, ENOBUFS, IP_PKTINFO, IPPROTO_IP,
    IPPROTO_IPV6, IPV6_PKTINFO, MSG_DONTWAIT, c_int, c_uint, c_void, in_addr, in_pktinfo, in6_addr,
    in6_pktinfo, iovec, mmsghdr, msghdr, sockaddr_storage,
};

use super::address;

/// Most datagrams of one call.
const MOST: usize = 64;
/// Times that one datagram is given to the kernel. An ICMP error about an earlier one fails the next send, whoever that
/// is to, and another may come in between.
const TRIES: u32 = 4;
/// STUN attributes are padded by up to three zero bytes.
static PADDING: [u8; 3] = [0; 3];

/// A datagram to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Datagram<'a> {
    pub(crate) to: SocketAddr,
    /// The local address it leaves from, where the socket is bound on any.
    pub(crate) from: Option<IpAddr>,
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// Zero bytes behind the payload, 3 at most.
    pub(crate) pad: u8,
}

impl Datagram<'_> {
    /// Bytes of UDP payload.
    pub(crate) fn len(&self) -> usize {
        self.header.len() + self.payload.len() + usize::from(self.pad)
    }
}

impl<'a> Datagram<'a> {
    /// Its bytes in order.
    pub(crate) fn parts(&self) -> [&'a [u8]; 3] {
        [self.header, self.payload, &PADDING[..usize::from(self.pad)]]
    }
}

/// Why the kernel did not take a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Longer than any UDP datagram.
    TooLarge,
    /// A full buffer, no route, a closed port: it is lost like any datagram on the way.
    Failed,
}

/// Room for an in6_pktinfo and its header: 40 bytes.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

/// The scratch of one thread for its calls of sendmmsg.
pub(crate) struct Batch {
    names: Vec<sockaddr_storage>,
    controls: Vec<Control>,
    iovecs: Vec<[iovec; 3]>,
    headers: Vec<mmsghdr>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage, iovec and mmsghdr.
        let (name, vectors, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            names: vec![name; MOST],
            controls: vec![Control([0; 64]); MOST],
            iovecs: vec![vectors; MOST],
            headers: vec![header; MOST],
        }
    }

    /// Sends datagrams by one socket, in order, and tells of each, by its number, whether the kernel took it.
    pub(crate) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl IntoIterator<Item = Datagram<'a>>,
        mut outcome: impl FnMut(usize, Result<(), Refused>),
    ) {
        let mut datagrams = datagrams.into_iter();
        let mut sent_before = 0;
        loop {
            let mut count = 0;
            for datagram in datagrams.by_ref().take(MOST) {
                self.prepare(count, &datagram);
                count += 1;
            }
            if count == 0 {
                return;
            }
            self.flush(socket, count, |nth, result| outcome(sent_before + nth, result));
            sent_before += count;
        }
    }

    /// One that fails again and again is skipped: sendmmsg stops in front of it and tells its error only on the next
    /// call.
    fn flush(
        &mut self,
        socket: BorrowedFd<'_>,
        count: usize,
        mut outcome: impl FnMut(usize, Result<(), Refused>),
    ) {
        let mut done = 0;
        let mut tries = 0;
        while done < count {
            let headers = &mut self.headers[done..count];
            // SAFETY: `prepare` has just pointed each header to buffers that outlive this call: names, vectors and
            // controls of this Batch, and bytes that the iterator of `send` borrows.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    headers.len() as c_uint,
                    MSG_DONTWAIT as _,
                )
            };
            if let Ok(sent) = usize::try_from(sent) {
                (done..done + sent).for_each(|nth| outcome(nth, Ok(())));
                done += sent;
                tries = 0;
                continue;
            }
            tries += 1;
            match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
                EINTR => {}
                EAGAIN => {
                    (done..count).for_each(|nth| outcome(nth, Err(Refused::Failed)));
                    return;
                }
                code if tries < tries_for(code) => {}
                code => {
                    outcome(done, Err(refusal(code)));
                    done += 1;
                    tries = 0;
                }
            }
        }
    }

    fn prepare(&mut self, place: usize, datagram: &Datagram<'_>) {
        let mut vectors = 0;
        for part in datagram.parts() {
            if !part.is_empty() {
                self.iovecs[place][vectors] =
                    iovec { iov_base: part.as_ptr().cast_mut().cast::<c_void>(), iov_len: part.len() };
                vectors += 1;
            }
        }
        let name_len = address::write(datagram.to, &mut self.names[place]);
        let control = &mut self.controls[place].0;
        let header = &mut self.headers[place];
        header.msg_len = 0;
        header.msg_hdr = msghdr {
            msg_name: (&raw mut self.names[place]).cast::<c_void>(),
            msg_namelen: name_len,
            msg_iov: self.iovecs[place].as_mut_ptr(),
            msg_iovlen: vectors,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        if let Some(from) = datagram.from {
            header.msg_hdr.msg_control = control.as_mut_ptr().cast::<c_void>();
            header.msg_hdr.msg_controllen = control.len();
            header.msg_hdr.msg_controllen = match from {
                IpAddr::V4(ip) => {
                    let info = in_pktinfo {
                        ipi_ifindex: 0,
                        ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                        ipi_addr: in_addr { s_addr: 0 },
                    };
                    write_control(&header.msg_hdr, IPPROTO_IP, IP_PKTINFO, info)
                }
                IpAddr::V6(ip) => {
                    let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
                    write_control(&header.msg_hdr, IPPROTO_IPV6, IPV6_PKTINFO, info)
                }
            };
        }
    }
}

/// Writes one control message and gives the length of the whole.
fn write_control<T>(header: &msghdr, level: c_int, kind: c_int, value: T) -> usize {
    let len = size_of::<T>() as c_uint;
    // SAFETY: CMSG_LEN and CMSG_SPACE only compute. The header's control buffer is aligned for cmsghdr and longer than
    // any of the two values with their header, so that CMSG_FIRSTHDR is not null and CMSG_DATA lies within.
    unsafe {
        let message = CMSG_FIRSTHDR(header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = CMSG_LEN(len) as _;
        CMSG_DATA(message).cast::<T>().write_unaligned(value);
        CMSG_SPACE(len) as usize
    }
}

/// A full queue of the interface is no matter of another datagram. One that is too long itself is refused for that each
/// time, and where errors are queued each time adds one.
fn tries_for(code: c_int) -> u32 {
    match code {
        ENOBUFS => 1,
        EMSGSIZE => 2,
        _ => TRIES,
    }
}

fn refusal(code: c_int) -> Refused {
    match code {
        EMSGSIZE => Refused::TooLarge,
        _ => Refused::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd as _};

    use super::*;

    fn datagram(to: SocketAddr, payload: &[u8]) -> Datagram<'_> {
        Datagram { to, from: None, header: &[], payload, pad: 0 }
    }

    #[test]
    fn one_that_cannot_be_sent_does_not_stop_the_others() {
        let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let address = to.local_addr().unwrap();
        let too_large = vec![0; 65_508];
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut sent: Vec<Datagram<'_>> = (0..150).map(|_| datagram(address, b"fine")).collect();
        sent[0] = datagram(address, &too_large);
        sent[70] = datagram(nowhere, b"port 0");
        let mut outcomes = vec![None; sent.len()];
        Batch::new().send(from.as_fd(), sent, |nth, result| outcomes[nth] = Some(result));
        for (nth, outcome) in outcomes.into_iter().enumerate() {
            let expected = match nth {
                0 => Err(Refused::TooLarge),
                70 => Err(Refused::Failed),
                _ => Ok(()),
            };
            assert_eq!(outcome, Some(expected), "datagram {nth}");
        }
    }

    #[test]
    fn an_error_about_an_earlier_datagram_fails_none() {
        for ip in ["127.0.0.1", "::1"] {
            let (socket, peer) = crate::io::errors::tests::with_a_pending_error(ip);
            let address = peer.local_addr().unwrap();
            let mut outcomes = Vec::new();
            let sent = (0..3).map(|_| datagram(address, b"fine"));
            Batch::new().send(socket.as_fd(), sent, |_, result| outcomes.push(result));
            assert_eq!(outcomes, [Ok(()); 3]);
            for _ in 0..3 {
                assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 4);
            }
        }
    }

    #[test]
    fn parts_arrive_as_one_datagram_from_the_address_asked_for() {
        let from = UdpSocket::bind("0.0.0.0:0").unwrap();
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        let source: IpAddr = "127.0.0.2".parse().unwrap();
        let sent = Datagram {
            to: to.local_addr().unwrap(),
            from: Some(source),
            header: b"head",
            payload: b"payload",
            pad: 1,
        };
        Batch::new().send(from.as_fd(), [sent], |_, result| assert_eq!(result, Ok(())));
        let mut buffer = [1; 64];
        let (len, seen) = to.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"headpayload\0");
        assert_eq!(seen, SocketAddr::new(source, from.local_addr().unwrap().port()));
    }
}
