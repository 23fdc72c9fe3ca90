//! Decoding beside `stun` and `stun-types`: what the server or the client's codec takes, both of them take, with the same
//! attributes, addresses and MACs; what those two take, ours refuses only for a reason that is named here.
//!
//! Where ours differs on purpose:
//! - the length field is exact and a multiple of four (RFC 8489 §5); both others take bytes behind it;
//! - FINGERPRINT is right and last (RFC 8489 §14.7); `stun` looks when asked, `stun-types` takes what stands behind it;
//! - an attribute behind the message's end is refused wherever it begins; `stun-types` stops reading at the first
//!   attribute that may not stand behind an integrity attribute;
//! - the first byte of an XOR-...-ADDRESS is ignored (RFC 8489 §14.1); `stun` wants it to be zero;
//! - the key's algorithm and the MAC's are separate matters (RFC 8489 §9.2.4); `stun-types` ties SHA-256 to SHA-256.
//!
//! `stun` reads type 0x8020, which a draft gave to XOR-MAPPED-ADDRESS, as 0x0020.

use std::net::SocketAddr;

use stun::{
    attributes::ATTR_XOR_PEER_ADDRESS, fingerprint::FINGERPRINT as STUN_FINGERPRINT,
    integrity::MessageIntegrity, message::Message as ByStun, xoraddr::XorMappedAddress,
};
use stun_types::{
    attribute::{Attribute as _, AttributeType},
    message::{LongTermKeyCredentials, Message as ByTypes},
};
use turnpike_proto::{AuthFailure, ClientVerdict, DropReason};
use turnpike_relay_api::credential;
use turnpike_turn_client::{Malformed, Message};

use super::input::Input;
use crate::{
    message::*,
    world::{REALM_NAME, SECRET, User, World, peer},
};

const HEADER_LEN: usize = 20;
const OFFERED: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];
const SHA256: &[u8] = &[0, 2, 0, 0];
const DONT_FRAGMENT: u16 = 0x1A;

/// One record a datagram: how it is finished, then its length and bytes.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new();
    let mut user = User::new(1, "a");
    assert!(user.allocate(&mut world).is_success());
    assert!(user.permit(&mut world, peer(1, 0).ip()).is_success());
    let password = credential::password(SECRET, &user.name).to_string();
    let credentials = LongTermKeyCredentials::new(user.name.clone(), password.clone(), REALM_NAME.into());
    let sha256_key = super::auth::sha256_key(&user.name, REALM_NAME, &password);
    while !input.is_empty() {
        let how = input.byte();
        let mut datagram = finished(&user, &sha256_key, input.chunk(), how);
        if how & 0x40 != 0 {
            let at = usize::from(input.byte()) << 3 | usize::from(input.byte() % 8);
            if let Some(byte) = datagram.get_mut(at / 8) {
                *byte ^= 1 << (at % 8);
            }
        }
        codec(&datagram);
        if let Some(message) = Both::read(&datagram) {
            server(&mut world, &user, &credentials, &datagram, &message);
        } else {
            let (verdict, answers) = world.give(&user.tuple, &datagram);
            let is_data = datagram.first().is_some_and(|first| *first > 3);
            assert!(is_data || matches!(verdict, ClientVerdict::Drop(_)), "{verdict:?}");
            assert!(answers.is_empty());
        }
    }
}

/// Bit 0 mends padding, length and cookie; bits 1 and 2 sign with MESSAGE-INTEGRITY or with MESSAGE-INTEGRITY-SHA256 and
/// a key of that kind; bit 3 adds an attribute behind, bit 4 FINGERPRINT.
fn finished(user: &User, sha256_key: &[u8], bytes: &[u8], how: u8) -> Vec<u8> {
    let mut builder = Builder { bytes: bytes.to_vec() };
    if how & 1 == 0 || bytes.len() < HEADER_LEN {
        return builder.bytes;
    }
    builder.bytes.resize(bytes.len().next_multiple_of(4), 0);
    let length = builder.bytes.len() - HEADER_LEN;
    builder.bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    builder.bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
    if how & 6 != 0 {
        builder = builder
            .attr(USERNAME, user.name.as_bytes())
            .attr(REALM, REALM_NAME.as_bytes())
            .attr(NONCE, &user.nonce);
    }
    if how & 2 != 0 {
        builder = builder.integrity(&user.key);
    } else if how & 4 != 0 {
        builder = builder.attr(ALGORITHMS, OFFERED).attr(ALGORITHM, SHA256).integrity_sha256(sha256_key);
    }
    if how & 8 != 0 {
        builder = builder.attr(if how & 0x80 != 0 { LIFETIME } else { INTEGRITY_SHA256 }, b"behind");
    }
    if how & 16 != 0 {
        builder = builder.fingerprint();
    }
    builder.bytes
}

