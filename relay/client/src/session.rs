//! A client's side of one allocation, without sockets or timers.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    AlgorithmChoice, Challenge, Class, Credentials, Error, Kind, Message, Signer, TransactionId, Writer,
    attribute, channel_data, integrity::PasswordAlgorithm, method,
};

/// IANA's protocol number of UDP.
const UDP: u8 = 17;
/// First and last channel number (RFC 8656 §12).
const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x4FFF;

/// What an Allocate asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllocateOptions {
    /// LIFETIME in seconds.
    pub lifetime: Option<u32>,
    /// An IPv6 relayed address instead of an IPv4 one.
    pub ipv6: bool,
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The request was challenged: it has to be built and sent again.
    Again,
    /// It was carried out.
    Done,
}

/// What a server sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A peer's datagram.
    Data {
        /// Who sent it.
        peer: SocketAddr,
        /// Its payload.
        payload: &'a [u8],
        /// The channel it came by; none for a Data indication.
        channel: Option<u16>,
    },
    /// The answer to a request.
    Answer(Message<&'a [u8]>),
}

/// The state of one allocation. Requests are built from it, answers change it.
#[derive(Debug)]
pub struct Session {
    credentials: Credentials,
    algorithm: Option<PasswordAlgorithm>,
    signer: Option<Signer>,
    relayed: Vec<SocketAddr>,
    mapped: Option<SocketAddr>,
    lifetime: Duration,
    number_of: HashMap<SocketAddr, u16>,
    peer_of: HashMap<u16, SocketAddr>,
}

impl Session {
    /// A session that knows nothing of its server yet. With an `algorithm`, that one is named to a server that offers
    /// it; without, MD5 and MESSAGE-INTEGRITY are used.
    pub fn new(credentials: Credentials, algorithm: Option<PasswordAlgorithm>) -> Self {
        Self {
            credentials,
            algorithm,
            signer: None,
            relayed: Vec::new(),
            mapped: None,
            lifetime: Duration::ZERO,
            number_of: HashMap::new(),
            peer_of: HashMap::new(),
        }
    }

    /// The relayed addresses; empty before the Allocate's success.
    pub fn relayed(&self) -> &[SocketAddr] {
        &self.relayed
    }

    /// The address that the server sees this client at.
    pub fn mapped(&self) -> Option<SocketAddr> {
        self.mapped
    }

    /// The life that the last Allocate or Refresh gave.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// An Allocate.
    pub fn allocate(&self, options: &AllocateOptions) -> Writer {
        let mut request = Writer::request(method::ALLOCATE).requested_transport(UDP);
        if options.ipv6 {
            request = request.attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        }
        match options.lifetime {
            Some(seconds) => self.sign(request.lifetime(seconds)),
            None => self.sign(request),
        }
    }

    /// A Refresh; with a lifetime of 0 it ends the allocation.
    pub fn refresh(&self, lifetime: Option<u32>) -> Writer {
        let request = Writer::request(method::REFRESH);
        match lifetime {
            Some(seconds) => self.sign(request.lifetime(seconds)),
            None => self.sign(request),
        }
    }

    /// A CreatePermission.
    pub fn create_permission(&self, peers: &[IpAddr]) -> Writer {
        let request = Writer::request(method::CREATE_PERMISSION);
        self.sign(peers.iter().fold(request, |request, peer| request.peer(SocketAddr::new(*peer, 0))))
    }

    /// A ChannelBind.
    pub fn channel_bind(&self, number: u16, peer: SocketAddr) -> Writer {
        self.sign(Writer::request(method::CHANNEL_BIND).channel_number(number).peer(peer))
    }

    /// The channel of a peer, or the next free number. `None` when there is none left.
    pub fn channel_for(&self, peer: SocketAddr) -> Option<u16> {
        let bound = self.number_of.get(&peer).copied();
        bound.or_else(|| CHANNELS.into_iter().find(|number| !self.peer_of.contains_key(number)))
    }

