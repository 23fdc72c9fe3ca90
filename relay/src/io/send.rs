//! Sending in batches (sendmmsg): header, payload and padding are gathered by the kernel, not copied together here.
//! Datagrams of one length to one destination go down as one buffer that the kernel cuts again (UDP_SEGMENT, udp(7)).
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::{IpAddr, SocketAddr},
    ops::Range,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
    time::Duration,
};

use libc::{
    CMSG_DATA, CMSG_LEN, CMSG_SPACE, EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS, IP_PKTINFO, IPPROTO_IP,
    IPPROTO_IPV6, IPV6_PKTINFO, MSG_DONTWAIT, SOL_UDP, UDP_SEGMENT, c_int, c_uint, c_void, cmsghdr, in_addr,
    in_pktinfo, in6_addr, in6_pktinfo, iovec, mmsghdr, msghdr, sockaddr_storage,
};

use super::{address, option::can_segment, refused::RefusedPaths};

/// Most messages of one call, each of them a datagram or a run of them.
const MOST: usize = 64;
/// Most parts of datagrams of one call.
const VECTORS: usize = 1_024;
/// Most datagrams of one message: what the first kernels with UDP_SEGMENT take.
const SEGMENTS: usize = 64;
/// Most bytes of one message: the longest UDP payload over IPv4.
const LONGEST_RUN: usize = 65_507;
/// The longest datagram over IPv4 that goes in a run: what passes every path that also carries IPv6. A longer one may be
/// fragmented on its way, and the kernel gives the datagrams of two runs the same identifications, so that the fragments
/// of a datagram of which one is lost are put together with those of another (RFC 6864 §4). IPv6 routers fragment
/// nothing, and the kernel refuses a run that is too long for what it knows of the path.
const LONGEST_IPV4_SEGMENT: usize = 1_280 - 28;
/// Times that one datagram is given to the kernel. An ICMP error about an earlier one fails the next send, whoever that
/// is to, and another may come in between.
const TRIES: u32 = 4;
/// Times that a run is: then its datagrams go one by one, and nothing is lost.
const TRIES_OF_RUN: u32 = 2;
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

/// Whether datagrams may go down together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each one for itself, as those with DF do, whose refusals are told one by one.
    Plain,
    /// Where the kernel can. The time is [`turnpike_proto::Now::mono`].
    Segmented(Duration),
}

/// Datagrams that crossed the border of the kernel in one buffer with others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Together {
    pub(crate) buffers: u64,
    pub(crate) datagrams: u64,
}

impl Together {
    /// One buffer of so many datagrams; one of a single datagram is none.
    pub(crate) fn count(&mut self, datagrams: usize) {
        if datagrams > 1 {
            self.buffers += 1;
            self.datagrams += datagrams as u64;
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.buffers += other.buffers;
        self.datagrams += other.datagrams;
    }
}

/// Room for an in6_pktinfo with its header, 40 bytes, and the length of a segment with its own, 24.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

/// The scratch of one thread for its calls of sendmmsg.
pub(crate) struct Batch {
    names: Vec<sockaddr_storage>,
    controls: Vec<Control>,
    iovecs: Vec<iovec>,
    headers: Vec<mmsghdr>,
    /// Which datagrams each message carries.
    runs: Vec<Range<usize>>,
    can_segment: bool,
    refused: RefusedPaths,
    /// What went in runs.
    pub(crate) together: Together,
    /// Runs that the kernel did not take, whose datagrams went one by one.
    pub(crate) refused_runs: u64,
}

impl Batch {
    pub(crate) fn new() -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage, iovec and mmsghdr.
        let (name, vector, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            names: vec![name; MOST],
            controls: vec![Control([0; 64]); MOST],
            iovecs: vec![vector; VECTORS],
            headers: vec![header; MOST],
            runs: vec![0..0; MOST],
            can_segment: can_segment(),
            refused: RefusedPaths::default(),
            together: Together::default(),
            refused_runs: 0,
        }
    }

