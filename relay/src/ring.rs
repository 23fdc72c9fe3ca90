//! Rings between shards: a payload whose peer is an allocation of another shard goes there in process.
//!
//! Each ordered pair of shards has its own ring of reused buffers. A ring without a free buffer is full: the payload is
//! dropped and counted by the sender.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use turnpike_proto::AllocationKey;

use crate::io::Doorbell;

/// Payloads under way from one shard to another: twice what a relay socket's default buffer holds.
const BUFFERS: usize = 512;
/// A buffer that grew beyond this for a rare large datagram is not kept.
const KEPT_CAPACITY: usize = 4_096;

/// A payload on its way to an allocation of another shard.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// To whom.
    pub(crate) allocation: AllocationKey,
    /// The sender's relayed address, as peers see it.
    pub(crate) from: SocketAddr,
    /// The payload.
    pub(crate) bytes: Vec<u8>,
}

/// The ring was full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// One shard's ends of all its rings.
pub(crate) struct Rings {
    to: Vec<Option<Outgoing>>,
    from: Vec<Incoming>,
}

struct Outgoing {
    full: SyncSender<Parcel>,
    empty: Receiver<Vec<u8>>,
    made: usize,
    doorbell: Arc<Doorbell>,
    touched: bool,
}

struct Incoming {
    full: Receiver<Parcel>,
    empty: SyncSender<Vec<u8>>,
    head: Option<Parcel>,
}

/// Connects every shard with every other; `doorbells` are theirs in order.
pub(crate) fn connect(doorbells: &[Arc<Doorbell>]) -> Vec<Rings> {
    let shards = doorbells.len();
    let mut ends: Vec<Rings> = (0..shards).map(|_| Rings { to: Vec::new(), from: Vec::new() }).collect();
    for sender in 0..shards {
        for (receiver, doorbell) in doorbells.iter().enumerate() {
            if sender == receiver {
                ends[sender].to.push(None);
                continue;
            }
            let (full_in, full_out) = sync_channel(BUFFERS);
            let (empty_in, empty_out) = sync_channel(BUFFERS);
            let doorbell = Arc::clone(doorbell);
            let outgoing = Outgoing { full: full_in, empty: empty_out, made: 0, doorbell, touched: false };
            ends[sender].to.push(Some(outgoing));
            ends[receiver].from.push(Incoming { full: full_out, empty: empty_in, head: None });
        }
    }
    ends
}

impl Rings {
    /// Copies a payload into the ring to another shard.
    ///
    /// # Errors
    /// [`Full`] when the other shard is behind, or gone.
    pub(crate) fn push(
        &mut self,
        shard: usize,
        allocation: AllocationKey,
        from: SocketAddr,
        payload: &[u8],
    ) -> Result<(), Full> {
        let ring = self.to[shard].as_mut().expect("a shard has no ring to itself");
        let mut bytes = match ring.empty.try_recv() {
            Ok(bytes) => bytes,
            Err(_) if ring.made < BUFFERS => {
                ring.made += 1;
                Vec::new()
            }
            Err(_) => return Err(Full),
        };
        bytes.clear();
        bytes.extend_from_slice(payload);
        ring.touched = true;
        ring.full.try_send(Parcel { allocation, from, bytes }).map_err(|_| Full)
    }

    /// Wakes the shards that something was pushed to since the last call.
    pub(crate) fn wake_receivers(&mut self) {
        for ring in self.to.iter_mut().flatten().filter(|ring| ring.touched) {
            ring.touched = false;
            ring.doorbell.ring_if_asleep();
        }
    }

    /// How many rings come in.
    pub(crate) fn incoming(&self) -> usize {
        self.from.len()
    }

    /// The next payload of one incoming ring.
    pub(crate) fn pop(&mut self, ring: usize) -> Option<Parcel> {
        let ring = &mut self.from[ring];
        ring.head.take().or_else(|| ring.full.try_recv().ok())
    }

    /// Whether any payload waits.
    pub(crate) fn is_waiting(&mut self) -> bool {
        self.from.iter_mut().any(|ring| {
            ring.head = ring.head.take().or_else(|| ring.full.try_recv().ok());
            ring.head.is_some()
        })
    }

