use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use crate::{
    AllocateOptions, Connection, Credentials, Error, Message, Progress, Received, Session, Writer,
    integrity::PasswordAlgorithm,
};

/// How often a request is built anew because of a challenge.
const ATTEMPTS: usize = 3;

/// A live allocation over a blocking connection. Dropping it leaves it to expire; [`Self::close`] ends it.
pub struct Allocation {
    connection: Connection,
    session: Session,
    message: Vec<u8>,
}

/// A peer's datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Its payload.
    pub payload: Vec<u8>,
    /// The channel it came by; none for a Data indication.
    pub channel: Option<u16>,
}

impl Allocation {
    /// Allocates. An `algorithm` is named when the server offers it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the server's code, or why no answer that counts came.
    pub fn open(
        connection: Connection,
        credentials: Credentials,
        algorithm: Option<PasswordAlgorithm>,
        options: &AllocateOptions,
    ) -> Result<Self, Error> {
        let session = Session::new(credentials, algorithm);
        let mut allocation = Self { connection, session, message: Vec::new() };
        allocation.transact(|session| session.allocate(options))?;
        Ok(allocation)
    }

    /// The state of the session: addresses and lifetime.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The first relayed address.
    pub fn relayed(&self) -> SocketAddr {
        self.session.relayed()[0]
    }

    /// Refreshes the allocation, for this many seconds or the server's default.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn refresh(&mut self, lifetime: Option<u32>) -> Result<(), Error> {
        self.transact(|session| session.refresh(lifetime)).map(drop)
    }

    /// Installs or refreshes permissions.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn permit(&mut self, peers: &[IpAddr]) -> Result<(), Error> {
        self.transact(|session| session.create_permission(peers)).map(drop)
    }

    /// Binds a channel to a peer, or refreshes the one it has, and gives its number.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn bind(&mut self, peer: SocketAddr) -> Result<u16, Error> {
        let number = self.session.channel_for(peer).ok_or(Error::Incomplete("free channel number"))?;
        self.transact(|session| session.channel_bind(number, peer))?;
        self.session.bound(number, peer);
        Ok(number)
    }

    /// Sends to a peer, by its channel when it has one.
    ///
    /// # Errors
    /// From the socket.
    pub fn send(&mut self, peer: SocketAddr, payload: &[u8]) -> Result<(), Error> {
        self.session.write_data(&mut self.message, peer, payload);
        Ok(self.connection.send(&self.message)?)
    }

    /// Sends to a peer by a Send indication.
    ///
    /// # Errors
    /// From the socket.
    pub fn send_indication(&mut self, peer: SocketAddr, payload: &[u8]) -> Result<(), Error> {
        self.session.write_indication(&mut self.message, peer, payload);
        Ok(self.connection.send(&self.message)?)
    }

    /// The next datagram of a peer within this time; `None` when there is none.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn receive(&mut self, within: Duration) -> Result<Option<Datagram>, Error> {
        let deadline = Instant::now() + within;
        while let Some(bytes) = self.connection.receive(deadline.saturating_duration_since(Instant::now()))? {
            if let Some(Received::Data { peer, payload, channel }) = self.session.receive(&bytes) {
                return Ok(Some(Datagram { peer, payload: payload.to_vec(), channel }));
            }
        }
        Ok(None)
    }

    /// Ends the allocation.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn close(mut self) -> Result<(), Error> {
        self.refresh(Some(0))
    }

    fn transact(&mut self, build: impl Fn(&Session) -> Writer) -> Result<Message, Error> {
        for _ in 0..ATTEMPTS {
            let answer = self.connection.ask(build(&self.session).bytes())?;
            if self.session.answer(&answer)? == Progress::Done {
                return Ok(answer);
            }
        }
        Err(Error::Refused { code: 438 })
    }
}
