//! RFC 5769 and RFC 8489 B.1 as a server gets them, and every message that differs from one of them in a bit.

use hmac::Mac as _;
use md5::{Digest as _, Md5};
use sha2::Sha256;
use stun::message::Message as Decoded;

use super::Mac;
use crate::{
    DropReason,
    wire::{Message, Request},
};

/// RFC 5769 §2.1.
const SHORT_TERM: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
    002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
    000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
/// RFC 5769 §2.2 and §2.3.
const RESPONSES: [&str; 2] = [
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643\
     000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96",
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
     002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed41\
     80280004c8fb0b4c",
];
/// RFC 5769 §2.4.
const LONG_TERM: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b90000\
    0015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341\
    0014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";
/// RFC 8489 B.1 as erratum 6268 has it.
const SHA256: &str = "000100902112a44278ad3433c6ad72c029da412e\
    001e00204a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704\
    001500296f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c39465354767936347341000000\
    0014000b6578616d706c652e6f726700001d000400020000\
    001c0020b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";
const LOGIN: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}:example.org:TheMatrIX";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Whether the server would believe the message.
fn is_genuine(message: &[u8], mac: Mac, key: &[u8]) -> bool {
    let Ok(parsed) = Message::parse(message) else { return false };
    let Ok(scan) = parsed.scan() else { return false };
    let mut request = Request::decode(&parsed, scan, Decoded::new());
    request.mac() == Some(mac) && request.verify(key)
}

fn genuine_but_for_a_bit(good: &[u8], mac: Mac, key: &[u8]) -> Vec<usize> {
    let bits = 0..good.len() * 8;
    bits.filter(|bit| {
        let mut flipped = good.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        is_genuine(&flipped, mac, key)
    })
    .collect()
}

#[test]
fn the_short_term_request_is_genuine_and_with_a_flipped_bit_it_is_not() {
    let (good, key) = (bytes(SHORT_TERM), b"VOkJxbRl1RmTxUk/WvJxBt");
    assert!(is_genuine(&good, Mac::Sha1, key));
    // Behind the MAC another type makes FINGERPRINT an unknown attribute, which is ignored.
    let type_of_fingerprint = (good.len() - 8) * 8..(good.len() - 6) * 8;
    assert_eq!(genuine_but_for_a_bit(&good, Mac::Sha1, key), type_of_fingerprint.collect::<Vec<_>>());
}

#[test]
fn the_responses_are_not_for_a_server_whatever_bit_is_flipped() {
    for response in RESPONSES.map(bytes) {
        assert_eq!(Message::parse(&response).unwrap_err(), DropReason::WrongClass);
        for bit in 0..response.len() * 8 {
            let mut flipped = response.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Message::parse(&flipped).and_then(|message| message.scan()).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn the_long_term_requests_are_genuine_and_with_a_flipped_bit_they_are_not() {
    for (vector, mac, key) in [
        (LONG_TERM, Mac::Sha1, Md5::digest(LOGIN).to_vec()),
        (SHA256, Mac::Sha256, Sha256::digest(LOGIN).to_vec()),
    ] {
        let good = bytes(vector);
        assert!(is_genuine(&good, mac, &key));
        assert_eq!(genuine_but_for_a_bit(&good, mac, &key), [], "{mac:?}");
    }
}

/// The length field that RFC 8489 B.1 prints, 0x9c, is not that of its attributes; its MAC is right under that length.
#[test]
fn the_mac_that_rfc_8489_prints_is_that_of_the_length_it_prints() {
    let printed = bytes(SHA256);
    let mut covered = printed[..printed.len() - 36 - 8].to_vec();
    covered[3] = 0x9C;
    let mac = super::hmac_sha256(&Sha256::digest(LOGIN), &[&covered]);
    let tag = bytes("e4686c8f0edeb59013e07090010a93efccbccc544c0a45d9f830aa6d6f735a01");
    assert_eq!(mac.finalize().into_bytes()[..], tag);
}
