//! A small TURN client that counts every byte it sends and receives, as the relay should.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use stun::{
    attributes::{
        ATTR_CHANNEL_NUMBER, ATTR_DATA, ATTR_EVEN_PORT, ATTR_LIFETIME, ATTR_NONCE, ATTR_REALM,
        ATTR_REQUESTED_TRANSPORT, ATTR_RESERVATION_TOKEN, ATTR_USERNAME, ATTR_XOR_PEER_ADDRESS,
        ATTR_XOR_RELAYED_ADDRESS, AttrType,
    },
    error_code::ErrorCodeAttribute,
    integrity::MessageIntegrity,
    message::{
        CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter as _, METHOD_ALLOCATE,
        METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_DATA, METHOD_REFRESH,
        METHOD_SEND, Message, MessageType, Method, Setter as _,
    },
    textattrs::TextAttribute,
    xoraddr::XorMappedAddress,
};
use tokio::net::UdpSocket;
use turnpike_relay_api::{
    admin::Flow,
    credential::{Credential, Limits},
};

use crate::harness::{PATIENCE, REALM, Server, credential};

/// What an Allocate may ask for besides.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ask {
    /// EVEN-PORT with this R bit.
    pub(crate) even_port: Option<bool>,
    pub(crate) token: Option<[u8; 8]>,
}

/// What arrives besides answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// ChannelData.
    Channel(u16, Vec<u8>),
    /// A Data indication.
    Data(SocketAddr, Vec<u8>),
}

/// A client; after Allocate it counts its leg at the IP layer.
pub(crate) struct Client {
    socket: UdpSocket,
    credential: Credential,
    nonce: Option<String>,
    realm: String,
    pub(crate) relayed: SocketAddr,
    pub(crate) token: Option<[u8; 8]>,
    pub(crate) sent: Flow,
    pub(crate) received: Flow,
}

impl Client {
    /// A client of its own subject, with an allocation.
    pub(crate) async fn allocated(server: &Server, subject: &str) -> Self {
        Self::limited(server, subject, &Limits::default()).await
    }

    /// The same with limits in its credential.
    pub(crate) async fn limited(server: &Server, subject: &str, limits: &Limits) -> Self {
        let mut client = Self::new(server.address(), credential(subject, limits)).await;
        client.allocate(Ask::default()).await.unwrap();
        client
    }

    /// A client without an allocation.
    pub(crate) async fn new(server: SocketAddr, credential: Credential) -> Self {
        let any = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(any).await.unwrap();
        socket.connect(server).await.unwrap();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let (sent, received) = (Flow::default(), Flow::default());
        let realm = String::new();
        Self { socket, credential, nonce: None, realm, relayed: nowhere, token: None, sent, received }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Allocates, or gives the error code.
    pub(crate) async fn allocate(&mut self, ask: Ask) -> Result<(), u16> {
        let mut attributes = vec![(ATTR_REQUESTED_TRANSPORT, vec![17, 0, 0, 0])];
        attributes.extend(ask.even_port.map(|reserve| (ATTR_EVEN_PORT, vec![u8::from(reserve) << 7])));
        attributes.extend(ask.token.map(|token| (ATTR_RESERVATION_TOKEN, token.to_vec())));
        let answer = self.request(METHOD_ALLOCATE, &attributes).await?;
        let mut relayed = XorMappedAddress::default();
        relayed.get_from_as(&answer, ATTR_XOR_RELAYED_ADDRESS).unwrap();
        self.relayed = SocketAddr::new(relayed.ip, relayed.port);
        self.token = answer.get(ATTR_RESERVATION_TOKEN).ok().map(|token| token.try_into().unwrap());
        // The request belonged to no allocation yet, its answer does.
        self.sent = Flow::default();
        self.received = Flow::default();
        self.count_received(answer.raw.len());
        Ok(())
    }

    /// Asks for permissions, or gives the error code.
    pub(crate) async fn permit(&mut self, peers: &[IpAddr]) -> Result<(), u16> {
        let attributes: Vec<_> = peers.iter().map(|ip| (ATTR_XOR_PEER_ADDRESS, peer(*ip, 0))).collect();
        self.request_with_peers(METHOD_CREATE_PERMISSION, &attributes).await
    }

    /// Binds a channel, or gives the error code.
    pub(crate) async fn bind(&mut self, number: u16, to: SocketAddr) -> Result<(), u16> {
        let [high, low] = number.to_be_bytes();
        let attributes = [
            (ATTR_CHANNEL_NUMBER, Value::Plain(vec![high, low, 0, 0])),
            (ATTR_XOR_PEER_ADDRESS, peer(to.ip(), to.port())),
        ];
        self.request_with_peers(METHOD_CHANNEL_BIND, &attributes).await
    }

    /// Refreshes for so many seconds, or gives the error code; 0 ends the allocation.
    pub(crate) async fn refresh(&mut self, seconds: u32) -> Result<(), u16> {
        let lifetime = (ATTR_LIFETIME, seconds.to_be_bytes().to_vec());
        self.request(METHOD_REFRESH, &[lifetime]).await.map(|_| ())
    }

    /// Asks for its own address, as seen by the server.
    pub(crate) async fn binding(&mut self) -> SocketAddr {
        let message = build(METHOD_BINDING, CLASS_REQUEST, &[]);
        let answer = self.exchange(&message).await;
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&answer).unwrap();
        SocketAddr::new(mapped.ip, mapped.port)
    }

    pub(crate) async fn send_channel(&mut self, number: u16, payload: &[u8]) {
        self.send_raw(&channel_data(number, payload)).await;
    }

    pub(crate) async fn send_indication(&mut self, to: SocketAddr, payload: &[u8]) {
        self.send_raw(&send_indication(to, payload)).await;
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        let sent = self.socket.send(bytes).await.unwrap();
        self.sent.packets += 1;
        self.sent.bytes += sent as u64 + 28;
    }

