use sha2::{Digest as _, Sha256};
use turnpike_relay_api::credential;

use crate::{
    message::*,
    world::{REALM_NAME, SECRET, User, World},
};

const MD5: &[u8] = &[0, 1, 0, 0];
const SHA256: &[u8] = &[0, 2, 0, 0];

struct Modern {
    user: User,
    offered: Vec<u8>,
    sha256_key: Vec<u8>,
}

impl Modern {
    fn new(world: &mut World) -> Self {
        let mut user = User::new(1, "a");
        let challenge = user.challenge(world);
        let password = credential::password(SECRET, &user.name);
        let sha256_key = Sha256::digest(format!("{}:{REALM_NAME}:{}", user.name, *password)).to_vec();
        Self { user, offered: challenge.get(ALGORITHMS).unwrap().to_vec(), sha256_key }
    }

    fn request(&mut self, algorithm: Option<&[u8]>, list: Option<&[u8]>) -> Builder {
        let mut request = self.user.request(ALLOCATE).udp();
        request = request.attr(USERNAME, self.user.name.as_bytes()).attr(REALM, REALM_NAME.as_bytes());
        request = request.attr(NONCE, &self.user.nonce);
        if let Some(list) = list {
            request = request.attr(ALGORITHMS, list);
        }
        match algorithm {
            Some(algorithm) => request.attr(ALGORITHM, algorithm),
            None => request,
        }
    }
}

#[test]
fn rule_33_the_algorithms_are_offered_in_401_and_438_with_bit_0_set() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    let challenge = user.challenge(&mut world);
    assert_eq!(challenge.get(ALGORITHMS).unwrap(), [SHA256, MD5].concat());
    assert_eq!(&challenge.get(NONCE).unwrap()[9..13], b"gAAA");
    world.pass(3600.0);
    let request = user.request(REFRESH);
    let stale = world.ask(&user.tuple, &user.sign(request));
    assert_eq!((stale.code(), stale.get(ALGORITHMS).is_some()), (438, true));
}

#[test]
fn rule_34_without_a_word_about_algorithms_md5_is_used() {
    let mut world = World::new();
    let mut modern = Modern::new(&mut world);
    let request = modern.request(None, None).integrity(&modern.user.key).bytes;
    let answer = world.ask(&modern.user.tuple, &request);
    assert!(answer.is_success() && answer.is_signed_by(&modern.user.key));
}

#[test]
fn rule_35_a_bid_down_is_a_400() {
    let mut world = World::new();
    let mut modern = Modern::new(&mut world);
    let offered = modern.offered.clone();
    let swapped = [MD5, SHA256].concat();
    type Named<'a> = Option<&'a [u8]>;
    let cases: [(Named<'_>, Named<'_>); 8] = [
        (Some(MD5), None),
        (None, Some(&offered)),
        (Some(MD5), Some(MD5)),
        (Some(MD5), Some(&swapped)),
        (Some(MD5), Some(&[])),
        (Some(&[0, 3, 0, 0]), Some(&offered)),
        (Some(&[0, 2]), Some(&offered)),
        (Some(&[]), Some(&offered)),
    ];
    for (algorithm, list) in cases {
        let request = modern.request(algorithm, list).integrity_sha256(&modern.user.key).bytes;
        assert_eq!(world.ask(&modern.user.tuple, &request).code(), 400, "{algorithm:?} of {list:?}");
    }
    assert!(world.opened.is_empty());
}

