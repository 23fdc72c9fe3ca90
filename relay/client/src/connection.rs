//! Blocking sockets: one client's way to its server over UDP, TCP or TLS.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::{Deframer, Error, Message, Retransmission, TlsClient, TransactionId, Transport, channel_data};

/// Largest message either way: a STUN header and a length field of 16 bits.
const MAX_MESSAGE: usize = 65_555;
/// Bytes of datagrams that wait for the client.
const RECEIVE_BUFFER: usize = 1 << 20;
/// How long connecting and the TLS handshake may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Messages kept while an answer is waited for; the oldest goes first.
const INBOX: usize = 4096;

/// Where a server is and how it is reached.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The server.
    pub server: SocketAddr,
    /// How to talk to it.
    pub transport: Transport,
    /// Needed for [`Transport::Tls`].
    pub tls: Option<TlsClient>,
    /// The local address; any when absent.
    pub bind: Option<SocketAddr>,
}

/// An open way to a server.
pub struct Connection {
    socket: Stream,
    deframer: Deframer,
    inbox: VecDeque<Vec<u8>>,
    buffer: Vec<u8>,
    retransmission: Retransmission,
}

enum Stream {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    /// Opens a socket, connects it, and shakes hands over TLS.
    ///
    /// # Errors
    /// [`Error::Io`] from the socket, [`Error::Tls`] from the handshake.
    pub fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        let stream = match endpoint.transport {
            Transport::Udp => {
                let any = match endpoint.server {
                    SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
                    SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], 0)),
                };
                let socket = UdpSocket::bind(endpoint.bind.unwrap_or(any))?;
                // The kernel gives what it may.
                let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
                socket.connect(endpoint.server)?;
                Stream::Udp(socket)
            }
            Transport::Tcp => Stream::Tcp(connect(endpoint)?),
            Transport::Tls => {
                let tls =
                    endpoint.tls.as_ref().ok_or_else(|| Error::Certificates("no TLS settings".into()))?;
                let session = ClientConnection::new(tls.config.clone(), tls.name.clone())?;
                let mut stream = StreamOwned::new(session, connect(endpoint)?);
                stream.sock.set_read_timeout(Some(CONNECT_WITHIN))?;
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock).map_err(of_handshake)?;
                }
                Stream::Tls(Box::new(stream))
            }
        };
        Ok(Self::over(stream))
    }

    /// Takes over a connected UDP socket.
    pub fn from_udp(socket: UdpSocket) -> Self {
        Self::over(Stream::Udp(socket))
    }

    /// Takes over a connected TCP socket.
    pub fn from_tcp(socket: TcpStream) -> Self {
        Self::over(Stream::Tcp(socket))
    }

    fn over(socket: Stream) -> Self {
        let retransmission = match socket {
            Stream::Udp(_) => Retransmission::default(),
            Stream::Tcp(_) | Stream::Tls(_) => Retransmission::STREAM,
        };
        let buffer = vec![0; MAX_MESSAGE];
        Self { socket, deframer: Deframer::default(), inbox: VecDeque::new(), buffer, retransmission }
    }

    /// Changes how long [`Self::ask`] waits, and how often it sends.
    pub fn set_retransmission(&mut self, retransmission: Retransmission) {
        self.retransmission = retransmission;
    }

    /// The transport.
    pub fn transport(&self) -> Transport {
        match self.socket {
            Stream::Udp(_) => Transport::Udp,
            Stream::Tcp(_) => Transport::Tcp,
            Stream::Tls(_) => Transport::Tls,
        }
    }

    /// The local address.
    ///
    /// # Errors
    /// When the socket has none any more.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Stream::Udp(socket) => socket.local_addr(),
            Stream::Tcp(stream) => stream.local_addr(),
            Stream::Tls(stream) => stream.sock.local_addr(),
        }
    }

    /// Sends one message; over a stream ChannelData is padded.
    ///
    /// # Errors
    /// From the socket.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if self.transport().is_stream()
            && !message.len().is_multiple_of(4)
            && channel_data::decode(message).is_some()
        {
            let mut padded = message.to_vec();
            padded.resize(message.len().next_multiple_of(4), 0);
            return self.send_bytes(&padded);
        }
        self.send_bytes(message)
    }

    /// Sends bytes as they are: one datagram, or a piece of the stream.
    ///
    /// # Errors
    /// From the socket.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Stream::Udp(socket) => socket.send(bytes).map(drop),
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// The next message, from before or within this time; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Closed`], or [`Error::Malformed`] when a stream cannot be cut.
    pub fn receive(&mut self, within: Duration) -> Result<Option<Vec<u8>>, Error> {
        match self.inbox.pop_front() {
            Some(message) => Ok(Some(message)),
            None => self.receive_until(Instant::now() + within),
        }
    }

    /// Sends a request, over UDP again and again, until its answer comes. Other messages are kept for
    /// [`Self::receive`].
    ///
    /// # Errors
    /// [`Error::Unanswered`], or what [`Self::receive`] gives.
    pub fn ask(&mut self, request: &[u8]) -> Result<Message, Error> {
        let transaction = Message::read(request)?.transaction();
        for wait in self.retransmission.waits() {
            self.send(request)?;
            if let Some(answer) = self.answer_to(transaction, Instant::now() + wait)? {
                return Ok(answer);
            }
        }
        Err(Error::Unanswered)
    }

    fn answer_to(&mut self, transaction: TransactionId, deadline: Instant) -> Result<Option<Message>, Error> {
        while let Some(message) = self.receive_until(deadline)? {
            match Message::read(&message[..]) {
                Ok(answer) if answer.transaction() == transaction && answer.is_answer() => {
                    return Ok(Some(answer.to_owned()));
                }
                _ => self.keep(message),
            }
        }
        Ok(None)
    }

    fn keep(&mut self, message: Vec<u8>) {
        if self.inbox.len() == INBOX {
            self.inbox.pop_front();
        }
        self.inbox.push_back(message);
    }

    fn receive_until(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(message) = self.deframer.next_message()? {
                return Ok(Some(message.to_vec()));
            }
            let Some(length) = self.read_until(deadline)? else { return Ok(None) };
            match (&self.socket, length) {
                (Stream::Udp(_), _) => return Ok(Some(self.buffer[..length].to_vec())),
                (_, 0) => return Err(Error::Closed),
                (_, _) => self.deframer.push(&self.buffer[..length]),
            }
        }
    }

    /// `None` at the deadline; a socket that has something is read even when the deadline has passed.
    fn read_until(&mut self, deadline: Instant) -> Result<Option<usize>, Error> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let read = match &mut self.socket {
                Stream::Udp(socket) => {
                    socket.set_read_timeout(Some(left))?;
                    socket.recv(&mut self.buffer)
                }
                Stream::Tcp(stream) => {
                    stream.set_read_timeout(Some(left))?;
                    stream.read(&mut self.buffer)
                }
                Stream::Tls(stream) => {
                    stream.sock.set_read_timeout(Some(left))?;
                    stream.read(&mut self.buffer)
                }
            };
            match read {
                Ok(length) => return Ok(Some(length)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Ok(None),
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
                        if self.transport().is_stream() =>
                    {
                        return Err(Error::Closed);
                    }
                    _ => return Err(error.into()),
                },
            }
        }
    }
}

/// rustls wraps its own errors into those of the socket.
fn of_handshake(error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => Error::Tls(tls.clone()),
        None => Error::Io(error),
    }
}

fn connect(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(endpoint.server), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(address) = endpoint.bind {
        socket.bind(&SockAddr::from(address))?;
    }
    socket.connect_timeout(&SockAddr::from(endpoint.server), CONNECT_WITHIN)?;
    socket.set_tcp_nodelay(true)?;
    let stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(CONNECT_WITHIN))?;
    Ok(stream)
}
