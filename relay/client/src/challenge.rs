use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{Message, attribute, integrity::PasswordAlgorithm};

/// Before the security bits in a nonce (RFC 8489 §9.2).
const NONCE_COOKIE: &[u8] = b"obMatJos2";

/// What a 401 or 438 asks of the next request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// REALM.
    pub realm: Vec<u8>,
    /// NONCE.
    pub nonce: Vec<u8>,
    /// PASSWORD-ALGORITHMS as it came.
    pub algorithms: Option<Vec<u8>>,
}

impl Challenge {
    /// REALM and NONCE of a response that has both.
    pub fn of<B: AsRef<[u8]>>(response: &Message<B>) -> Option<Self> {
        Some(Self {
            realm: response.value(attribute::REALM)?.to_vec(),
            nonce: response.value(attribute::NONCE)?.to_vec(),
            algorithms: response.value(attribute::PASSWORD_ALGORITHMS).map(<[u8]>::to_vec),
        })
    }

    /// The 24 security bits behind the nonce cookie, the first one leftmost. `None` without a cookie.
    pub fn security_bits(&self) -> Option<u32> {
        let bits = self.nonce.strip_prefix(NONCE_COOKIE)?.get(..4)?;
        let bytes = STANDARD.decode(bits).ok()?;
        Some(bytes.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)))
    }

    /// Whether bit 0 says that password algorithms are offered (RFC 8489 §18.1).
    pub fn has_algorithms_bit(&self) -> bool {
        self.security_bits().is_some_and(|bits| bits >> 23 == 1)
    }

    /// Whether the list has this algorithm.
    pub fn offers(&self, algorithm: PasswordAlgorithm) -> bool {
        let mut rest = self.algorithms.as_deref().unwrap_or_default();
        while let Some((head, behind)) = rest.split_first_chunk::<4>() {
            if u16::from_be_bytes([head[0], head[1]]) == algorithm.number() {
                return true;
            }
            let parameters = usize::from(u16::from_be_bytes([head[2], head[3]]));
            rest = behind.get(parameters.next_multiple_of(4)..).unwrap_or_default();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(nonce: &[u8], algorithms: Option<&[u8]>) -> Challenge {
        Challenge { realm: b"r".to_vec(), nonce: nonce.to_vec(), algorithms: algorithms.map(<[u8]>::to_vec) }
    }

    #[test]
    fn security_bits_are_read_from_the_left() {
        assert_eq!(challenge(b"obMatJos2gAAAxyz", None).security_bits(), Some(0x80_0000));
        assert!(challenge(b"obMatJos2gAAAxyz", None).has_algorithms_bit());
        assert!(!challenge(b"obMatJos2QAAAxyz", None).has_algorithms_bit());
        assert_eq!(challenge(b"obMatJos2gA", None).security_bits(), None);
        assert_eq!(challenge(b"0123456789abcdef", None).security_bits(), None);
    }

    #[test]
    fn the_list_is_searched_past_parameters() {
        let list = [0, 9, 0, 3, 1, 2, 3, 0, 0, 2, 0, 0];
        assert!(challenge(b"n", Some(&list)).offers(PasswordAlgorithm::Sha256));
        assert!(!challenge(b"n", Some(&list)).offers(PasswordAlgorithm::Md5));
        assert!(!challenge(b"n", None).offers(PasswordAlgorithm::Md5));
    }
}
