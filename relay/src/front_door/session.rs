//! A visitor's TLS connection on the control runtime: plain bytes in and out of a socket that never blocks.

use std::{
    io::{self, BufRead as _, Read, Write},
    time::Duration,
};

use rustls::ServerConnection;
use tokio::{net::TcpStream, time::Instant};

use super::{Ledger, Visitor};
use crate::io::{Segments, segments};

const SAMPLE_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Session<'a> {
    pub(super) socket: TcpStream,
    tls: ServerConnection,
    early: Vec<u8>,
    ledger: &'a Ledger,
    /// Bytes of IP and TCP headers of one segment.
    header: usize,
    segments: Segments,
    sampled: Instant,
}

/// What a visitor has to say.
pub(super) enum Said<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Nothing at the moment.
    Nothing,
    /// Nothing any more.
    Bye,
}

impl<'a> Session<'a> {
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub(super) fn new(visitor: Visitor, ledger: &'a Ledger) -> io::Result<Self> {
        let Visitor { socket, tls, early, client, .. } = visitor;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let header = if client.ip().to_canonical().is_ipv4() { 40 } else { 60 };
        // Up to here the shard has counted.
        let segments = segments(&socket).unwrap_or_default();
        let sampled = Instant::now();
        Ok(Self { socket: TcpStream::from_std(socket)?, tls, early, ledger, header, segments, sampled })
    }

    /// Counts the headers of segments once a second.
    pub(super) fn sample(&mut self) {
        if self.sampled.elapsed() >= SAMPLE_EVERY {
            self.sampled = Instant::now();
            self.count_segments();
        }
    }

    /// What has been heard and not been forgotten, or else what the socket gives.
    ///
    /// # Errors
    /// When the connection is lost or the visitor does not speak TLS.
    pub(super) fn listen(&mut self) -> io::Result<Said<'_>> {
        if self.early.is_empty() && !self.holds_plaintext()? && !self.hear()? {
            return Ok(Said::Nothing);
        }
        if !self.early.is_empty() {
            return Ok(Said::Bytes(&self.early));
        }
        match self.tls.reader().into_first_chunk() {
            Ok([]) => Ok(Said::Bye),
            Ok(bytes) => Ok(Said::Bytes(bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Said::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Whether there is something to hear without the socket; also when there will be nothing any more.
    pub(super) fn holds(&mut self) -> bool {
        !self.early.is_empty() || self.holds_plaintext().unwrap_or(true)
    }

    /// Drops bytes from the front of what was heard.
    pub(super) fn forget(&mut self, count: usize) {
        match self.early.is_empty() {
            true => self.tls.reader().consume(count),
            false => {
                self.early.drain(..count);
                if self.early.is_empty() {
                    self.early = Vec::new();
                }
            }
        }
    }

    /// Takes plain bytes to send; to be called only when nothing is owed, which bounds what is held.
    pub(super) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(bytes)
    }

    /// Says that nothing more will be said.
    pub(super) fn say_bye(&mut self) {
        self.tls.send_close_notify();
    }

    /// Whether something waits for the socket to take it.
    pub(super) fn owes(&self) -> bool {
        self.tls.wants_write()
    }

    /// Sends what the socket takes; whether that was anything.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(super) fn pay(&mut self) -> io::Result<bool> {
        let mut any = false;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Wire(&self.socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    self.ledger.sent(sent);
                    any = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }

    /// Reads from the socket once; whether it gave anything, its end included.
    fn hear(&mut self) -> io::Result<bool> {
        match self.tls.read_tls(&mut Wire(&self.socket)) {
            Ok(received) => {
                self.ledger.received(received);
                if let Err(error) = self.tls.process_new_packets() {
                    // The alert says why; who does not take it loses nothing.
                    let _ = self.pay();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn count_segments(&mut self) {
        let Ok(now) = segments(&self.socket) else { return };
        let before = std::mem::replace(&mut self.segments, now);
        self.ledger.received(now.received.wrapping_sub(before.received) as usize * self.header);
        self.ledger.sent(now.sent.wrapping_sub(before.sent) as usize * self.header);
    }

    fn holds_plaintext(&mut self) -> io::Result<bool> {
        match self.tls.reader().fill_buf() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.count_segments();
    }
}

/// The socket as rustls reads and writes it.
struct Wire<'a>(&'a TcpStream);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