    /// Sends `count` datagrams by one socket, in order, and tells of each, by its number, whether the kernel took it.
    pub(crate) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        mode: Mode,
        count: usize,
        datagram: impl Fn(usize) -> Datagram<'a>,
        mut outcome: impl FnMut(usize, Result<(), Refused>),
    ) {
        let (mut next, mut one_by_one) = (0, 0);
        while next < count {
            let (mut messages, mut vectors) = (0, 0);
            while next < count && messages < MOST && vectors + 3 * SEGMENTS <= VECTORS {
                let run = match mode {
                    Mode::Segmented(now) if self.can_segment && next >= one_by_one => {
                        self.run(now, next..count, &datagram)
                    }
                    _ => 1,
                };
                vectors += self.prepare(messages, vectors, next..next + run, &datagram);
                next += run;
                messages += 1;
            }
            if let Some(run) = self.flush(socket, messages, &mut outcome) {
                if let Mode::Segmented(now) = mode {
                    self.refused.insert(datagram(run.start).to.ip(), now);
                    self.refused_runs += 1;
                }
                (next, one_by_one) = (run.start, run.end);
            }
        }
    }

    /// How many datagrams from the first of `left` on are cut out of one buffer: of one length, but for the last one,
    /// which may be shorter.
    fn run<'a>(&self, now: Duration, left: Range<usize>, datagram: impl Fn(usize) -> Datagram<'a>) -> usize {
        let most = left.len().min(SEGMENTS);
        if most == 1 {
            return 1;
        }
        let first = datagram(left.start);
        let segment = first.len();
        let is_short = first.to.is_ipv6() || segment <= LONGEST_IPV4_SEGMENT;
        if segment == 0 || !is_short || self.refused.contains(first.to.ip(), now) {
            return 1;
        }
        let (mut run, mut bytes, mut last) = (1, segment, segment);
        while run < most && last == segment {
            let next = datagram(left.start + run);
            last = next.len();
            let goes_along = next.to == first.to && next.from == first.from;
            if !goes_along || last == 0 || last > segment || bytes + last > LONGEST_RUN {
                break;
            }
            bytes += last;
            run += 1;
        }
        run
    }

    /// One that fails again and again is skipped: sendmmsg stops in front of it and tells its error only on the next
    /// call. Gives the first run that the kernel does not take as one; nothing behind it was sent then.
    fn flush(
        &mut self,
        socket: BorrowedFd<'_>,
        count: usize,
        mut outcome: impl FnMut(usize, Result<(), Refused>),
    ) -> Option<Range<usize>> {
        let mut done = 0;
        let mut tries = 0;
        while done < count {
            let headers = &mut self.headers[done..count];
            // SAFETY: `prepare` has just pointed each header to buffers that outlive this call: names, vectors and
            // controls of this Batch, and bytes that the datagrams of `send` borrow.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    headers.len() as c_uint,
                    MSG_DONTWAIT as _,
                )
            };
            if let Ok(sent) = usize::try_from(sent) {
                for run in &self.runs[done..done + sent] {
                    self.together.count(run.len());
                    run.clone().for_each(|nth| outcome(nth, Ok(())));
                }
                done += sent;
                tries = 0;
                continue;
            }
            tries += 1;
            let run = self.runs[done].clone();
            match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
                EINTR => {}
                EAGAIN => {
                    (run.start..self.runs[count - 1].end).for_each(|nth| outcome(nth, Err(Refused::Failed)));
                    return None;
                }
                EMSGSIZE | EINVAL | EIO if run.len() > 1 => {
                    if tries == TRIES_OF_RUN {
                        return Some(run);
                    }
                }
                code if tries < tries_for(code) => {}
                code => {
                    run.for_each(|nth| outcome(nth, Err(refusal(code))));
                    done += 1;
                    tries = 0;
                }
            }
        }
        None
    }

    /// Points the header at `place` to the parts of a run, and gives how many there are from `vector` on.
    fn prepare<'a>(
        &mut self,
        place: usize,
        vector: usize,
        run: Range<usize>,
        datagram: impl Fn(usize) -> Datagram<'a>,
    ) -> usize {
        let first = datagram(run.start);
        let mut vectors = 0;
        for nth in run.clone() {
            for part in datagram(nth).parts() {
                if !part.is_empty() {
                    self.iovecs[vector + vectors] =
                        iovec { iov_base: part.as_ptr().cast_mut().cast::<c_void>(), iov_len: part.len() };
                    vectors += 1;
                }
            }
        }
        let name_len = address::write(first.to, &mut self.names[place]);
        let mut control = ControlWriter::new(&mut self.controls[place]);
        match first.from {
            Some(IpAddr::V4(ip)) => {
                let info = in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                control.write(IPPROTO_IP, IP_PKTINFO, info);
            }
            Some(IpAddr::V6(ip)) => {
                let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
                control.write(IPPROTO_IPV6, IPV6_PKTINFO, info);
            }
            None => {}
        }
        if run.len() > 1 {
            control.write(SOL_UDP, UDP_SEGMENT, first.len() as u16);
        }
        let (msg_control, msg_controllen) = control.finish();
        self.runs[place] = run;
        let header = &mut self.headers[place];
        header.msg_len = 0;
        header.msg_hdr = msghdr {
            msg_name: (&raw mut self.names[place]).cast::<c_void>(),
            msg_namelen: name_len,
            msg_iov: self.iovecs[vector..].as_mut_ptr(),
            msg_iovlen: vectors,
            msg_control,
            msg_controllen,
            msg_flags: 0,
        };
        vectors
    }
}

