//! RFC 8489 §9.2.4 over the bytes of a message. It knows nonces only as what the server has issued.

use std::net::SocketAddr;

use md5::{Digest as _, Md5};
use sha2::Sha256;
use turnpike_relay_api::credential;

use super::{METHODS, OFFERED};
use crate::message::*;

const NONCE_LIFE: u64 = 3600;

/// What becomes of a message.
#[derive(Debug)]
pub enum Judgement {
    /// It is none of the four requests that need credentials.
    OtherKind,
    /// Its layout or its FINGERPRINT is: nobody answers it.
    Broken,
    /// An unsigned error of this code.
    Refused(u16),
    /// An answer that is signed with this key.
    LetIn { username: Vec<u8>, key: Vec<u8>, sha256: bool },
}

struct Issued {
    to: SocketAddr,
    nonce: Vec<u8>,
    unix: u64,
}

pub struct Oracle {
    static_user: (&'static str, &'static str),
    secret: &'static [u8],
    realm: &'static str,
    nonces: Vec<Issued>,
}

impl Oracle {
    pub fn new(
        static_user: (&'static str, &'static str),
        secret: &'static [u8],
        realm: &'static str,
    ) -> Self {
        Self { static_user, secret, realm, nonces: Vec::new() }
    }

    pub fn issued(&mut self, to: SocketAddr, nonce: &[u8], unix: u64) {
        self.nonces.push(Issued { to, nonce: nonce.to_vec(), unix });
    }

    /// `owner` is the user who made the allocation of this client.
    pub fn judge(&self, unix: u64, from: SocketAddr, owner: Option<&Vec<u8>>, message: &[u8]) -> Judgement {
        if be16(message, 0).is_none_or(|kind| !METHODS.contains(&kind)) {
            return Judgement::OtherKind;
        }
        let Some(layout) = Layout::of(message) else { return Judgement::Broken };
        self.admit(unix, from, owner, &layout).unwrap_or_else(Judgement::Refused)
    }

    fn admit(
        &self,
        unix: u64,
        from: SocketAddr,
        owner: Option<&Vec<u8>>,
        layout: &Layout<'_>,
    ) -> Result<Judgement, u16> {
        let mac = layout.sha256.or(layout.sha1).ok_or(401_u16)?;
        let get = |kind| layout.believed.iter().find(|(k, _)| *k == kind).map(|(_, value)| *value);
        let (username, realm) = (get(USERNAME).ok_or(400_u16)?, get(REALM).ok_or(400_u16)?);
        let nonce = get(NONCE).ok_or(400_u16)?;
        let key_of = match (get(ALGORITHM), get(ALGORITHMS)) {
            (None, None) | (Some([0, 1, 0, 0]), Some(OFFERED)) => md5_key,
            (Some([0, 2, 0, 0]), Some(OFFERED)) => sha256_key,
            _ => return Err(400),
        };
        let name = std::str::from_utf8(username).map_err(|_| 401_u16)?;
        let (password, expires) = self.password(name).ok_or(401_u16)?;
        let key = key_of(name, self.realm, &password);
        if realm != self.realm.as_bytes() || !layout.is_genuine(mac, &key) {
            return Err(401);
        }
        let good = |n: &Issued| n.to == from && n.nonce == nonce && unix - n.unix < NONCE_LIFE;
        if !self.nonces.iter().any(good) {
            return Err(438);
        }
        let is_owner = owner.is_some_and(|owner| owner == username);
        if layout.kind == ALLOCATE && expires <= unix && !is_owner {
            return Err(401);
        }
        Ok(Judgement::LetIn {
            username: username.to_vec(),
            key,
            sha256: get(ALGORITHM).is_some() || layout.sha256.is_some(),
        })
    }

    fn password(&self, name: &str) -> Option<(String, u64)> {
        if name == self.static_user.0 {
            return Some((self.static_user.1.to_owned(), u64::MAX));
        }
        let expiry = name.split(':').next()?;
        let is_number = !expiry.is_empty() && expiry.chars().all(|c| c.is_ascii_digit());
        let expires = if is_number { expiry.parse().ok()? } else { return None };
        Some((credential::password(self.secret, name).to_string(), expires))
    }
}

/// A MAC's offset and value.
type Tag<'a> = (usize, &'a [u8]);

/// A message whose layout is in order.
struct Layout<'a> {
    kind: u16,
    bytes: &'a [u8],
    /// The attributes in front of the first MAC.
    believed: Vec<(u16, &'a [u8])>,
    sha1: Option<Tag<'a>>,
    sha256: Option<Tag<'a>>,
}

impl<'a> Layout<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let kind = be16(bytes, 0)?;
        let whole = usize::from(be16(bytes, 2)?) + 20 == bytes.len();
        let cookie = bytes.get(4..8)? == [0x21, 0x12, 0xA4, 0x42];
        if !whole || !cookie {
            return None;
        }
        let mut layout = Self { kind, bytes, believed: Vec::new(), sha1: None, sha256: None };
        let mut at = 20;
        while at < bytes.len() {
            let (kind, length) = (be16(bytes, at)?, usize::from(be16(bytes, at + 2)?));
            let value = bytes.get(at + 4..at + 4 + length)?;
            let next = at + 4 + length.div_ceil(4) * 4;
            match kind {
                FINGERPRINT => {
                    let sum = crc32fast::hash(&bytes[..at]) ^ 0x5354_554E;
                    if value != sum.to_be_bytes() || next != bytes.len() {
                        return None;
                    }
                }
                INTEGRITY if layout.sha1.is_none() && layout.sha256.is_none() => {
                    layout.sha1 = Some((at, value))
                }
                INTEGRITY_SHA256 if layout.sha256.is_none() => layout.sha256 = Some((at, value)),
                _ if layout.sha1.is_none() && layout.sha256.is_none() => layout.believed.push((kind, value)),
                _ => {}
            }
            at = next;
        }
        (at == bytes.len()).then_some(layout)
    }

    fn is_genuine(&self, (at, tag): Tag<'_>, key: &[u8]) -> bool {
        let is_sha256 = self.sha256.is_some();
        let mut covered = self.bytes[..at].to_vec();
        let length = at - 20 + if is_sha256 { 36 } else { 24 };
        covered[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        tag == if is_sha256 { hmac_sha256(key, &covered) } else { hmac(key, &covered) }
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub fn md5_key(name: &str, realm: &str, password: &str) -> Vec<u8> {
    Md5::digest(format!("{name}:{realm}:{password}")).to_vec()
}

pub fn sha256_key(name: &str, realm: &str, password: &str) -> Vec<u8> {
    Sha256::digest(format!("{name}:{realm}:{password}")).to_vec()
}
