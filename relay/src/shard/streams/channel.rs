//! The bytes below the messages of a connection.

use std::{
    io::{self, IoSlice, Read as _, Write as _},
    net::TcpStream,
};

/// Bytes that one connection gives in a turn.
const MOST: usize = 16 << 10;

/// A connection, and what went through its socket since that was last asked.
pub(super) struct Channel {
    socket: TcpStream,
    received: u64,
    sent: u64,
}

impl Channel {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self { socket, received: 0, sent: 0 }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Reads what there is, up to a limit; 0 at the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there, else that the connection is broken.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(MOST);
        let len = retry(|| self.socket.read(&mut buffer[..most]))?;
        self.received += len as u64;
        Ok(len)
    }

    /// Writes what the kernel takes.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn write(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = retry(|| self.socket.write_vectored(bytes))?;
        self.sent += len as u64;
        Ok(len)
    }

    /// Bytes that came by the socket, and bytes that the kernel took, since the last call.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.received), std::mem::take(&mut self.sent))
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
