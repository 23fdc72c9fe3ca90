//! Receiving in batches (recvmmsg), into buffers that belong to the thread and live until its next flush.
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::{IpAddr, SocketAddr},
    ops::Range,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

use libc::{
    CMSG_DATA, CMSG_FIRSTHDR, CMSG_NXTHDR, IP_PKTINFO, IPPROTO_IP, IPPROTO_IPV6, IPV6_PKTINFO, MSG_DONTWAIT,
    MSG_TRUNC, SOL_UDP, UDP_GRO, c_int, c_uint, c_void, in_pktinfo, in6_pktinfo, iovec, mmsghdr, msghdr,
    sockaddr_storage, socklen_t,
};

use super::address;

/// Times that a receive is tried: another ICMP error may come in between.
const TRIES: u32 = 4;
/// Datagrams in hand between two flushes.
const SLOTS: usize = 128;
/// Not a power of two, so that the first bytes of all slots do not fall into one set of the cache.
const STRIDE: usize = Inbox::CAPACITY + 17 * 64;

/// What was received from one sender: a datagram, or several that the kernel has put together (UDP_GRO).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) len: usize,
    /// Bytes of each datagram; the last one may be shorter.
    segment: usize,
    pub(crate) from: SocketAddr,
    /// The local address it was sent to, where that was asked for.
    pub(crate) to: Option<IpAddr>,
    /// It was longer than the buffer.
    pub(crate) truncated: bool,
}

impl Received {
    /// Where each datagram stands in the slot.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Self { len, segment, .. } = *self;
        // An empty datagram is one as well.
        (0..len.max(1)).step_by(segment).map(move |start| start..len.min(start + segment))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.len.div_ceil(self.segment).max(1)
    }
}

/// Room for ancillary data: an in6_pktinfo with its header takes 40 bytes, a segment's length 24.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

/// What the kernel says beside a buffer.
#[derive(Debug, Default)]
struct Beside {
    destination: Option<IpAddr>,
    segment: Option<usize>,
}

/// The receive buffers of one thread.
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    names: Vec<sockaddr_storage>,
    controls: Vec<Control>,
    iovecs: Vec<iovec>,
    /// They point into the other vectors, of which none ever grows. Those from `used` on are as a receive wants them.
    headers: Vec<mmsghdr>,
    used: usize,
}

impl Inbox {
    /// Bytes of a slot: the longest UDP payload fits, and the longest message of a stream. Only what is filled is ever
    /// backed by memory.
    pub(crate) const CAPACITY: usize = 65_600;

    pub(crate) fn new() -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage, iovec and mmsghdr.
        let (name, vector, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        let mut inbox = Self {
            bytes: vec![0; SLOTS * STRIDE],
            names: vec![name; SLOTS],
            controls: vec![Control([0; 64]); SLOTS],
            iovecs: vec![vector; SLOTS],
            headers: vec![header; SLOTS],
            used: 0,
        };
        (0..SLOTS).for_each(|slot| inbox.prepare(slot));
        inbox
    }

    /// How many datagrams can still be received before a flush.
    pub(crate) fn room(&self) -> usize {
        SLOTS - self.used
    }

    /// Forgets what was received.
    pub(crate) fn clear(&mut self) {
        // The kernel has written how much of name and control it used.
        (0..self.used).for_each(|slot| self.prepare(slot));
        self.used = 0;
    }

