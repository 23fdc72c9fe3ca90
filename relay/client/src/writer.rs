//! Messages being written. What is wrong on purpose can be written as well.

use std::net::SocketAddr;

use crate::{HEADER_LEN, Kind, MAGIC_COOKIE, address::encode_xor_address, attribute, integrity};

/// The 96 bits that an answer shares with its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 12]);

impl TransactionId {
    /// One that nobody can guess (RFC 8489 §5).
    pub fn random() -> Self {
        let mut bytes = [0; 12];
        getrandom::fill(&mut bytes).expect("the system gives random bytes");
        Self(bytes)
    }
}

/// A message being written; its length field is right after each step.
#[derive(Debug, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A message of this kind without attributes.
    pub fn new(kind: Kind, transaction: TransactionId) -> Self {
        Self::reusing(Vec::with_capacity(128), kind, transaction)
    }

    /// The same in the memory of an older message.
    pub fn reusing(mut bytes: Vec<u8>, kind: Kind, transaction: TransactionId) -> Self {
        bytes.clear();
        bytes.extend(kind.0.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(MAGIC_COOKIE);
        bytes.extend(transaction.0);
        Self { bytes }
    }

    /// A request with a random transaction.
    pub fn request(method: u16) -> Self {
        Self::new(Kind::request(method), TransactionId::random())
    }

    /// An indication with a random transaction.
    pub fn indication(method: u16) -> Self {
        Self::new(Kind::indication(method), TransactionId::random())
    }

    /// Adds an attribute.
    pub fn attribute(self, kind: u16, value: &[u8]) -> Self {
        self.attribute_padded_with(kind, value, 0)
    }

    /// Adds an attribute whose padding is not zero.
    pub fn attribute_padded_with(mut self, kind: u16, value: &[u8], padding: u8) -> Self {
        let length = u16::try_from(value.len()).expect("an attribute is at most 65535 bytes");
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), padding);
        self.set_length(0);
        self
    }

    /// Adds an attribute of 32 bits.
    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Adds LIFETIME.
    pub fn lifetime(self, seconds: u32) -> Self {
        self.u32(attribute::LIFETIME, seconds)
    }

    /// Adds REQUESTED-TRANSPORT with an IANA protocol number.
    pub fn requested_transport(self, protocol: u8) -> Self {
        self.attribute(attribute::REQUESTED_TRANSPORT, &[protocol, 0, 0, 0])
    }

    /// Adds CHANNEL-NUMBER.
    pub fn channel_number(self, number: u16) -> Self {
        let number = number.to_be_bytes();
        self.attribute(attribute::CHANNEL_NUMBER, &[number[0], number[1], 0, 0])
    }

    /// Adds XOR-PEER-ADDRESS.
    pub fn peer(self, peer: SocketAddr) -> Self {
        let value = encode_xor_address(peer, self.transaction());
        self.attribute(attribute::XOR_PEER_ADDRESS, &value)
    }

    /// Adds DATA.
    pub fn data(self, payload: &[u8]) -> Self {
        self.attribute(attribute::DATA, payload)
    }

    /// Adds MESSAGE-INTEGRITY over what is there so far (RFC 8489 §14.5).
    pub fn message_integrity(mut self, key: &[u8]) -> Self {
        self.set_length(4 + integrity::SHA1_LEN);
        let tag = integrity::hmac_sha1(key, &self.bytes);
        self.attribute(attribute::MESSAGE_INTEGRITY, &tag)
    }

    /// Adds MESSAGE-INTEGRITY-SHA256 over what is there so far (RFC 8489 §14.6).
    pub fn message_integrity_sha256(mut self, key: &[u8]) -> Self {
        self.set_length(4 + integrity::SHA256_LEN);
        let tag = integrity::hmac_sha256(key, &self.bytes);
        self.attribute(attribute::MESSAGE_INTEGRITY_SHA256, &tag)
    }

    /// Adds FINGERPRINT over what is there so far (RFC 8489 §14.7).
    pub fn fingerprint(mut self) -> Self {
        self.set_length(8);
        let sum = integrity::fingerprint(&self.bytes);
        self.u32(attribute::FINGERPRINT, sum)
    }

    /// The transaction.
    pub fn transaction(&self) -> TransactionId {
        let id = self.bytes[8..HEADER_LEN].try_into().expect("a writer starts with a header");
        TransactionId(id)
    }

    /// The message so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole message.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn set_length(&mut self, more: usize) {
        let length =
            u16::try_from(self.bytes.len() - HEADER_LEN + more).expect("a message is at most 65535 bytes");
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
    }
}
