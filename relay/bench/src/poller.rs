//! Waiting for any of several sockets.

use std::{io, os::fd::AsFd, time::Duration};

use rustix::{
    event::{Timespec, epoll},
    fd::OwnedFd,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};

/// Most sockets told of by one wait; the others come with the next.
const MOST: usize = 256;

/// An epoll set whose members have numbers.
pub struct Poller {
    set: OwnedFd,
    events: Vec<epoll::Event>,
    ticker: Option<OwnedFd>,
}

impl Poller {
    /// An empty one.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn new() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { set, events: Vec::with_capacity(MOST), ticker: None })
    }

    /// Tells from now on when `socket` can be read.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn add(&self, socket: &impl AsFd, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.set, socket, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?)
    }

    /// Ends each wait after this time, for the timeout of a wait has whole milliseconds. A tick is told as `number`.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn tick(&mut self, every: Duration, number: u64) -> io::Result<()> {
        let every = Timespec::try_from(every).map_err(|_| io::ErrorKind::InvalidInput)?;
        let ticker =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let times = Itimerspec { it_interval: every, it_value: every };
        timerfd_settime(&ticker, TimerfdTimerFlags::empty(), &times)?;
        // Told by edge, it need not be read.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&self.set, &ticker, epoll::EventData::new_u64(number), flags)?;
        self.ticker = Some(ticker);
        Ok(())
    }

    /// The numbers of the sockets that can be read, within this time.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn wait(&mut self, within: Duration) -> io::Result<impl Iterator<Item = u64>> {
        let within = Timespec::try_from(within).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.events.clear();
        match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut self.events), Some(&within)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.events.iter().map(|event| event.data.u64()))
    }
}
