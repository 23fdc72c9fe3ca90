//! MESSAGE-INTEGRITY by `stun`, MESSAGE-INTEGRITY-SHA256 by hand (RFC 8489 §14.5, §14.6).

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use stun::{attributes::ATTR_MESSAGE_INTEGRITY, integrity::MessageIntegrity, message::Message as Decoded};

use super::{HEADER_LEN, attribute_at};

const SHA1_LEN: usize = 20;
/// Turnpike neither sends nor takes a truncated one.
const SHA256_LEN: usize = 32;

/// Which MAC a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mac {
    /// MESSAGE-INTEGRITY.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256.
    Sha256,
}

/// Checks MESSAGE-INTEGRITY at the end of a message that is cut off behind it.
pub(super) fn check_sha1(message: &mut Decoded, key: &[u8]) -> bool {
    let (attribute, found) = message.attributes.get(ATTR_MESSAGE_INTEGRITY);
    found && attribute.value.len() == SHA1_LEN && MessageIntegrity(key.to_vec()).check(message).is_ok()
}

/// Checks MESSAGE-INTEGRITY-SHA256 at `offset` of a whole message.
pub(super) fn check_sha256(message: &[u8], offset: usize, key: &[u8]) -> bool {
    let tag = attribute_at(message, offset).map(|(_, value)| value);
    tag.is_some_and(|tag| {
        tag.len() == SHA256_LEN && sha256(&message[..offset], key).verify_slice(tag).is_ok()
    })
}

/// The tag of MESSAGE-INTEGRITY-SHA256 behind `message`.
pub(super) fn sign_sha256(message: &[u8], key: &[u8]) -> [u8; SHA256_LEN] {
    sha256(message, key).finalize().into_bytes().into()
}

/// The MAC covers what stands in front of it, under a length that includes it.
fn sha256(covered: &[u8], key: &[u8]) -> Hmac<Sha256> {
    let length = (covered.len() - HEADER_LEN + 4 + SHA256_LEN) as u16;
    hmac_sha256(key, &[&covered[..2], &length.to_be_bytes(), &covered[4..]])
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

#[cfg(test)]
mod tests;
