//! The relay ports of the range: handed out at random (RFC 8656 §7.2), each to one holder at a time.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use turnpike_proto::Family;

use crate::io::open_relay_socket;

/// A port that another program holds is tried again after this time.
const SET_ASIDE: Duration = Duration::from_secs(60);
/// Most ports tried for one allocation, so that a range that others hold does not stall its shard.
const TRIES: usize = 1_024;
/// Random looks for an even port with a free neighbour, before every one is looked at.
const LOOKS: usize = 16;

/// The free ports of the range on one address, and so of one family.
#[derive(Debug)]
pub(crate) struct PortPool {
    ip: IpAddr,
    size: usize,
    free: Mutex<Free>,
}

#[derive(Debug)]
struct Free {
    even: Bag,
    odd: Bag,
    /// Held by other programs, with the time of the next try.
    set_aside: VecDeque<(Duration, u16)>,
    random: StdRng,
}

/// A port that is this process' own until it is dropped.
#[derive(Debug)]
struct Lease {
    pool: Arc<PortPool>,
    port: u16,
    /// Another program holds the port: it stays out of the pool until then.
    set_aside_until: Option<Duration>,
}

/// A bound relay port. Dropping it closes the socket before the port is free again.
#[derive(Debug)]
pub(crate) struct BoundPort {
    pub(crate) socket: UdpSocket,
    lease: Lease,
}

/// Why no port is bound.
#[derive(Debug)]
pub(crate) enum BindError {
    /// None is free.
    NoPort,
    /// The kernel refuses a socket.
    Socket(io::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    Even,
}

impl BoundPort {
    pub(crate) fn number(&self) -> u16 {
        self.lease.port
    }

    pub(crate) fn family(&self) -> Family {
        Family::of(self.lease.pool.ip)
    }
}

impl PortPool {
    /// `range` is the first and the last port, both included.
    pub(crate) fn new(ip: IpAddr, range: (u16, u16)) -> Self {
        let (first, last) = range;
        let mut free = Free {
            even: Bag::new(range),
            odd: Bag::new(range),
            set_aside: VecDeque::new(),
            random: StdRng::from_os_rng(),
        };
        (first..=last).for_each(|port| free.bag(port).insert(port));
        Self { ip, size: usize::from(last - first) + 1, free: Mutex::new(free) }
    }

    /// Binds any free port.
    pub(crate) fn bind_any(self: &Arc<Self>, now: Duration) -> Result<BoundPort, BindError> {
        self.bind_one(Wanted::Any, now)
    }

    /// Binds a free even port.
    pub(crate) fn bind_even(self: &Arc<Self>, now: Duration) -> Result<BoundPort, BindError> {
        self.bind_one(Wanted::Even, now)
    }

    /// Binds a free even port and the one above it.
    pub(crate) fn bind_pair(self: &Arc<Self>, now: Duration) -> Result<(BoundPort, BoundPort), BindError> {
        for _ in 0..TRIES {
            let (even, odd) = self.take_pair(now).ok_or(BindError::NoPort)?;
            let Some(even) = self.bind(even, now)? else { continue };
            if let Some(odd) = self.bind(odd, now)? {
                return Ok((even, odd));
            }
        }
        Err(BindError::NoPort)
    }

    /// Ports of the range.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Ports handed out.
    pub(crate) fn in_use(&self) -> usize {
        let free = self.free();
        self.size - free.even.len() - free.odd.len() - free.set_aside.len()
    }

    fn bind_one(self: &Arc<Self>, wanted: Wanted, now: Duration) -> Result<BoundPort, BindError> {
        for _ in 0..TRIES {
            let lease = self.take(wanted, now).ok_or(BindError::NoPort)?;
            if let Some(bound) = self.bind(lease, now)? {
                return Ok(bound);
            }
        }
        Err(BindError::NoPort)
    }