#[test]
fn rule_36_sha256_keys_and_macs_serve_and_are_answered_in_kind() {
    let mut world = World::new();
    let mut modern = Modern::new(&mut world);
    let offered = modern.offered.clone();
    let key = modern.sha256_key.clone();
    let request = modern.request(Some(SHA256), Some(&offered)).integrity_sha256(&key).bytes;
    let answer = world.ask(&modern.user.tuple, &request);
    assert!(answer.is_success() && answer.is_signed_with_sha256_by(&key), "{answer:?}");
    assert_eq!(world.ask(&modern.user.tuple, &request), answer, "its retransmission too");

    let refresh = modern.user.request(REFRESH).attr(USERNAME, modern.user.name.as_bytes());
    let refresh = refresh.attr(REALM, REALM_NAME.as_bytes()).attr(NONCE, &modern.user.nonce);
    let refresh = refresh.attr(ALGORITHMS, &offered).attr(ALGORITHM, SHA256).integrity_sha256(&key).bytes;
    assert!(world.ask(&modern.user.tuple, &refresh).is_signed_with_sha256_by(&key));

    let wrong = modern.request(Some(SHA256), Some(&offered)).integrity_sha256(&modern.user.key).bytes;
    assert_eq!(world.ask(&modern.user.tuple, &wrong).code(), 401, "an MD5 key is no SHA-256 key");
}

#[test]
fn rule_36_a_client_that_names_md5_is_answered_with_sha256() {
    let mut world = World::new();
    let mut modern = Modern::new(&mut world);
    let offered = modern.offered.clone();
    let key = modern.user.key;
    let request = modern.request(Some(MD5), Some(&offered)).integrity_sha256(&key).bytes;
    let answer = world.ask(&modern.user.tuple, &request);
    assert!(answer.is_success() && answer.is_signed_with_sha256_by(&key));
}

#[test]
fn with_both_macs_the_stronger_decides() {
    let mut world = World::new();
    let mut modern = Modern::new(&mut world);
    let key = modern.user.key;
    let both = modern.request(None, None).integrity(&key).integrity_sha256(&key).fingerprint();
    let mut wrong = both.clone();
    let at = wrong.bytes.len() - 9;
    wrong.bytes[at] ^= 1;
    let mut wrong = Builder { bytes: wrong.bytes[..wrong.bytes.len() - 8].to_vec() };
    wrong = wrong.fingerprint();
    assert_eq!(world.ask(&modern.user.tuple, &wrong.bytes).code(), 401);
    assert!(world.ask(&modern.user.tuple, &both.bytes).is_success());
}

#[test]
fn rule_37_a_truncated_sha256_mac_is_refused() {
    let mut world = World::new();
    let mut modern = Modern::new(&mut world);
    let key = modern.user.key;
    let whole = modern.request(None, None).integrity_sha256(&key).bytes;
    let offset = whole.len() - 36;
    for len in [0, 4, 16, 28, 31] {
        let request = Builder { bytes: whole[..offset].to_vec() };
        let truncated = {
            let mut covered = whole[..offset].to_vec();
            let length = (offset - 20 + 4 + len) as u16;
            covered[2..4].copy_from_slice(&length.to_be_bytes());
            hmac_sha256(&key, &covered)[..len].to_vec()
        };
        let request = request.attr(INTEGRITY_SHA256, &truncated).bytes;
        assert_eq!(world.ask(&modern.user.tuple, &request).code(), 401, "{len}");
    }
}

#[test]
fn rule_14_attributes_after_message_integrity_sha256_are_ignored() {
    let mut world = World::new();
    let mut modern = Modern::new(&mut world);
    let key = modern.user.key;
    let signed = modern.request(None, None).integrity_sha256(&key);
    let appended = signed.attr(0x7001, b"").integrity(b"nonsense").u32(LIFETIME, 1200).fingerprint();
    let answer = world.ask(&modern.user.tuple, &appended.bytes);
    assert!(answer.is_success() && answer.u32(LIFETIME) == 600);
}

#[test]
fn every_flipped_bit_under_sha256_is_refused() {
    let mut world = World::new();
    let mut modern = Modern::new(&mut world);
    let offered = modern.offered.clone();
    let key = modern.sha256_key.clone();
    let signed = modern.request(Some(SHA256), Some(&offered)).integrity_sha256(&key).bytes;
    for bit in 0..signed.len() * 8 {
        let mut flipped = signed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (_, sent) = world.give(&modern.user.tuple, &flipped);
        assert!(sent.iter().all(|answer| Parsed::read(answer).kind != 0x0103), "bit {bit}");
    }
    assert!(world.opened.is_empty());
}