    /// The next thing that arrives.
    pub(crate) async fn arrival(&mut self) -> Arrival {
        let received = tokio::time::timeout(PATIENCE, self.receive()).await;
        received.expect("nothing arrives")
    }

    /// Whatever arrives within this time, which is nothing where nothing should.
    pub(crate) async fn arrival_within(&mut self, time: Duration) -> Option<Arrival> {
        tokio::time::timeout(time, self.receive()).await.ok()
    }

    /// Its socket, for a test that does without the rest.
    pub(crate) fn into_std(self) -> std::net::UdpSocket {
        self.socket.into_std().unwrap()
    }

    async fn receive(&mut self) -> Arrival {
        let bytes = self.receive_raw().await;
        if bytes[0] & 0xC0 == 0x40 {
            let number = u16::from_be_bytes([bytes[0], bytes[1]]);
            let len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
            assert_eq!(bytes.len(), 4 + len);
            return Arrival::Channel(number, bytes[4..].to_vec());
        }
        let message = decode(bytes);
        assert_eq!(message.typ, MessageType::new(METHOD_DATA, CLASS_INDICATION));
        let mut from = XorMappedAddress::default();
        from.get_from_as(&message, ATTR_XOR_PEER_ADDRESS).unwrap();
        let data = message.get(ATTR_DATA).unwrap();
        let padding = data.len().wrapping_neg() % 4;
        assert!(message.raw.ends_with(&vec![0; padding]), "padding that is sent is zero");
        Arrival::Data(SocketAddr::new(from.ip, from.port), data)
    }

    async fn receive_raw(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let len = self.socket.recv(&mut buffer).await.unwrap();
        self.count_received(len);
        buffer.truncate(len);
        buffer
    }

    fn count_received(&mut self, len: usize) {
        self.received.packets += 1;
        self.received.bytes += len as u64 + 28;
    }

    async fn request_with_peers(
        &mut self,
        method: Method,
        attributes: &[(AttrType, Value)],
    ) -> Result<(), u16> {
        self.signed(method, attributes).await.map(|_| ())
    }

    async fn request(&mut self, method: Method, attributes: &[(AttrType, Vec<u8>)]) -> Result<Message, u16> {
        let attributes: Vec<_> =
            attributes.iter().map(|(kind, value)| (*kind, Value::Plain(value.clone()))).collect();
        self.signed(method, &attributes).await
    }

    /// A signed request; the first one of all fetches realm and nonce.
    async fn signed(&mut self, method: Method, attributes: &[(AttrType, Value)]) -> Result<Message, u16> {
        if self.nonce.is_none() {
            let challenge = self.exchange(&build(method, CLASS_REQUEST, attributes)).await;
            assert_eq!(error_code(&challenge), Some(401));
            self.nonce = Some(TextAttribute::get_from_as(&challenge, ATTR_NONCE).unwrap().text);
            self.realm = TextAttribute::get_from_as(&challenge, ATTR_REALM).unwrap().text;
            assert_eq!(self.realm, REALM);
        }
        let mut message = build(method, CLASS_REQUEST, attributes);
        let texts = [
            (ATTR_USERNAME, &self.credential.username),
            (ATTR_REALM, &self.realm),
            (ATTR_NONCE, self.nonce.as_ref().unwrap()),
        ];
        for (kind, text) in texts {
            message.add(kind, text.as_bytes());
        }
        MessageIntegrity::new_long_term_integrity(
            self.credential.username.clone(),
            self.realm.clone(),
            self.credential.password.to_string(),
        )
        .add_to(&mut message)
        .unwrap();
        let answer = self.exchange(&message).await;
        match error_code(&answer) {
            Some(code) => Err(code),
            None => {
                assert_eq!(answer.typ, MessageType::new(method, CLASS_SUCCESS_RESPONSE));
                Ok(answer)
            }
        }
    }

    async fn exchange(&mut self, message: &Message) -> Message {
        self.send_raw(&message.raw).await;
        let received = tokio::time::timeout(PATIENCE, self.receive_raw()).await;
        let answer = decode(received.expect("no answer"));
        assert_eq!(answer.transaction_id, message.transaction_id);
        answer
    }
}

/// The bytes of a ChannelData message.
pub(crate) fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The bytes of a Send indication.
pub(crate) fn send_indication(to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let attributes =
        [(ATTR_XOR_PEER_ADDRESS, peer(to.ip(), to.port())), (ATTR_DATA, Value::Plain(payload.to_vec()))];
    build(METHOD_SEND, CLASS_INDICATION, &attributes).raw
}

/// An attribute's value; an XOR'ed address depends on the transaction.
enum Value {
    Plain(Vec<u8>),
    Address(XorMappedAddress),
}

fn peer(ip: IpAddr, port: u16) -> Value {
    Value::Address(XorMappedAddress { ip, port })
}

fn build(method: Method, class: stun::message::MessageClass, attributes: &[(AttrType, Value)]) -> Message {
    let mut message = Message::new();
    message.typ = MessageType::new(method, class);
    message.new_transaction_id().unwrap();
    message.write_header();
    for (kind, value) in attributes {
        match value {
            Value::Plain(bytes) => message.add(*kind, bytes),
            Value::Address(address) => address.add_to_as(&mut message, *kind).unwrap(),
        }
    }
    message
}

fn decode(bytes: Vec<u8>) -> Message {
    let mut message = Message::new();
    message.raw = bytes;
    message.decode().unwrap();
    message
}

fn error_code(message: &Message) -> Option<u16> {
    let mut error = ErrorCodeAttribute::default();
    error.get_from(message).ok().map(|()| error.code.0)
}