    /// `Ok(None)` when another program holds the port, which is then set aside.
    fn bind(&self, mut lease: Lease, now: Duration) -> Result<Option<BoundPort>, BindError> {
        match open_relay_socket(self.ip, lease.port) {
            Ok(socket) => Ok(Some(BoundPort { socket, lease })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                lease.set_aside_until = Some(now + SET_ASIDE);
                Ok(None)
            }
            Err(error) => Err(BindError::Socket(error)),
        }
    }

    fn take(self: &Arc<Self>, wanted: Wanted, now: Duration) -> Option<Lease> {
        let mut free = self.free();
        free.retry(now);
        let Free { even, odd, random, .. } = &mut *free;
        let candidates = match wanted {
            Wanted::Any => even.len() + odd.len(),
            Wanted::Even => even.len(),
        };
        if candidates == 0 {
            return None;
        }
        let place = random.random_range(0..candidates);
        let port = match place.checked_sub(even.len()) {
            None => even.remove_at(place),
            Some(place) => odd.remove_at(place),
        };
        Some(self.lease(port))
    }

    fn take_pair(self: &Arc<Self>, now: Duration) -> Option<(Lease, Lease)> {
        let mut free = self.free();
        free.retry(now);
        let Free { even, odd, random, .. } = &mut *free;
        if even.len() == 0 {
            return None;
        }
        let start = random.random_range(0..even.len());
        let looks = (0..LOOKS).map(|_| random.random_range(0..even.len()));
        let every = (0..even.len()).map(|step| (start + step) % even.len());
        let port = looks.chain(every).map(|place| even.at(place)).find(|port| odd.contains(port + 1))?;
        even.remove(port);
        odd.remove(port + 1);
        Some((self.lease(port), self.lease(port + 1)))
    }

    fn lease(self: &Arc<Self>, port: u16) -> Lease {
        Lease { pool: Arc::clone(self), port, set_aside_until: None }
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Free {
    fn bag(&mut self, port: u16) -> &mut Bag {
        match port.is_multiple_of(2) {
            true => &mut self.even,
            false => &mut self.odd,
        }
    }

    fn retry(&mut self, now: Duration) {
        while let Some((_, port)) = self.set_aside.pop_front_if(|(due, _)| *due <= now) {
            self.bag(port).insert(port);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut free = self.pool.free();
        match self.set_aside_until {
            Some(due) => free.set_aside.push_back((due, self.port)),
            None => free.bag(self.port).insert(self.port),
        }
    }
}

/// A set of ports that gives any of them by its place, in constant time.
#[derive(Debug)]
struct Bag {
    first: u16,
    ports: Vec<u16>,
    /// The place of each port of the range in `ports`, plus one; 0 is not there.
    places: Vec<u32>,
}

impl Bag {
    fn new((first, last): (u16, u16)) -> Self {
        Self { first, ports: Vec::new(), places: vec![0; usize::from(last - first) + 1] }
    }

    fn len(&self) -> usize {
        self.ports.len()
    }

    fn at(&self, place: usize) -> u16 {
        self.ports[place]
    }

    fn contains(&self, port: u16) -> bool {
        let offset = usize::from(port).checked_sub(usize::from(self.first));
        offset.and_then(|offset| self.places.get(offset)).is_some_and(|place| *place != 0)
    }

    fn insert(&mut self, port: u16) {
        self.ports.push(port);
        self.places[usize::from(port - self.first)] = self.ports.len() as u32;
    }

    fn remove(&mut self, port: u16) {
        let place = self.places[usize::from(port - self.first)] as usize;
        self.remove_at(place - 1);
    }

    fn remove_at(&mut self, place: usize) -> u16 {
        let port = self.ports.swap_remove(place);
        self.places[usize::from(port - self.first)] = 0;
        if let Some(moved) = self.ports.get(place) {
            self.places[usize::from(moved - self.first)] = place as u32 + 1;
        }
        port
    }
}

#[cfg(test)]
mod tests;
