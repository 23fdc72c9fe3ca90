use std::net::SocketAddr;

use crate::{
    Attribute, Attributes, Class, HEADER_LEN, Kind, MAGIC_COOKIE, Malformed, TransactionId,
    address::{decode_address, decode_xor_address},
    attribute, integrity,
};

/// A message that was read: its header, every attribute's length and its FINGERPRINT are right.
///
/// Borrowed as `Message<&[u8]>`, owned as `Message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<B = Vec<u8>> {
    bytes: B,
}

/// The value of ERROR-CODE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode<'a> {
    /// Class times 100 plus number.
    pub code: u16,
    /// The reserved bits before the class.
    pub reserved: u32,
    /// The class, of three bits.
    pub class: u8,
    /// The number.
    pub number: u8,
    /// The reason, which nobody has checked.
    pub reason: &'a [u8],
}

impl<B: AsRef<[u8]>> Message<B> {
    /// Reads a whole datagram, or one message of a stream.
    ///
    /// # Errors
    /// What is wrong with its layout, its cookie or its FINGERPRINT.
    pub fn read(bytes: B) -> Result<Self, Malformed> {
        let all = bytes.as_ref();
        let (header, attributes) = all.split_at_checked(HEADER_LEN).ok_or(Malformed::Short)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >> 6 != 0 {
            return Err(Malformed::NotStun);
        }
        if header[4..8] != MAGIC_COOKIE {
            return Err(Malformed::Cookie);
        }
        if !length.is_multiple_of(4) || length != attributes.len() {
            return Err(Malformed::Length);
        }
        for attribute in Attributes::new(all) {
            let attribute = attribute?;
            if attribute.kind == attribute::FINGERPRINT && !is_right_fingerprint(all, &attribute) {
                return Err(Malformed::Fingerprint);
            }
        }
        Ok(Self { bytes })
    }

    /// The message as it came.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// A copy that owns its bytes.
    pub fn to_owned(&self) -> Message {
        Message { bytes: self.bytes().to_vec() }
    }

    /// Method and class.
    pub fn kind(&self) -> Kind {
        Kind(u16::from_be_bytes([self.bytes()[0], self.bytes()[1]]))
    }

    /// Whether this answers a request.
    pub fn is_answer(&self) -> bool {
        matches!(self.kind().class(), Class::Success | Class::Error)
    }

    /// Whether this answers a request that was carried out.
    pub fn is_success(&self) -> bool {
        self.kind().class() == Class::Success
    }

    /// The transaction.
    pub fn transaction(&self) -> TransactionId {
        TransactionId(self.bytes()[8..HEADER_LEN].try_into().expect("a message that was read has a header"))
    }

    /// The attributes in order.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'_>> {
        Attributes::new(self.bytes()).flatten()
    }

    /// The first attribute of this type.
    pub fn attribute(&self, kind: u16) -> Option<Attribute<'_>> {
        self.attributes().find(|attribute| attribute.kind == kind)
    }

    /// The value of the first attribute of this type.
    pub fn value(&self, kind: u16) -> Option<&[u8]> {
        self.attribute(kind).map(|attribute| attribute.value)
    }

    /// Whether there is an attribute of this type.
    pub fn has(&self, kind: u16) -> bool {
        self.attribute(kind).is_some()
    }

    /// An attribute of 32 bits.
    pub fn u32(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.value(kind)?.try_into().ok()?))
    }

    /// The address in an XORed attribute.
    pub fn xor_address(&self, kind: u16) -> Option<SocketAddr> {
        decode_xor_address(self.value(kind)?, self.transaction())
    }

    /// Every address in attributes of this XORed type.
    pub fn xor_addresses(&self, kind: u16) -> Vec<SocketAddr> {
        self.attributes()
            .filter(|attribute| attribute.kind == kind)
            .filter_map(|attribute| decode_xor_address(attribute.value, self.transaction()))
            .collect()
    }

    /// The address in an attribute that is not XORed.
    pub fn address(&self, kind: u16) -> Option<SocketAddr> {
        decode_address(self.value(kind)?)
    }

    /// ERROR-CODE, when it is there and long enough.
    pub fn error_code(&self) -> Option<ErrorCode<'_>> {
        let (head, reason) = self.value(attribute::ERROR_CODE)?.split_first_chunk::<4>()?;
        let (class, number) = (head[2] & 0x07, head[3]);
        Some(ErrorCode {
            code: u16::from(class) * 100 + u16::from(number),
            reserved: u32::from_be_bytes(*head) >> 11,
            class,
            number,
            reason,
        })
    }

    /// The code of an error response, 0 for any other message.
    pub fn code(&self) -> u16 {
        self.error_code().map_or(0, |error| error.code)
    }

    /// The types listed in UNKNOWN-ATTRIBUTES.
    pub fn unknown_attributes(&self) -> Vec<u16> {
        let value = self.value(attribute::UNKNOWN_ATTRIBUTES).unwrap_or_default();
        value.chunks_exact(2).map(|kind| u16::from_be_bytes([kind[0], kind[1]])).collect()
    }

    /// Whether MESSAGE-INTEGRITY is there, whole and right.
    pub fn is_signed_sha1(&self, key: &[u8]) -> bool {
        self.is_signed(attribute::MESSAGE_INTEGRITY, |bytes| integrity::hmac_sha1(key, bytes).to_vec())
    }

    /// Whether MESSAGE-INTEGRITY-SHA256 is there, whole and right.
    pub fn is_signed_sha256(&self, key: &[u8]) -> bool {
        self.is_signed(attribute::MESSAGE_INTEGRITY_SHA256, |bytes| {
            integrity::hmac_sha256(key, bytes).to_vec()
        })
    }

    /// The length field that was signed ended with the MAC itself.
    fn is_signed(&self, kind: u16, mac: impl Fn(&[u8]) -> Vec<u8>) -> bool {
        let Some(attribute) = self.attribute(kind) else { return false };
        let mut signed = self.bytes()[..attribute.offset].to_vec();
        let length = attribute.offset + 4 + attribute.value.len() - HEADER_LEN;
        let Ok(length) = u16::try_from(length) else { return false };
        signed[2..4].copy_from_slice(&length.to_be_bytes());
        mac(&signed) == attribute.value
    }
}

fn is_right_fingerprint(message: &[u8], found: &Attribute<'_>) -> bool {
    let sum = integrity::fingerprint(&message[..found.offset]);
    found.value == sum.to_be_bytes() && found.offset + 8 == message.len()
}