    /// Gives a buffer back to the shard that it came from.
    pub(crate) fn give_back(&mut self, ring: usize, mut bytes: Vec<u8>) {
        if bytes.capacity() > KEPT_CAPACITY {
            bytes = Vec::new();
        }
        // It has room for every buffer there is; a sender that is gone needs none.
        let _ = self.from[ring].empty.try_send(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, thread};

    use super::*;

    const FROM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

    fn key(index: u32) -> AllocationKey {
        AllocationKey { index, generation: 0 }
    }

    fn pair() -> (Rings, Rings) {
        let doorbells = [(); 2].map(|()| Arc::new(Doorbell::new().unwrap()));
        let mut ends = connect(&doorbells);
        let second = ends.pop().unwrap();
        (ends.pop().unwrap(), second)
    }

    #[test]
    fn a_ring_is_full_until_a_buffer_comes_back() {
        let (mut sender, mut receiver) = pair();
        for n in 0..BUFFERS {
            assert_eq!(sender.push(1, key(n as u32), FROM, &[n as u8]), Ok(()));
        }
        assert_eq!(sender.push(1, key(0), FROM, b"x"), Err(Full));
        let first = receiver.pop(0).unwrap();
        assert_eq!((first.allocation, &*first.bytes), (key(0), &[0][..]));
        assert_eq!(sender.push(1, key(0), FROM, b"x"), Err(Full));
        receiver.give_back(0, first.bytes);
        assert_eq!(sender.push(1, key(9), FROM, b"last"), Ok(()));
        for n in 1..BUFFERS {
            assert!(receiver.is_waiting());
            assert_eq!(receiver.pop(0).unwrap().allocation, key(n as u32));
        }
        assert_eq!(&*receiver.pop(0).unwrap().bytes, b"last");
        assert!(!receiver.is_waiting());
    }

    #[test]
    fn a_large_payload_does_not_keep_its_memory() {
        let (mut sender, mut receiver) = pair();
        sender.push(1, key(0), FROM, &[7; 60_000]).unwrap();
        let parcel = receiver.pop(0).unwrap();
        assert_eq!(parcel.bytes, [7; 60_000]);
        receiver.give_back(0, parcel.bytes);
        sender.push(1, key(0), FROM, b"small").unwrap();
        assert!(receiver.pop(0).unwrap().bytes.capacity() <= KEPT_CAPACITY);
    }

    #[test]
    fn a_shard_that_is_gone_is_a_full_ring() {
        let (mut sender, receiver) = pair();
        drop(receiver);
        assert_eq!(sender.push(1, key(0), FROM, b"x"), Err(Full));
    }

    #[test]
    fn nothing_is_lost_or_reordered_between_two_threads_and_none_sleeps_on_work() {
        const COUNT: u32 = 100_000;
        let doorbells = [(); 2].map(|()| Arc::new(Doorbell::new().unwrap()));
        let mut ends = connect(&doorbells);
        let (mut receiver, mut sender) = (ends.pop().unwrap(), ends.pop().unwrap());
        let bell = Arc::clone(&doorbells[1]);
        thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..COUNT {
                    while sender.push(1, key(n), FROM, &n.to_be_bytes()).is_err() {
                        sender.wake_receivers();
                        thread::yield_now();
                    }
                    sender.wake_receivers();
                }
            });
            let (epoll, mut ready) = (crate::io::Epoll::new().unwrap(), crate::io::Ready::new());
            epoll.add(&*bell, crate::io::Token::Wake).unwrap();
            let mut next = 0;
            while next < COUNT {
                bell.about_to_sleep();
                if !receiver.is_waiting() {
                    epoll.wait(&mut ready, std::time::Duration::from_secs(20)).unwrap();
                    assert!(ready.len() > 0, "asleep while a payload waits");
                    bell.silence();
                }
                bell.awake();
                while let Some(parcel) = receiver.pop(0) {
                    assert_eq!((parcel.allocation, &*parcel.bytes), (key(next), &next.to_be_bytes()[..]));
                    receiver.give_back(0, parcel.bytes);
                    next += 1;
                }
            }
        });
    }
}
