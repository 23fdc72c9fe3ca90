//! The bytes below the messages of a connection: its socket, and TLS on it.

use std::{
    io::{self, IoSlice, Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};

use rustls::{ServerConfig, ServerConnection};
use turnpike_proto::MAX_FRAME;

/// Bytes that one connection gives in a turn.
const TURN: usize = 16 << 10;
/// Bytes of one write, unless one message has more.
pub(super) const OFFERED: usize = 16 << 10;
/// Ciphertext of one write: it waits beside the messages that wait, for it cannot be taken back.
const CIPHERTEXT: usize = OFFERED + MAX_FRAME + (4 << 10);

/// A connection, and what went through its socket since that was last asked.
pub(super) struct Channel {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// What may still be read in this turn.
    left: usize,
    /// Decrypted bytes that were not read yet.
    plaintext: usize,
    received: u64,
    sent: u64,
}

impl Channel {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self { socket, tls: None, left: 0, plaintext: 0, received: 0, sent: 0 }
    }

    /// # Errors
    /// When the settings cannot serve anyone.
    pub(super) fn secure(socket: TcpStream, config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let mut tls = Box::new(ServerConnection::new(config)?);
        tls.set_buffer_limit(Some(CIPHERTEXT));
        Ok(Self { tls: Some(tls), ..Self::plain(socket) })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// What client and server have agreed to speak.
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.alpn_protocol()
    }

    /// The two halves of a TLS connection, for somebody else to go on with.
    pub(super) fn into_tls(self) -> Option<(TcpStream, ServerConnection)> {
        Some((self.socket, *self.tls?))
    }

    pub(super) fn begin_turn(&mut self) {
        self.left = TURN;
    }

    /// Whether another read in this turn may give more. What was decrypted has to be read: no event tells of it.
    pub(super) fn has_more(&self) -> bool {
        self.plaintext > 0 || self.left > 0
    }

    /// Reads some of what there is; 0 at the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there, else that the connection is broken.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.tls.is_some() {
            return self.read_tls(buffer);
        }
        let most = buffer.len().min(TURN);
        let len = retry(|| self.socket.read(&mut buffer[..most]))?;
        // The socket tells again of what is left.
        self.left = 0;
        self.received += len as u64;
        Ok(len)
    }

    fn read_tls(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { socket, tls: Some(tls), .. } = self else { return Ok(0) };
        if self.plaintext == 0 {
            let len = retry(|| tls.read_tls(socket)).inspect_err(|_| self.left = 0)?;
            self.received += len as u64;
            self.left = self.left.saturating_sub(len);
            if len == 0 {
                return Ok(0);
            }
            let state = tls.process_new_packets();
            // Answers to the handshake, or the alert that says why there is none.
            self.flush()?;
            let state = state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.plaintext = state.plaintext_bytes_to_read();
            if state.peer_has_closed() && self.plaintext == 0 {
                return Ok(0);
            }
            if self.plaintext == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        let Some(tls) = &mut self.tls else { return Ok(0) };
        let len = tls.reader().read(buffer)?;
        self.plaintext -= len;
        Ok(len)
    }

    /// Writes what the kernel takes. With TLS, makes a record of it, which [`Self::flush`] writes.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn write(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(tls) = &mut self.tls {
            return tls.writer().write_vectored(bytes);
        }
        let len = retry(|| self.socket.write_vectored(bytes))?;
        self.sent += len as u64;
        Ok(len)
    }

    /// Whether encrypted bytes wait for the kernel to take them.
    pub(super) fn is_blocked(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Writes encrypted bytes as far as the kernel takes them.
    ///
    /// # Errors
    /// That the connection is broken.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match retry(|| tls.write_tls(&mut self.socket)) {
                Ok(len) => self.sent += len as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells a client of TLS that the end is meant, if the kernel takes that.
    pub(super) fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            // It is closed whatever becomes of that.
            let _ = self.flush();
        }
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
