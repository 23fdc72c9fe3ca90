//! RFC 5769.

use turnpike_turn_client::{
    AlgorithmChoice, Challenge, Credentials, Malformed, Message, Signer, TransactionId, Writer, attribute,
    integrity::PasswordAlgorithm,
};

/// §2.1, with padding of spaces.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400\
    046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249\
    c1b571a280280004e57a3bcf";
/// §2.2.
const RESPONSE: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a1\
    47e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
/// The password of both.
const SHORT_TERM: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn the_short_term_request_and_response_are_read_and_verified() {
    let request = Message::read(bytes(REQUEST)).unwrap();
    assert!(request.is_signed_sha1(SHORT_TERM));
    assert!(!request.is_signed_sha1(b"another password"));
    assert_eq!(request.value(attribute::USERNAME), Some(&b"evtj:h6vY"[..]));
    assert_eq!(request.attribute(attribute::USERNAME).unwrap().padding, b"   ");
    let response = Message::read(bytes(RESPONSE)).unwrap();
    assert!(response.is_success() && response.is_signed_sha1(SHORT_TERM));
    assert_eq!(response.xor_address(attribute::XOR_MAPPED_ADDRESS), Some("192.0.2.1:32853".parse().unwrap()));
}

#[test]
fn every_flipped_bit_of_the_request_is_found() {
    let good = bytes(REQUEST);
    let fingerprint_type = (good.len() - 8) * 8..(good.len() - 6) * 8;
    for bit in (0..good.len() * 8).filter(|bit| !fingerprint_type.contains(bit)) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let read = Message::read(&flipped[..]);
        assert!(!read.is_ok_and(|message| message.has(attribute::FINGERPRINT)), "bit {bit}");
    }
    assert_eq!(Message::read(&good[..good.len() - 1]), Err(Malformed::Length));
}

#[test]
fn the_long_term_request_gets_the_published_mac() {
    let username = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
    let challenge = Challenge {
        realm: b"example.org".to_vec(),
        nonce: b"f//499k954d6OL34oL9FSTvy64sA".to_vec(),
        algorithms: None,
    };
    let signer = Signer::new(&Credentials::new(username, "TheMatrIX"), challenge, AlgorithmChoice::Legacy);
    let transaction = TransactionId([0x78, 0xAD, 0x34, 0x33, 0xC6, 0xAD, 0x72, 0xC0, 0x29, 0xDA, 0x41, 0x2E]);
    let written = Writer::new(turnpike_turn_client::Kind::request(1), transaction)
        .attribute(attribute::USERNAME, username.as_bytes())
        .attribute(attribute::NONCE, &signer.challenge.nonce)
        .attribute(attribute::REALM, &signer.challenge.realm)
        .message_integrity(&signer.key);
    // §2.4's MAC.
    let tag = bytes("f67024656dd64a3e02b8e0712e85c9a28ca89666");
    let message = Message::read(written.finish()).unwrap();
    assert_eq!(message.value(attribute::MESSAGE_INTEGRITY), Some(&tag[..]));
    assert!(signer.verifies(&message));
}

/// RFC 8489 B.1: the key of the same user under SHA-256, by its use in a MAC over any message.
#[test]
fn a_named_algorithm_signs_with_sha256_and_is_verified() {
    let offer = [0, 2, 0, 0, 0, 1, 0, 0];
    let challenge = Challenge {
        realm: b"example.org".to_vec(),
        nonce: b"obMatJos2gAAAf//499k954d6OL34oL9FSTvy64sA".to_vec(),
        algorithms: Some(offer.to_vec()),
    };
    let credentials = Credentials::new("user", "pass");
    let legacy = Signer::new(&credentials, challenge.clone(), AlgorithmChoice::Legacy);
    for algorithm in [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256] {
        let signer = Signer::new(&credentials, challenge.clone(), AlgorithmChoice::Named(algorithm));
        let message = Message::read(signer.sign(Writer::request(3)).finish()).unwrap();
        assert_eq!(message.value(attribute::PASSWORD_ALGORITHM), Some(&algorithm.value()[..]));
        assert_eq!(message.value(attribute::PASSWORD_ALGORITHMS), Some(&offer[..]));
        assert!(!message.has(attribute::MESSAGE_INTEGRITY));
        assert!(signer.verifies(&message) && !legacy.verifies(&message));
    }
}