/// Writes control messages one behind the other.
struct ControlWriter<'a> {
    control: &'a mut Control,
    len: usize,
}

impl<'a> ControlWriter<'a> {
    fn new(control: &'a mut Control) -> Self {
        Self { control, len: 0 }
    }

    /// # Panics
    /// When there is no room.
    fn write<T>(&mut self, level: c_int, kind: c_int, value: T) {
        // SAFETY: they only compute.
        let (len, space) =
            unsafe { (CMSG_LEN(size_of::<T>() as c_uint), CMSG_SPACE(size_of::<T>() as c_uint)) };
        let space = space as usize;
        let room = &mut self.control.0[self.len..self.len + space];
        let header = cmsghdr { cmsg_len: len as _, cmsg_level: level, cmsg_type: kind };
        let message = room.as_mut_ptr().cast::<cmsghdr>();
        // SAFETY: `room` is as long as the header and the value with their padding. It is aligned for a cmsghdr, for so is
        // the control buffer, and each space is a multiple of that.
        unsafe {
            message.write(header);
            CMSG_DATA(message).cast::<T>().write_unaligned(value);
        }
        self.len += space;
    }

    fn finish(self) -> (*mut c_void, usize) {
        match self.len {
            0 => (ptr::null_mut(), 0),
            len => (self.control.0.as_mut_ptr().cast::<c_void>(), len),
        }
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

    const NOW: Duration = Duration::from_secs(1);

    fn datagram(to: SocketAddr, payload: &[u8]) -> Datagram<'_> {
        Datagram { to, from: None, header: &[], payload, pad: 0 }
    }

