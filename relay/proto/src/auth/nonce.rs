//! Nonces without state (RFC 8489 §9.2, RFC 8656 §5): what is in one proves when and to whom it was given.
//!
//! `obMatJos2`, four characters of security feature bits, then base64url of 3 bytes of time and 8 bytes of
//! HMAC-SHA256 over source, full time and bits: 28 characters.

use std::net::{IpAddr, SocketAddr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// The nonce cookie of RFC 8489 §9.2.
const COOKIE: &str = "obMatJos2";
/// Password algorithms are offered: bit 0, the leftmost of 24 (RFC 8489 §18.1).
const FEATURES: &str = "gAAA";
/// RFC 8656 §5: a nonce dies within an hour. Firefox deallocates once, without a retry: a shorter life would leave its
/// allocation up.
const LIFE_SECONDS: u64 = 3600;
/// Shards read clocks of their own: a nonce may come from a moment ahead.
const SKEW_SECONDS: u64 = 5;
const TIME_BITS: u32 = 24;
const TAG_LEN: usize = 8;
const LEN: usize = COOKIE.len() + FEATURES.len() + 15;

/// Issues and verifies nonces under one key, the same for all shards of a process.
#[derive(Clone)]
pub(crate) struct Nonces {
    key: [u8; 32],
}

impl Nonces {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    pub(crate) fn issue(&self, unix: u64, client: SocketAddr) -> String {
        let mut bytes = [0; 3 + TAG_LEN];
        bytes[..3].copy_from_slice(&(unix as u32).to_be_bytes()[1..]);
        bytes[3..].copy_from_slice(&self.tag(unix, client));
        let mut nonce = String::with_capacity(LEN);
        nonce.push_str(COOKIE);
        nonce.push_str(FEATURES);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut nonce);
        nonce
    }

    pub(crate) fn verify(&self, unix: u64, client: SocketAddr, nonce: &[u8]) -> bool {
        let prefix = [COOKIE, FEATURES].concat();
        let Some(encoded) = nonce.strip_prefix(prefix.as_bytes()) else { return false };
        let mut buffer = [0; 12];
        if nonce.len() != LEN || URL_SAFE_NO_PAD.decode_slice(encoded, &mut buffer) != Ok(3 + TAG_LEN) {
            return false;
        }
        let bytes = &buffer[..3 + TAG_LEN];
        let time = u64::from(u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]));
        let age = (unix + SKEW_SECONDS).wrapping_sub(time) & ((1 << TIME_BITS) - 1);
        let Some(issued) = (unix + SKEW_SECONDS).checked_sub(age) else { return false };
        let genuine = self.tag(issued, client).ct_eq(&bytes[3..]);
        bool::from(genuine) && age < LIFE_SECONDS + SKEW_SECONDS
    }

    fn tag(&self, unix: u64, client: SocketAddr) -> [u8; TAG_LEN] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        match client.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&client.port().to_be_bytes());
        mac.update(&unix.to_be_bytes());
        mac.update(FEATURES.as_bytes());
        *mac.finalize().into_bytes().first_chunk().expect("SHA-256 gives 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn client(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_nonce_is_28_characters_and_starts_with_the_cookie_and_its_bits() {
        let nonce = Nonces::new([7; 32]).issue(NOW, client(1));
        assert_eq!(nonce.len(), 28);
        assert!(nonce.starts_with("obMatJos2gAAA"), "{nonce}");
    }

    #[test]
    fn rule_30_and_31_a_nonce_serves_only_the_source_it_was_given_to() {
        let nonces = Nonces::new([7; 32]);
        let nonce = nonces.issue(NOW, client(1));
        assert!(nonces.verify(NOW, client(1), nonce.as_bytes()));
        assert!(!nonces.verify(NOW, client(2), nonce.as_bytes()));
        assert!(!Nonces::new([8; 32]).verify(NOW, client(1), nonce.as_bytes()));
        assert_ne!(nonce, nonces.issue(NOW, client(2)));
    }

    #[test]
    fn rule_41_a_nonce_dies_within_an_hour_and_does_not_come_back_when_its_time_wraps() {
        let nonces = Nonces::new([7; 32]);
        let nonce = nonces.issue(NOW, client(1));
        for (later, good) in
            [(0, true), (3599, true), (3600, false), (1 << 24, false), ((1 << 24) + 60, false)]
        {
            assert_eq!(nonces.verify(NOW + later, client(1), nonce.as_bytes()), good, "{later}");
        }
        assert!(nonces.verify(NOW - 3, client(1), nonce.as_bytes()), "the clock of another shard");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let nonces = Nonces::new([7; 32]);
        let nonce = nonces.issue(NOW, client(1)).into_bytes();
        for bit in 0..nonce.len() * 8 {
            let mut flipped = nonce.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!nonces.verify(NOW, client(1), &flipped), "bit {bit}");
        }
    }
}
