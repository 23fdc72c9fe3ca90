//! A request of the control plane, decoded by `stun`, its attributes read by `turn`.

use std::net::SocketAddr;

use stun::{
    attributes::AttrType,
    message::{Getter, Message as Decoded},
};
use turn::proto::{
    channum::ChannelNumber, lifetime::Lifetime, reqtrans::RequestedTransport, rsrvtoken::ReservationToken,
};

use super::{
    Message, Method, Scan, TransactionId, attribute,
    integrity::{self, Mac},
};

/// An attribute that is there, and wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid;

/// A request, cut off behind its first integrity attribute.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) transaction_id: TransactionId,
    /// Types that must be understood and are not.
    pub(crate) unknown: Vec<u16>,
    /// The strongest MAC that is there, and its offset.
    mac: Option<(Mac, usize)>,
    bytes: &'a [u8],
    decoded: Decoded,
}

impl<'a> Request<'a> {
    /// Decodes into `scratch`, which [`Self::into_scratch`] gives back.
    pub(crate) fn decode(message: &Message<'a>, scan: Scan, mut scratch: Decoded) -> Self {
        scratch.raw.clear();
        scratch.raw.extend_from_slice(&message.bytes[..scan.end]);
        let length = (scan.end - super::HEADER_LEN) as u16;
        scratch.raw[2..4].copy_from_slice(&length.to_be_bytes());
        scratch.decode().expect("the scan has checked every attribute");
        let sha1 = scan.integrity.map(|offset| (Mac::Sha1, offset));
        Self {
            method: message.method,
            transaction_id: message.transaction_id,
            unknown: scan.unknown,
            mac: scan.integrity_sha256.map(|offset| (Mac::Sha256, offset)).or(sha1),
            bytes: message.bytes,
            decoded: scratch,
        }
    }

    pub(crate) fn into_scratch(self) -> Decoded {
        self.decoded
    }

    /// The MAC that has to be right; MESSAGE-INTEGRITY-SHA256 where there are both.
    pub(crate) fn mac(&self) -> Option<Mac> {
        self.mac.map(|(mac, _)| mac)
    }

    /// Checks the MAC, in constant time.
    pub(crate) fn verify(&mut self, key: &[u8]) -> bool {
        match self.mac {
            Some((Mac::Sha1, _)) => integrity::check_sha1(&mut self.decoded, key),
            Some((Mac::Sha256, offset)) => integrity::check_sha256(self.bytes, offset, key),
            None => false,
        }
    }

    /// PASSWORD-ALGORITHM's value (RFC 8489 §14.12).
    pub(crate) fn password_algorithm(&self) -> Option<&[u8]> {
        self.value(attribute::PASSWORD_ALGORITHM)
    }

    /// PASSWORD-ALGORITHMS' value (RFC 8489 §14.11).
    pub(crate) fn password_algorithms(&self) -> Option<&[u8]> {
        self.value(attribute::PASSWORD_ALGORITHMS)
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

    /// REQUESTED-ADDRESS-FAMILY's number (RFC 8656 §18.6), also of a family nobody knows, which `turn` does not give.
    pub(crate) fn requested_family(&self) -> Result<Option<u8>, Invalid> {
        self.family(attribute::REQUESTED_ADDRESS_FAMILY)
    }

    /// ADDITIONAL-ADDRESS-FAMILY's number (RFC 8656 §18.11).
    pub(crate) fn additional_family(&self) -> Result<Option<u8>, Invalid> {
        self.family(attribute::ADDITIONAL_ADDRESS_FAMILY)
    }

    fn family(&self, kind: u16) -> Result<Option<u8>, Invalid> {
        match self.value(kind) {
            None => Ok(None),
            Some([family, _, _, _]) => Ok(Some(*family)),
            Some(_) => Err(Invalid),
        }
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