    /// Sends and gives what became of each.
    fn send(
        batch: &mut Batch,
        by: &UdpSocket,
        mode: Mode,
        sent: &[Datagram<'_>],
    ) -> Vec<Result<(), Refused>> {
        let mut outcomes = vec![None; sent.len()];
        batch.send(
            by.as_fd(),
            mode,
            sent.len(),
            |nth| sent[nth],
            |nth, result| {
                assert_eq!(outcomes[nth].replace(result), None, "datagram {nth} is told of once");
            },
        );
        outcomes.into_iter().map(Option::unwrap).collect()
    }

    fn pair(ip: &str) -> (UdpSocket, UdpSocket, SocketAddr) {
        let (from, to) = (UdpSocket::bind((ip, 0)).unwrap(), UdpSocket::bind((ip, 0)).unwrap());
        to.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let address = to.local_addr().unwrap();
        (from, to, address)
    }

    #[test]
    fn one_that_cannot_be_sent_does_not_stop_the_others() {
        for mode in [Mode::Plain, Mode::Segmented(NOW)] {
            let (from, _to, address) = pair("127.0.0.1");
            let too_large = vec![0; 65_508];
            let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
            let mut sent: Vec<Datagram<'_>> = (0..150).map(|_| datagram(address, b"fine")).collect();
            sent[0] = datagram(address, &too_large);
            sent[70] = datagram(nowhere, b"port 0");
            for (nth, outcome) in send(&mut Batch::new(), &from, mode, &sent).into_iter().enumerate() {
                let expected = match nth {
                    0 => Err(Refused::TooLarge),
                    70 => Err(Refused::Failed),
                    _ => Ok(()),
                };
                assert_eq!(outcome, expected, "datagram {nth}");
            }
        }
    }

    #[test]
    fn an_error_about_an_earlier_datagram_fails_none_and_refuses_no_run() {
        for ip in ["127.0.0.1", "::1"] {
            let (socket, peer) = crate::io::errors::tests::with_a_pending_error(ip);
            let address = peer.local_addr().unwrap();
            let sent = [datagram(address, b"fine"); 3];
            let mut batch = Batch::new();
            assert_eq!(send(&mut batch, &socket, Mode::Segmented(NOW), &sent), [Ok(()); 3]);
            assert_eq!((batch.together.datagrams, batch.refused_runs), (3, 0));
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
        let one = Datagram {
            to: to.local_addr().unwrap(),
            from: Some(source),
            header: b"head",
            payload: b"payload",
            pad: 1,
        };
        for (mode, count) in [(Mode::Plain, 1), (Mode::Segmented(NOW), 5)] {
            assert_eq!(send(&mut Batch::new(), &from, mode, &vec![one; count]), vec![Ok(()); count]);
            for _ in 0..count {
                let mut buffer = [1; 64];
                let (len, seen) = to.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..len], b"headpayload\0");
                assert_eq!(seen, SocketAddr::new(source, from.local_addr().unwrap().port()));
            }
        }
    }

    #[test]
    fn datagrams_of_any_lengths_arrive_in_order_however_they_were_put_together() {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        for ip in ["127.0.0.1", "::1"] {
            let (from, to, address) = pair(ip);
            // Equal ones, a shorter last one, an empty one between two, a longer one, one to somebody else, a hundred.
            let mut lengths = vec![100, 100, 100, 40, 100, 0, 100, 100, 101, 1_252, 1_253, 1_253, 1];
            lengths.extend([7; 100]);
            let payloads: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(nth, len)| vec![nth as u8; *len]).collect();
            let mut sent: Vec<Datagram<'_>> = payloads.iter().map(|bytes| datagram(address, bytes)).collect();
            if address.is_ipv4() {
                sent.insert(2, datagram(other.local_addr().unwrap(), &payloads[0]));
            }
            let mut batch = Batch::new();
            let outcomes = send(&mut batch, &from, Mode::Segmented(NOW), &sent);
            assert_eq!(outcomes, vec![Ok(()); sent.len()]);
            let mut buffer = [0; 2_048];
            for payload in &payloads {
                let len = to.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..len], payload);
            }
            // Over IPv4 the two of 1,253 bytes go for themselves, over IPv6 with the one behind them.
            let expected = match address.is_ipv4() {
                true => Together { buffers: 5, datagrams: 2 + 2 + 2 + 64 + 36 },
                false => Together { buffers: 5, datagrams: 4 + 2 + 3 + 64 + 36 },
            };
            assert_eq!((batch.together, batch.refused_runs), (expected, 0));
        }
    }

    #[test]
    fn a_run_ends_before_it_is_longer_than_a_datagram_may_be() {
        let (from, to, address) = pair("::1");
        let payload = vec![9; 30_000];
        let mut batch = Batch::new();
        let sent = [datagram(address, &payload); 5];
        assert_eq!(send(&mut batch, &from, Mode::Segmented(NOW), &sent), [Ok(()); 5]);
        assert_eq!(batch.together, Together { buffers: 2, datagrams: 4 });
        for _ in 0..5 {
            assert_eq!(to.recv(&mut vec![0; 40_000]).unwrap(), payload.len());
        }
    }
}