    /// Takes up to `most` waiting datagrams and gives their slots; none when nothing waits. An ICMP error about a
    /// datagram that was sent fails one call, and is no reason not to receive.
    ///
    /// # Errors
    /// Of the kernel, but for those that only mean that nothing waits.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<Range<usize>> {
        for _ in 1..TRIES {
            if let Ok(slots) = self.try_receive(socket, most) {
                return Ok(slots);
            }
        }
        self.try_receive(socket, most)
    }

    fn try_receive(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<Range<usize>> {
        let first = self.used;
        let most = most.min(self.room());
        // SAFETY: the headers point to buffers of this Inbox, distinct for each slot, of the lengths they say; nothing
        // else refers to them during the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers[first..].as_mut_ptr(),
                most as c_uint,
                MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        match usize::try_from(received) {
            Ok(received) => {
                self.used += received;
                Ok(first..self.used)
            }
            Err(_) => match io::Error::last_os_error() {
                e if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    Ok(first..first)
                }
                e => Err(e),
            },
        }
    }

    /// Takes an empty slot for a piece of a stream; there must be room.
    pub(crate) fn take(&mut self) -> usize {
        let slot = self.used;
        assert!(slot < SLOTS, "room is looked for first");
        self.used += 1;
        self.headers[slot].msg_len = 0;
        slot
    }

    /// Gives the slot that was taken last back, unused.
    pub(crate) fn untake(&mut self) {
        self.used -= 1;
    }

    /// The whole buffer of a slot that was taken.
    pub(crate) fn buffer(&mut self, slot: usize) -> &mut [u8] {
        &mut self.bytes[slot * STRIDE..][..Self::CAPACITY]
    }

    /// Says how much of a slot that was taken is filled.
    pub(crate) fn fill(&mut self, slot: usize, len: usize) {
        self.headers[slot].msg_len = len as c_uint;
    }

    /// What a slot holds; `None` when it came from no IP address.
    pub(crate) fn received(&self, slot: usize) -> Option<Received> {
        let header = &self.headers[slot];
        let (len, beside) = (self.bytes(slot).len(), self.beside(slot));
        Some(Received {
            len,
            segment: beside.segment.filter(|segment| *segment > 0).unwrap_or(len.max(1)),
            from: address::read(&self.names[slot])?,
            to: beside.destination,
            truncated: header.msg_hdr.msg_flags & MSG_TRUNC != 0,
        })
    }

    /// The bytes of a slot.
    pub(crate) fn bytes(&self, slot: usize) -> &[u8] {
        let len = (self.headers[slot].msg_len as usize).min(Self::CAPACITY);
        &self.bytes[slot * STRIDE..][..len]
    }

    fn prepare(&mut self, slot: usize) {
        let buffer = &mut self.bytes[slot * STRIDE..][..Self::CAPACITY];
        self.iovecs[slot] = iovec { iov_base: buffer.as_mut_ptr().cast::<c_void>(), iov_len: Self::CAPACITY };
        let control = &mut self.controls[slot].0;
        let header = &mut self.headers[slot];
        header.msg_len = 0;
        header.msg_hdr = msghdr {
            msg_name: (&raw mut self.names[slot]).cast::<c_void>(),
            msg_namelen: size_of::<sockaddr_storage>() as socklen_t,
            msg_iov: &raw mut self.iovecs[slot],
            msg_iovlen: 1,
            msg_control: control.as_mut_ptr().cast(),
            msg_controllen: control.len(),
            msg_flags: 0,
        };
    }

    fn beside(&self, slot: usize) -> Beside {
        let mut beside = Beside::default();
        let header = &self.headers[slot].msg_hdr;
        if header.msg_controllen == 0 {
            return beside;
        }
        // The kernel wrote into this slot's own control buffer.
        let control = &self.controls[slot].0;
        let header = msghdr {
            msg_control: control.as_ptr().cast_mut().cast::<c_void>(),
            msg_controllen: header.msg_controllen.min(control.len()),
            ..*header
        };
        // SAFETY: the control buffer is aligned for cmsghdr and the kernel has written `msg_controllen` bytes of it.
        let mut message = unsafe { CMSG_FIRSTHDR(&header) };
        while !message.is_null() {
            // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give only headers within the buffer.
            let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
            // SAFETY: the kernel writes a whole in_pktinfo, in6_pktinfo or int behind a header of that level and type.
            unsafe {
                let data = CMSG_DATA(message);
                match (level, kind) {
                    (IPPROTO_IP, IP_PKTINFO) => {
                        let info = data.cast::<in_pktinfo>().read_unaligned();
                        beside.destination = Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()));
                    }
                    (IPPROTO_IPV6, IPV6_PKTINFO) => {
                        let info = data.cast::<in6_pktinfo>().read_unaligned();
                        beside.destination = Some(IpAddr::from(info.ipi6_addr.s6_addr));
                    }
                    (SOL_UDP, UDP_GRO) => {
                        let segment = data.cast::<c_int>().read_unaligned();
                        beside.segment = usize::try_from(segment).ok();
                    }
                    _ => {}
                }
                message = CMSG_NXTHDR(&header, message);
            }
        }
        beside
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd as _, time::Duration};

    use super::*;
    use crate::io::{Batch, Datagram, Mode, open_group};

    #[test]
    fn an_error_about_a_datagram_that_was_sent_hides_none_that_came() {
        for ip in ["127.0.0.1", "::1"] {
            let (socket, peer) = crate::io::errors::tests::with_a_pending_error(ip);
            peer.send_to(b"fine", socket.local_addr().unwrap()).unwrap();
            let mut inbox = Inbox::new();
            assert_eq!(inbox.receive(socket.as_fd(), 8).unwrap(), 0..1);
            assert_eq!(inbox.bytes(0), b"fine");
        }
    }

    #[test]
    fn a_batch_holds_datagrams_of_any_length_with_both_addresses() {
        let (bound, group) = open_group("0.0.0.0:0".parse().unwrap(), 1).unwrap();
        let (port, server) = (bound.port(), &group[0]);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let lengths = [0, 1, 1_500, 65_507];
        for (nth, len) in lengths.into_iter().enumerate() {
            client.send_to(&vec![nth as u8; len], ("127.0.0.2", port)).unwrap();
        }
        let mut inbox = Inbox::new();
        let slots = inbox.receive(server.as_fd(), 3).unwrap();
        assert_eq!(slots, 0..3);
        assert_eq!(inbox.receive(server.as_fd(), 64).unwrap(), 3..4);
        assert_eq!(inbox.receive(server.as_fd(), 64).unwrap(), 4..4);
        assert_eq!(inbox.room(), SLOTS - 4);
        for (nth, len) in lengths.into_iter().enumerate() {
            let received = inbox.received(nth).unwrap();
            assert_eq!(inbox.bytes(nth), vec![nth as u8; len]);
            assert!(received.datagrams().eq(std::iter::once(0..len)));
            assert_eq!(received.count(), 1);
            assert_eq!(received.from, client.local_addr().unwrap());
            assert_eq!(received.to, Some("127.0.0.2".parse().unwrap()));
            assert!(!received.truncated);
        }
        inbox.clear();
        assert_eq!(inbox.room(), SLOTS);
        client.send_to(b"again", ("127.0.0.3", port)).unwrap();
        assert_eq!(inbox.receive(server.as_fd(), 1).unwrap(), 0..1);
        let received = inbox.received(0).unwrap();
        assert_eq!((inbox.bytes(0), received.from), (&b"again"[..], client.local_addr().unwrap()));
        assert_eq!(received.to, Some("127.0.0.3".parse().unwrap()));
    }

    #[test]
    fn datagrams_that_the_kernel_has_put_together_are_told_apart() {
        for any in ["0.0.0.0:0", "[::]:0"] {
            let (bound, group) = open_group(any.parse().unwrap(), 1).unwrap();
            let loopback = if bound.is_ipv4() { "127.0.0.1" } else { "::1" };
            let client = UdpSocket::bind((loopback, 0)).unwrap();
            let payloads: Vec<Vec<u8>> =
                (0..9).map(|nth| vec![nth; if nth == 8 { 7 } else { 100 }]).collect();
            let to = SocketAddr::new(loopback.parse().unwrap(), bound.port());
            let sent = |nth: usize| Datagram { to, from: None, header: &[], payload: &payloads[nth], pad: 0 };
            let mut batch = Batch::new();
            let mut outcomes = Vec::new();
            batch.send(client.as_fd(), Mode::Segmented(Duration::ZERO), payloads.len(), sent, |_, result| {
                outcomes.push(result)
            });
            assert_eq!(outcomes, vec![Ok(()); payloads.len()]);
            let mut inbox = Inbox::new();
            assert_eq!(inbox.receive(group[0].as_fd(), 64).unwrap(), 0..1);
            let received = inbox.received(0).unwrap();
            assert_eq!(received.count(), payloads.len());
            let found = received.datagrams().map(|range| &inbox.bytes(0)[range]);
            assert!(found.eq(payloads.iter().map(Vec::as_slice)));
            assert_eq!(received.to, Some(to.ip()), "beside the length of a segment");
        }
    }
}
