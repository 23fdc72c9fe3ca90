//! A request of the control plane, decoded by `stun`, its attributes read by `turn`.

use std::net::SocketAddr;

use stun::{
    attributes::AttrType,
    integrity::MessageIntegrity,
    message::{Getter, Message as Decoded},
};
use turn::proto::{
    channum::ChannelNumber, lifetime::Lifetime, reqfamily::RequestedAddressFamily,
    reqtrans::RequestedTransport, rsrvtoken::ReservationToken,
};

use super::{Message, Method, Scan, TransactionId, attribute};

/// MESSAGE-INTEGRITY is an HMAC-SHA1 (RFC 8489 §14.5).
const INTEGRITY_LEN: usize = 20;

/// An attribute that is there, and wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid;

/// A request, cut off behind MESSAGE-INTEGRITY.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) transaction_id: TransactionId,
    /// Types that must be understood and are not.
    pub(crate) unknown: Vec<u16>,
    signed: bool,
    decoded: Decoded,
}

impl Request {
    /// Decodes into `scratch`, which [`Self::into_scratch`] gives back.
    pub(crate) fn decode(message: &Message<'_>, scan: Scan, mut scratch: Decoded) -> Self {
        scratch.raw.clear();
        scratch.raw.extend_from_slice(&message.bytes[..scan.end]);
        let length = (scan.end - super::HEADER_LEN) as u16;
        scratch.raw[2..4].copy_from_slice(&length.to_be_bytes());
        scratch.decode().expect("the scan has checked every attribute");
        let integrity = scan.integrity.and_then(|offset| super::attribute_at(message.bytes, offset));
        Self {
            method: message.method,
            transaction_id: message.transaction_id,
            unknown: scan.unknown,
            signed: integrity.is_some_and(|(_, value)| value.len() == INTEGRITY_LEN),
            decoded: scratch,
        }
    }

    pub(crate) fn into_scratch(self) -> Decoded {
        self.decoded
    }

    /// Whether MESSAGE-INTEGRITY is there.
    pub(crate) fn is_signed(&self) -> bool {
        self.value(attribute::MESSAGE_INTEGRITY).is_some()
    }

    /// Checks MESSAGE-INTEGRITY, in constant time.
    pub(crate) fn verify(&mut self, key: &[u8; 16]) -> bool {
        self.signed && MessageIntegrity(key.to_vec()).check(&mut self.decoded).is_ok()
    }

    pub(crate) fn username(&self) -> Option<&[u8]> {
        self.value(attribute::USERNAME)
    }

    pub(crate) fn realm(&self) -> Option<&[u8]> {
        self.value(attribute::REALM)
    }

    pub(crate) fn nonce(&self) -> Option<&[u8]> {
        self.value(attribute::NONCE)
    }

    /// REQUESTED-TRANSPORT's protocol number (RFC 8656 §18.8).
    pub(crate) fn requested_transport(&self) -> Result<Option<u8>, Invalid> {
        Ok(self
            .get::<RequestedTransport>(attribute::REQUESTED_TRANSPORT)?
            .map(|transport| transport.protocol.0))
    }

    /// LIFETIME in seconds (RFC 8656 §18.2).
    pub(crate) fn lifetime(&self) -> Result<Option<u32>, Invalid> {
        Ok(self.get::<Lifetime>(attribute::LIFETIME)?.map(|lifetime| lifetime.0.as_secs() as u32))
    }

    /// REQUESTED-ADDRESS-FAMILY (RFC 8656 §18.6): `Some(None)` is a family nobody knows.
    pub(crate) fn requested_family(&self) -> Option<Option<u8>> {
        self.value(attribute::REQUESTED_ADDRESS_FAMILY)?;
        let mut family = RequestedAddressFamily::default();
        Some(family.get_from(&self.decoded).ok().map(|()| family.0))
    }

    pub(crate) fn asks_for_second_family(&self) -> bool {
        self.value(attribute::ADDITIONAL_ADDRESS_FAMILY).is_some()
    }

    /// EVEN-PORT's R bit (RFC 8656 §18.7); `turn` reads it and does not tell.
    pub(crate) fn even_port(&self) -> Result<Option<bool>, Invalid> {
        match self.value(attribute::EVEN_PORT) {
            None => Ok(None),
            Some([flags]) => Ok(Some(flags & 0x80 != 0)),
            Some(_) => Err(Invalid),
        }
    }

    /// RESERVATION-TOKEN (RFC 8656 §18.10).
    pub(crate) fn reservation_token(&self) -> Result<Option<[u8; 8]>, Invalid> {
        let token = self.get::<ReservationToken>(attribute::RESERVATION_TOKEN)?;
        token.map(|token| token.0.try_into().map_err(|_| Invalid)).transpose()
    }

    /// CHANNEL-NUMBER (RFC 8656 §18.1).
    pub(crate) fn channel_number(&self) -> Result<Option<u16>, Invalid> {
        Ok(self.get::<ChannelNumber>(attribute::CHANNEL_NUMBER)?.map(|number| number.0))
    }

    /// The first XOR-PEER-ADDRESS.
    pub(crate) fn peer(&self) -> Result<Option<SocketAddr>, Invalid> {
        self.peers().next().transpose()
    }

    /// Every XOR-PEER-ADDRESS (RFC 8656 §10.1 allows more than one); `turn` reads only the first.
    pub(crate) fn peers(&self) -> impl Iterator<Item = Result<SocketAddr, Invalid>> + '_ {
        let all = self.decoded.attributes.0.iter();
        all.filter(|a| a.typ.value() == attribute::XOR_PEER_ADDRESS)
            .map(|a| attribute::read_xor_address(&a.value, &self.transaction_id).ok_or(Invalid))
    }

    /// The first attribute of this type counts (RFC 8489 §14).
    fn value(&self, kind: u16) -> Option<&[u8]> {
        let all = &self.decoded.attributes.0;
        all.iter().find(|a| a.typ == AttrType(kind)).map(|a| a.value.as_slice())
    }

    fn get<T: Getter + Default>(&self, kind: u16) -> Result<Option<T>, Invalid> {
        if self.value(kind).is_none() {
            return Ok(None);
        }
        let mut read = T::default();
        read.get_from(&self.decoded).map_err(|_| Invalid)?;
        Ok(Some(read))
    }
}
