//! Requests with every mixture of credentials: who is let in is who an independent check lets in, and nobody else.

mod oracle;

use std::collections::HashMap;

use turnpike_proto::FiveTuple;
use turnpike_relay_api::credential;

pub use self::oracle::sha256_key;
use self::oracle::{Judgement, Oracle, md5_key};
use super::input::Input;
use crate::{
    message::*,
    world::{REALM_NAME, SECRET, UNIX, User, World, peer},
};

const METHODS: [u16; 4] = [ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND];
const OFFERED: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];
const STATIC: (&str, &str) = ("alice", "wonderland");

/// Requests one after the other; two clients send them.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new();
    let mut oracle = Oracle::new(STATIC, SECRET, REALM_NAME);
    let mut clients = [1, 2].map(|host| User::new(host, "a"));
    for user in &mut clients {
        user.challenge(&mut world);
        oracle.issued(user.tuple.client, &user.nonce, world.now.unix);
    }
    let mut owners = HashMap::new();
    while !input.is_empty() {
        world.pass(input.pick(&[0.0, 0.0, 0.0, 1.0, 590.0, 3599.0, 3600.0, 1_000_000.0]));
        world.tick();
        let sender = usize::from(input.one_in(3));
        let request = request(&mut input, &clients, sender);
        give(&mut world, &mut oracle, &mut owners, &mut clients[sender], &request);
    }
}

fn request(input: &mut Input<'_>, clients: &[User; 2], sender: usize) -> Vec<u8> {
    let start = Builder::new(input.pick(&METHODS), input.byte());
    let mut builder = start.udp().channel(0x4000).peer(peer(1, 5000));
    let name = username(input);
    let present = input.byte();
    if present & 1 == 0 {
        builder = builder.attr(USERNAME, &name);
    }
    if present & 2 == 0 {
        builder =
            builder.attr(REALM, input.pick(&[REALM_NAME, REALM_NAME, REALM_NAME, "other", ""]).as_bytes());
    }
    if present & 4 == 0 {
        let nonce = match input.byte() % 8 {
            1 => clients[1 - sender].nonce.clone(),
            2 => input.chunk().to_vec(),
            3 => flipped(input, &clients[sender].nonce),
            _ => clients[sender].nonce.clone(),
        };
        builder = builder.attr(NONCE, &nonce);
    }
    if present & 8 != 0 {
        let swapped: &[u8] = &[0, 1, 0, 0, 0, 2, 0, 0];
        builder = builder.attr(ALGORITHMS, input.pick(&[OFFERED, OFFERED, swapped, &[]]));
    }
    if present & 16 != 0 {
        let choice = input.pick(&[[0, 2, 0, 0], [0, 1, 0, 0], [0, 3, 0, 0], [0, 2, 0, 4]]);
        builder = builder.attr(ALGORITHM, &choice);
    }
    if present & 32 != 0 {
        builder = builder.attr(input.pick(&[SOFTWARE, 0x7001, USERNAME, FINGERPRINT]), input.chunk());
    }
    builder = signed(input, builder, &name);
    match input.byte() % 8 {
        1 => flipped(input, &builder.bytes),
        2 => builder.u32(LIFETIME, 0).bytes,
        3 => builder.fingerprint().bytes,
        4 => fingerprint_inside(builder),
        _ => builder.bytes,
    }
}

fn username(input: &mut Input<'_>) -> Vec<u8> {
    let expires = input.pick(&[UNIX + 600, UNIX + 600, UNIX + 10_000_000, UNIX, 0]);
    match input.byte() % 8 {
        1 => STATIC.0.as_bytes().to_vec(),
        2 => b"bob".to_vec(),
        3 => expires.to_string().into_bytes(),
        4 => input.chunk().to_vec(),
        5 => format!("{expires}:b").into_bytes(),
        6 => format!("{expires}:{}", "x".repeat(752)).into_bytes(),
        _ => format!("{expires}:a").into_bytes(),
    }
}

fn signed(input: &mut Input<'_>, builder: Builder, name: &[u8]) -> Builder {
    let text = String::from_utf8_lossy(name);
    let password = match &*text == STATIC.0 {
        true => STATIC.1.to_owned(),
        false => credential::password(SECRET, &text).to_string(),
    };
    let key = match input.byte() % 8 {
        1 => sha256_key(&text, REALM_NAME, &password),
        2 => md5_key(&text, REALM_NAME, "wonderland"),
        3 => md5_key(&text, "other", &password),
        4 => input.chunk().to_vec(),
        _ => md5_key(&text, REALM_NAME, &password),
    };
    match input.byte() % 8 {
        1 => builder,
        2 => builder.integrity_sha256(&key),
        3 => builder.integrity(&key).integrity_sha256(&key),
        4 => builder.integrity_sha256(&key).integrity(&key),
        5 => builder.attr(INTEGRITY, input.chunk()),
        6 => builder.attr(INTEGRITY_SHA256, input.chunk()),
        _ => builder.integrity(&key),
    }
}

/// A right FINGERPRINT that is not the last attribute.
fn fingerprint_inside(builder: Builder) -> Vec<u8> {
    let at = builder.bytes.len();
    let mut bytes = builder.u32(FINGERPRINT, 0).attr(SOFTWARE, b"behind it").bytes;
    let sum = crc32fast::hash(&bytes[..at]) ^ 0x5354_554E;
    bytes[at + 4..at + 8].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn flipped(input: &mut Input<'_>, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = usize::from(input.byte()) % bytes.len();
    bytes[at] ^= 1 << (input.byte() % 8);
    bytes
}

fn give(
    world: &mut World,
    oracle: &mut Oracle,
    owners: &mut HashMap<FiveTuple, Vec<u8>>,
    user: &mut User,
    request: &[u8],
) {
    owners.retain(|tuple, _| world.server.allocations().any(|(_, a)| a.five_tuple() == tuple));
    let opened = world.opened.len();
    let judgement = oracle.judge(world.now.unix, user.tuple.client, owners.get(&user.tuple), request);
    let (_, mut answers) = world.give(&user.tuple, request);
    assert!(answers.len() <= 1);
    let opens = world.opened.len() > opened;
    let answer = answers.pop().map(|answer| Parsed::read(&answer));
    match (judgement, answer) {
        (Judgement::OtherKind, _) => assert!(!opens, "only an Allocate opens"),
        (Judgement::Broken, answer) => assert!(answer.is_none() && !opens, "{answer:?}"),
        (Judgement::Refused(code), Some(answer)) => {
            assert_eq!((answer.code(), opens), (code, false));
            assert!(answer.get(INTEGRITY).is_none() && answer.get(INTEGRITY_SHA256).is_none());
            match answer.get(NONCE) {
                Some(nonce) => oracle.issued(user.tuple.client, nonce, world.now.unix),
                None => assert_eq!(code, 400, "whoever may try again is told how"),
            }
            assert_eq!(code == 400, answer.get(REALM).is_none() && answer.get(ALGORITHMS).is_none());
            user.nonce = answer.get(NONCE).unwrap_or(&user.nonce).to_vec();
        }
        (Judgement::LetIn { username, key, sha256 }, Some(answer)) => {
            let right =
                if sha256 { answer.is_signed_with_sha256_by(&key) } else { answer.is_signed_by(&key) };
            assert!(right, "{answer:?}");
            if answer.is_success() && answer.kind == ALLOCATE | 0x0100 {
                owners.insert(user.tuple, username);
            }
        }
        (judgement, None) => panic!("{judgement:?} is not answered"),
    }
}