    /// A ChannelBind succeeded: from now on [`Self::write_data`] uses the channel.
    pub fn bound(&mut self, number: u16, peer: SocketAddr) {
        self.number_of.insert(peer, number);
        self.peer_of.insert(number, peer);
    }

    /// Takes the answer to a signed request of this session.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unsigned`] or [`Error::Incomplete`].
    pub fn answer<B: AsRef<[u8]>>(&mut self, answer: &Message<B>) -> Result<Progress, Error> {
        let code = answer.code();
        let challenged = code == 438 || code == 401 && self.signer.is_none();
        if let (true, Some(challenge)) = (challenged, Challenge::of(answer)) {
            self.signer = Some(self.signer_for(challenge));
            return Ok(Progress::Again);
        }
        if !answer.is_success() {
            return Err(Error::Refused { code });
        }
        if !self.signer.as_ref().is_none_or(|signer| signer.verifies(answer)) {
            return Err(Error::Unsigned);
        }
        match answer.kind().method() {
            method::ALLOCATE => {
                self.relayed = answer.xor_addresses(attribute::XOR_RELAYED_ADDRESS);
                self.mapped = answer.xor_address(attribute::XOR_MAPPED_ADDRESS);
                self.lifetime = lifetime_of(answer)?;
                if self.relayed.is_empty() {
                    return Err(Error::Incomplete("XOR-RELAYED-ADDRESS"));
                }
            }
            method::REFRESH => self.lifetime = lifetime_of(answer)?,
            _ => {}
        }
        Ok(Progress::Done)
    }

    /// Writes data for a peer into `message`: ChannelData when a channel is bound, else a Send indication.
    pub fn write_data(&self, message: &mut Vec<u8>, peer: SocketAddr, payload: &[u8]) {
        match self.number_of.get(&peer) {
            Some(number) => channel_data::encode_into(message, *number, payload),
            None => self.write_indication(message, peer, payload),
        }
    }

    /// Writes data for a peer into `message` as a Send indication, also when a channel is bound.
    pub fn write_indication(&self, message: &mut Vec<u8>, peer: SocketAddr, payload: &[u8]) {
        let kind = Kind::indication(method::SEND);
        let writer = Writer::reusing(std::mem::take(message), kind, TransactionId::random());
        *message = writer.peer(peer).data(payload).finish();
    }

    /// Takes a message from the server. `None` for what is neither an answer nor a peer's data.
    pub fn receive<'a>(&self, bytes: &'a [u8]) -> Option<Received<'a>> {
        if let Some((number, payload)) = channel_data::decode(bytes) {
            let peer = *self.peer_of.get(&number)?;
            return Some(Received::Data { peer, payload, channel: Some(number) });
        }
        let message = Message::read(bytes).ok()?;
        match (message.kind().class(), message.kind().method()) {
            (Class::Success | Class::Error, _) => Some(Received::Answer(message)),
            (Class::Indication, method::DATA) => {
                let peer = message.xor_address(attribute::XOR_PEER_ADDRESS)?;
                let offset = message.attribute(attribute::DATA)?.offset + 4;
                let length = message.value(attribute::DATA)?.len();
                Some(Received::Data { peer, payload: &bytes[offset..offset + length], channel: None })
            }
            _ => None,
        }
    }

    fn sign(&self, request: Writer) -> Writer {
        match &self.signer {
            Some(signer) => signer.sign(request),
            None => request,
        }
    }

    fn signer_for(&self, challenge: Challenge) -> Signer {
        let choice = match self.algorithm {
            Some(algorithm) if challenge.offers(algorithm) => AlgorithmChoice::Named(algorithm),
            _ => AlgorithmChoice::Legacy,
        };
        Signer::new(&self.credentials, challenge, choice)
    }
}

fn lifetime_of<B: AsRef<[u8]>>(answer: &Message<B>) -> Result<Duration, Error> {
    let seconds = answer.u32(attribute::LIFETIME).ok_or(Error::Incomplete("LIFETIME"))?;
    Ok(Duration::from_secs(seconds.into()))
}
