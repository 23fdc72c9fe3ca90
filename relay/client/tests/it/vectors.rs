//! RFC 5769 §2.1 to §2.4, and RFC 8489 B.1.

use turnpike_turn_client::{
    AlgorithmChoice, Challenge, Credentials, Malformed, Message, Signer, TransactionId, Writer, attribute,
    integrity::PasswordAlgorithm,
};

/// §2.1, with padding of spaces.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400\
    046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249\
    c1b571a280280004e57a3bcf";
/// §2.2.
const IPV4_RESPONSE: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a1\
    47e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
/// §2.3.
const IPV6_RESPONSE: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1\
    470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";
/// The password of all three.
const SHORT_TERM: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
/// §2.4: long-term credentials and no FINGERPRINT.
const LONG_TERM: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b9\
    00000015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341\
    0014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";
/// RFC 8489 B.1 as erratum 6268 has it: the printed length field of 0x9c is not that of its attributes, and
/// PASSWORD-ALGORITHM is missing there.
const SHA256: &str = "000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952c6780417da0f24819415\
    569e60b205c46e41407f1704001500296f624d61744a6f7332414141\
    43662f2f3439396b39353464364f4c33346f4c394653547679363473410000000014000b6578616d706c652e6f726700\
    001d000400020000001c0020b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";
const USERNAME: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The key of the long-term vectors.
fn long_term_key(algorithm: AlgorithmChoice) -> Vec<u8> {
    let challenge = Challenge { realm: b"example.org".to_vec(), nonce: Vec::new(), algorithms: None };
    Signer::new(&Credentials::new(USERNAME, "TheMatrIX"), challenge, algorithm).key.to_vec()
}

/// Every message that differs from this one in a bit, and the number of the bit.
fn flipped(good: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..good.len() * 8).map(|bit| {
        let mut flipped = good.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        (bit, flipped)
    })
}

#[test]
fn the_short_term_request_and_responses_are_read_and_verified() {
    let request = Message::read(bytes(REQUEST)).unwrap();
    assert!(request.is_signed_sha1(SHORT_TERM));
    assert!(!request.is_signed_sha1(b"another password"));
    assert_eq!(request.value(attribute::USERNAME), Some(&b"evtj:h6vY"[..]));
    assert_eq!(request.attribute(attribute::USERNAME).unwrap().padding, b"   ");
    for (response, mapped) in
        [(IPV4_RESPONSE, "192.0.2.1:32853"), (IPV6_RESPONSE, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let response = Message::read(bytes(response)).unwrap();
        assert!(response.is_success() && response.is_signed_sha1(SHORT_TERM));
        let found = response.xor_address(attribute::XOR_MAPPED_ADDRESS);
        assert_eq!(found, Some(mapped.parse().unwrap()));
    }
}

/// Where the flip makes FINGERPRINT another attribute, the message is read without one.
#[test]
fn every_flipped_bit_of_the_short_term_messages_is_found_by_fingerprint() {
    for vector in [REQUEST, IPV4_RESPONSE, IPV6_RESPONSE] {
        let good = bytes(vector);
        for (bit, flipped) in flipped(&good) {
            let read = Message::read(&flipped[..]);
            assert!(!read.is_ok_and(|message| message.has(attribute::FINGERPRINT)), "bit {bit} of {vector}");
        }
        assert_eq!(Message::read(&good[..good.len() - 1]), Err(Malformed::Length));
    }
}

#[test]
fn every_flipped_bit_of_the_long_term_requests_is_found_by_the_mac() {
    let md5 = long_term_key(AlgorithmChoice::Legacy);
    let good = bytes(LONG_TERM);
    assert!(Message::read(&good[..]).unwrap().is_signed_sha1(&md5));
    for (bit, flipped) in flipped(&good) {
        let read = Message::read(&flipped[..]);
        assert!(!read.is_ok_and(|message| message.is_signed_sha1(&md5)), "bit {bit}");
    }
    let sha256 = long_term_key(AlgorithmChoice::Named(PasswordAlgorithm::Sha256));
    let good = bytes(SHA256);
    assert!(Message::read(&good[..]).unwrap().is_signed_sha256(&sha256));
    for (bit, flipped) in flipped(&good) {
        let read = Message::read(&flipped[..]);
        assert!(!read.is_ok_and(|message| message.is_signed_sha256(&sha256)), "bit {bit}");
    }
}

#[test]
fn the_long_term_request_gets_the_published_mac() {
    let challenge = Challenge {
        realm: b"example.org".to_vec(),
        nonce: b"f//499k954d6OL34oL9FSTvy64sA".to_vec(),
        algorithms: None,
    };
    let signer = Signer::new(&Credentials::new(USERNAME, "TheMatrIX"), challenge, AlgorithmChoice::Legacy);
    let transaction = TransactionId([0x78, 0xAD, 0x34, 0x33, 0xC6, 0xAD, 0x72, 0xC0, 0x29, 0xDA, 0x41, 0x2E]);
    let written = Writer::new(turnpike_turn_client::Kind::request(1), transaction)
        .attribute(attribute::USERNAME, USERNAME.as_bytes())
        .attribute(attribute::NONCE, &signer.challenge.nonce)
        .attribute(attribute::REALM, &signer.challenge.realm)
        .message_integrity(&signer.key);
    assert_eq!(written.finish(), bytes(LONG_TERM));
}

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