/// A message that both others take.
struct Both<'a> {
    stun: ByStun,
    types: ByTypes<'a>,
}

impl<'a> Both<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        Some(Self { stun: by_stun(bytes)?, types: ByTypes::from_bytes(bytes).ok()? })
    }

    /// Every attribute, as `stun` reads them.
    fn attributes(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.stun.attributes.0.iter().map(|attribute| (attribute.typ.value(), attribute.value.as_slice()))
    }

    fn get(&self, kind: u16) -> Option<&[u8]> {
        self.attributes().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// What `stun-types` lists, which ends at what may not stand behind an integrity attribute.
    fn listed(&self) -> Vec<(u16, Vec<u8>)> {
        let all = self.types.iter_attributes();
        all.map(|(_, raw)| (raw.get_type().value(), raw.value.to_vec())).collect()
    }

    /// Types that must be understood, in front of the integrity attributes.
    fn required(&self) -> Vec<u16> {
        let kinds = self.attributes().map(|(kind, _)| kind);
        let believed = kinds.take_while(|kind| ![INTEGRITY, INTEGRITY_SHA256].contains(kind));
        believed.filter(|kind| *kind < 0x8000).collect()
    }
}

fn by_stun(bytes: &[u8]) -> Option<ByStun> {
    let mut message = ByStun::new();
    message.raw = bytes.to_vec();
    message.decode().ok().map(|()| message)
}

fn has_header(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER_LEN
        && bytes[0] < 64
        && usize::from(bytes[2]) << 8 | usize::from(bytes[3]) == bytes.len() - HEADER_LEN
        && bytes.len().is_multiple_of(4)
        && bytes[4..8] == [0x21, 0x12, 0xA4, 0x42]
}

/// FINGERPRINT is absent, or there once, last and right.
fn has_good_fingerprint(message: &Both<'_>) -> bool {
    let at: Vec<usize> = (0..)
        .zip(message.attributes())
        .filter(|(_, (kind, _))| *kind == FINGERPRINT)
        .map(|(at, _)| at)
        .collect();
    match at[..] {
        [] => true,
        [at] => at + 1 == message.attributes().count() && STUN_FINGERPRINT.check(&message.stun).is_ok(),
        _ => false,
    }
}

/// The client's codec.
fn codec(bytes: &[u8]) {
    let both = Both::read(bytes);
    match (Message::read(bytes), &both) {
        (Ok(ours), Some(both)) => {
            let renamed = |kind| if kind == 0x8020 { XOR_MAPPED } else { kind };
            let attributes: Vec<(u16, Vec<u8>)> =
                ours.attributes().map(|a| (a.kind, a.value.to_vec())).collect();
            let by_stun = both.attributes().map(|(kind, value)| (kind, value.to_vec()));
            assert!(by_stun.eq(attributes.iter().map(|(kind, value)| (renamed(*kind), value.clone()))));
            assert!(attributes.starts_with(&both.listed()));
            assert_eq!(ours.transaction().0, both.stun.transaction_id.0);
            assert_eq!(ours.transaction().0, u128::from(both.types.transaction_id()).to_be_bytes()[4..]);
            assert_eq!(ours.kind().0, both.stun.typ.value());
        }
        (Ok(_), None) => panic!("ours alone reads {bytes:02x?}"),
        (Err(Malformed::Attribute), _) => assert!(by_stun(bytes).is_none()),
        (Err(Malformed::Fingerprint), Some(both)) => assert!(!has_good_fingerprint(both)),
        (Err(Malformed::Fingerprint), None) => {}
        (Err(_), _) => assert!(!has_header(bytes)),
    }
}

