//! Answers: the control plane's by `stun` and `turn`, Binding's by hand.

use std::{net::SocketAddr, time::Duration};

use stun::{
    addr::AlternateServer,
    agent::TransactionId as StunTransactionId,
    attributes::{ATTR_ALTERNATE_SERVER, ATTR_NONCE, ATTR_REALM, ATTR_SOFTWARE, AttrType},
    error_code::{ERROR_REASONS, ErrorCode as StunErrorCode, ErrorCodeAttribute},
    integrity::MessageIntegrity,
    message::{
        CLASS_ERROR_RESPONSE, CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND,
        METHOD_CREATE_PERMISSION, METHOD_REFRESH, METHOD_SEND, Message as Encoded, MessageType, Setter,
    },
    textattrs::TextAttribute,
    uattrs::UnknownAttributes,
    xoraddr::XorMappedAddress,
};
use turn::proto::{lifetime::Lifetime, relayaddr::RelayedAddress, rsrvtoken::ReservationToken};

use super::{
    MAGIC_COOKIE, Message, Method, TransactionId, attribute,
    integrity::{Mac, sign_sha256},
};
use crate::{ErrorCode, Family, counters::Label as _};

/// A STUN answer being put together, attribute by attribute.
pub(crate) struct Response {
    message: Encoded,
}

impl Response {
    pub(crate) fn success(method: Method, transaction_id: TransactionId) -> Self {
        Self::new(method, CLASS_SUCCESS_RESPONSE, transaction_id)
    }

    /// An error with its reason phrase, for clients that are let in.
    pub(crate) fn error(method: Method, transaction_id: TransactionId, code: ErrorCode) -> Self {
        let code = stun_code(code);
        let reason = ERROR_REASONS.get(&code).cloned().unwrap_or_default();
        Self::new(method, CLASS_ERROR_RESPONSE, transaction_id).with(&ErrorCodeAttribute { code, reason })
    }

    /// An error without a reason phrase: what strangers can provoke stays small.
    pub(crate) fn bare_error(method: Method, transaction_id: TransactionId, code: ErrorCode) -> Self {
        let attribute = ErrorCodeAttribute { code: stun_code(code), reason: Vec::new() };
        Self::new(method, CLASS_ERROR_RESPONSE, transaction_id).with(&attribute)
    }

    pub(crate) fn realm(self, realm: &str) -> Self {
        self.with(&TextAttribute::new(ATTR_REALM, realm.to_owned()))
    }

    pub(crate) fn nonce(self, nonce: &str) -> Self {
        self.with(&TextAttribute::new(ATTR_NONCE, nonce.to_owned()))
    }

    pub(crate) fn password_algorithms(mut self, algorithms: &[u8]) -> Self {
        self.message.add(AttrType(attribute::PASSWORD_ALGORITHMS), algorithms);
        self
    }

    pub(crate) fn mapped(self, address: SocketAddr) -> Self {
        self.with(&XorMappedAddress { ip: address.ip(), port: address.port() })
    }

    pub(crate) fn relayed(self, address: SocketAddr) -> Self {
        self.with(&RelayedAddress { ip: address.ip(), port: address.port() })
    }

    /// ADDRESS-ERROR-CODE: a family that was asked for besides and is not given (RFC 8656 §18.12).
    pub(crate) fn address_error(mut self, refused: Option<(Family, ErrorCode)>) -> Self {
        if let Some((family, code)) = refused {
            let code = stun_code(code);
            let mut value = vec![family.number(), 0, (code.0 / 100) as u8, (code.0 % 100) as u8];
            value.extend(ERROR_REASONS.get(&code).into_iter().flatten());
            self.message.add(AttrType(attribute::ADDRESS_ERROR_CODE), &value);
        }
        self
    }

    pub(crate) fn lifetime(self, lifetime: Duration) -> Self {
        self.with(&Lifetime(lifetime))
    }

    pub(crate) fn alternate_server(mut self, address: Option<SocketAddr>) -> Self {
        if let Some(address) = address {
            AlternateServer { ip: address.ip(), port: address.port() }
                .add_to_as(&mut self.message, ATTR_ALTERNATE_SERVER)
                .expect("an address is within the limits of its attribute");
        }
        self
    }

    pub(crate) fn reservation(self, token: Option<[u8; 8]>) -> Self {
        match token {
            Some(token) => self.with(&ReservationToken(token.to_vec())),
            None => self,
        }
    }

    pub(crate) fn software(self, software: Option<&str>) -> Self {
        match software {
            Some(text) => self.with(&TextAttribute::new(ATTR_SOFTWARE, text.to_owned())),
            None => self,
        }
    }

    pub(crate) fn unknown_attributes(self, kinds: &[u16]) -> Self {
        let kinds = kinds.iter().map(|kind| AttrType(*kind)).collect();
        self.with(&UnknownAttributes(kinds))
    }

    /// Adds the MAC and gives the bytes.
    pub(crate) fn signed(mut self, mac: Mac, key: &[u8]) -> Vec<u8> {
        match mac {
            Mac::Sha1 => self.with(&MessageIntegrity(key.to_vec())).unsigned(),
            Mac::Sha256 => {
                let tag = sign_sha256(&self.message.raw, key);
                self.message.add(AttrType(attribute::MESSAGE_INTEGRITY_SHA256), &tag);
                self.unsigned()
            }
        }
    }

    pub(crate) fn unsigned(self) -> Vec<u8> {
        self.message.raw
    }

    fn new(method: Method, class: stun::message::MessageClass, transaction_id: TransactionId) -> Self {
        let method = match method {
            Method::Binding => METHOD_BINDING,
            Method::Allocate => METHOD_ALLOCATE,
            Method::Refresh => METHOD_REFRESH,
            Method::Send => METHOD_SEND,
            Method::CreatePermission => METHOD_CREATE_PERMISSION,
            Method::ChannelBind => METHOD_CHANNEL_BIND,
        };
        let mut message = Encoded::new();
        message.typ = MessageType::new(method, class);
        message.transaction_id = StunTransactionId(transaction_id);
        message.write_header();
        Self { message }
    }

    fn with(mut self, attribute: &dyn Setter) -> Self {
        attribute.add_to(&mut self.message).expect("the server's own attributes are within their limits");
        self
    }
}

/// A Binding success in 32 bytes for IPv4, 44 for IPv6 (RFC 8489 §6.3.1.1).
pub(crate) fn binding_success(request: &Message<'_>, mapped: SocketAddr, reply: &mut Vec<u8>) {
    let address_len: u16 = if mapped.is_ipv4() { 8 } else { 20 };
    reply.extend_from_slice(&0x0101_u16.to_be_bytes());
    reply.extend_from_slice(&(4 + address_len).to_be_bytes());
    reply.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
    reply.extend_from_slice(&request.transaction_id);
    reply.extend_from_slice(&attribute::XOR_MAPPED_ADDRESS.to_be_bytes());
    reply.extend_from_slice(&address_len.to_be_bytes());
    attribute::write_xor_address(mapped, &request.transaction_id, |bytes| reply.extend_from_slice(bytes));
}

fn stun_code(code: ErrorCode) -> StunErrorCode {
    StunErrorCode(code.name().parse().expect("the names of error codes are numbers"))
}
