//! Keys, MACs and checksums (RFC 8489 §9.2.2, §14.5 to §14.7).

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of a whole MESSAGE-INTEGRITY.
pub const SHA1_LEN: usize = 20;
/// Bytes of a whole MESSAGE-INTEGRITY-SHA256.
pub const SHA256_LEN: usize = 32;

/// How a password becomes a key (RFC 8489 §18.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordAlgorithm {
    /// MD5, the one before RFC 8489.
    Md5,
    /// SHA-256.
    Sha256,
}

impl PasswordAlgorithm {
    /// The algorithm's number.
    pub const fn number(self) -> u16 {
        match self {
            Self::Md5 => 1,
            Self::Sha256 => 2,
        }
    }

    /// The value of PASSWORD-ALGORITHM: the number, and no parameters.
    pub const fn value(self) -> [u8; 4] {
        let number = self.number().to_be_bytes();
        [number[0], number[1], 0, 0]
    }

    /// The key of `username:realm:password`.
    pub fn key(self, username: &str, realm: &[u8], password: &str) -> Zeroizing<Vec<u8>> {
        let parts = [username.as_bytes(), b":", realm, b":", password.as_bytes()];
        let text = Zeroizing::new(parts.concat());
        Zeroizing::new(match self {
            Self::Md5 => Md5::digest(&*text).to_vec(),
            Self::Sha256 => Sha256::digest(&*text).to_vec(),
        })
    }
}

/// HMAC-SHA1.
pub fn hmac_sha1(key: &[u8], bytes: &[u8]) -> [u8; SHA1_LEN] {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// HMAC-SHA256.
pub fn hmac_sha256(key: &[u8], bytes: &[u8]) -> [u8; SHA256_LEN] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// The value of FINGERPRINT.
pub fn fingerprint(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) ^ 0x5354_554E
}