/// The server, as it is seen from outside.
fn server(
    world: &mut World,
    user: &User,
    credentials: &LongTermKeyCredentials,
    datagram: &[u8],
    both: &Both<'_>,
) {
    let failures = |world: &World| world.server.counters().auth_failures.get(AuthFailure::Integrity);
    let failed = failures(world);
    let (verdict, answers) = world.give(&user.tuple, datagram);
    let failed = failures(world) > failed;
    match verdict {
        ClientVerdict::Relay { peer, payload, .. } => same_indication(both, peer, &datagram[payload]),
        ClientVerdict::Drop(DropReason::Malformed) => {
            let is_send = datagram[..2] == SEND.to_be_bytes();
            assert!(is_send || !has_header(datagram), "both others read {datagram:02x?}");
        }
        ClientVerdict::Drop(DropReason::Fingerprint) => assert!(!has_good_fingerprint(both)),
        ClientVerdict::Drop(_) => {}
        ClientVerdict::Reply { .. } | ClientVerdict::Handled => {
            assert!(has_header(datagram) && has_good_fingerprint(both));
            let answer = answers.first().map(|bytes| Parsed::read(bytes));
            let kind = u16::from_be_bytes([datagram[0], datagram[1]]);
            if let Some(answer) = &answer {
                same_unknown(both, kind, answer);
            }
            let is_signed =
                |answer: &Parsed| answer.get(INTEGRITY).or(answer.get(INTEGRITY_SHA256)).is_some();
            if kind != BINDING {
                same_judgement(
                    both,
                    user,
                    credentials,
                    answer.is_none_or(|answer| is_signed(&answer)),
                    failed,
                );
            }
        }
    }
}

fn same_indication(both: &Both<'_>, peer: SocketAddr, payload: &[u8]) {
    assert_eq!(both.get(DATA), Some(payload));
    assert_eq!(
        both.types.raw_attribute(AttributeType::new(DATA)).map(|raw| raw.value.to_vec()).as_deref(),
        Some(payload)
    );
    let mut read = XorMappedAddress::default();
    if both.get(XOR_PEER).is_some_and(|value| value[0] == 0) {
        read.get_from_as(&both.stun, ATTR_XOR_PEER_ADDRESS).expect("both read the address");
        assert_eq!(SocketAddr::new(read.ip, read.port), peer);
    }
}

/// UNKNOWN-ATTRIBUTES has all that is there and not known; of what passes, all is known.
fn same_unknown(both: &Both<'_>, kind: u16, answer: &Parsed) {
    let listed = answer.get(UNKNOWN_ATTRIBUTES).unwrap_or_default();
    let listed: Vec<u16> = listed.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let looked = answer.is_success() || !listed.is_empty();
    if looked {
        let refuses_df = listed.contains(&DONT_FRAGMENT);
        let is_unknown = |kind: &u16| !is_known(*kind) || (*kind == DONT_FRAGMENT && refuses_df);
        let expected: Vec<u16> = both.required().into_iter().filter(is_unknown).collect();
        assert_eq!(listed, expected, "for a message of kind {kind:#06x}");
    }
}

/// Types under 0x8000 that RFC 8489 §18.3 and RFC 8656 §18 define, without USERHASH; DONT-FRAGMENT may be listed as
/// unknown all the same (RFC 8656 §7.2).
fn is_known(kind: u16) -> bool {
    matches!(kind, 0x01 | 0x06 | 0x08..=0x0A | 0x0C | 0x0D | 0x12..=0x1A | 0x1C | 0x1D | 0x20 | 0x22)
}

/// Who is let in by its MAC is so by both others; who is not, by neither.
fn same_judgement(
    both: &Both<'_>,
    user: &User,
    credentials: &LongTermKeyCredentials,
    let_in: bool,
    failed: bool,
) {
    let whole = both.listed().len() == both.attributes().count();
    let named = both.get(ALGORITHM).is_some() || both.get(ALGORITHMS).is_some();
    let (sha1, sha256) = (both.get(INTEGRITY).is_some(), both.get(INTEGRITY_SHA256).is_some());
    let mut copy = by_stun(&both.stun.raw).expect("it was read before");
    if let_in {
        if sha1 && !sha256 && !named {
            assert!(MessageIntegrity(user.key.to_vec()).check(&mut copy).is_ok());
        }
        if whole && sha1 != sha256 && named == sha256 {
            both.types.validate_integrity(&credentials.clone().into()).expect("a MAC that ours found right");
        }
    }
    let is_user =
        both.get(USERNAME) == Some(user.name.as_bytes()) && both.get(REALM) == Some(REALM_NAME.as_bytes());
    if failed && is_user && sha1 && !sha256 && !named {
        assert!(MessageIntegrity(user.key.to_vec()).check(&mut copy).is_err());
    }
}
