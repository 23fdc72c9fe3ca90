use std::{fs::File, os::unix::fs::FileExt as _};

use md5::{Digest as _, Md5};
use turnpike_proto::{AuthFailure, Cause, ClientVerdict, Config, RelayRefused};
use turnpike_relay_api::credential;
use zeroize::Zeroizing;

use crate::{
    message::*,
    world::{REALM_NAME, SECRET, UNIX, User, World, config, peer},
};

fn is_challenge(answer: &Parsed) -> bool {
    answer.get(REALM) == Some(REALM_NAME.as_bytes())
        && answer.get(NONCE).is_some()
        && answer.get(INTEGRITY).is_none()
}

#[test]
fn rule_24_and_32_the_first_answer_is_a_401_with_realm_and_nonce() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    for kind in [ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
        let request = user.request(kind).bytes;
        let answer = world.ask(&user.tuple, &request);
        assert_eq!(answer.code(), 401);
        assert!(is_challenge(&answer) && answer.get(USERNAME).is_none());
        let nonce = answer.get(NONCE).unwrap();
        assert!(nonce.len() < 128 && nonce.starts_with(b"obMatJos2"));
        let most = 56 + REALM_NAME.len().next_multiple_of(4) + 32;
        assert!(answer.bytes.len() <= most, "{} bytes: it must not amplify", answer.bytes.len());
    }
    assert_eq!(world.server.counters().auth_failures.total(), 0, "a challenge is no failure");
}

#[test]
fn what_strangers_can_provoke_is_small_and_says_nothing_of_the_software() {
    for realm in ["r", "turnpike.test", &"x".repeat(127)] {
        let software = Some("turnpike 9.9.9".to_owned());
        let settings = turnpike_proto::Config { realm: realm.into(), software, ..config() };
        let (mut world, mut user) = (World::with(settings), User::new(1, "a"));
        let binding = user.request(BINDING).bytes;
        assert_eq!((binding.len(), world.ask(&user.tuple, &binding).bytes.len()), (20, 32));
        let mut ipv6 = user.clone();
        ipv6.tuple.client = "[2001:db8::1]:40000".parse().unwrap();
        assert_eq!(world.ask(&ipv6.tuple, &binding).bytes.len(), 44);

        let bare = user.request(ALLOCATE).bytes;
        let challenge = world.ask(&user.tuple, &bare);
        user.nonce = challenge.get(NONCE).unwrap().to_vec();
        assert!(user.nonce.len() <= 32, "{} characters", user.nonce.len());
        let sign = |user: &User, request: Builder, nonce: &[u8]| {
            let request = request.attr(USERNAME, user.name.as_bytes()).attr(REALM, realm.as_bytes());
            request.attr(NONCE, nonce).integrity(&Md5::digest(user.key_text(realm))).bytes
        };
        let (one, two) = (user.request(ALLOCATE).udp(), user.request(ALLOCATE).udp());
        let stale = world.ask(&user.tuple, &sign(&user, one, b"stale"));
        let mut wrong = sign(&user, two, &user.nonce);
        *wrong.last_mut().unwrap() ^= 1;
        let wrong = world.ask(&user.tuple, &wrong);
        assert_eq!((challenge.code(), wrong.code(), stale.code()), (401, 401, 438));
        for answer in [challenge, wrong, stale] {
            let most = 56 + realm.len().next_multiple_of(4) + user.nonce.len().next_multiple_of(4);
            assert!(answer.bytes.len() <= most, "{} bytes of {most}", answer.bytes.len());
            assert_eq!(answer.get(ERROR_CODE).unwrap().len(), 4, "no reason phrase");
            assert_eq!(answer.get(SOFTWARE), None);
        }
        let incomplete = user.request(ALLOCATE).integrity(&user.key).bytes;
        let incomplete = world.ask(&user.tuple, &incomplete);
        assert_eq!((incomplete.code(), incomplete.bytes.len()), (400, 28));
    }
}

#[test]
fn rule_25_an_incomplete_credential_is_a_bare_400() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    user.challenge(&mut world);
    let all =
        [(USERNAME, user.name.clone().into_bytes()), (REALM, REALM_NAME.into()), (NONCE, user.nonce.clone())];
    for missing in [USERNAME, REALM, NONCE] {
        let mut request = user.request(ALLOCATE).udp();
        for (kind, value) in all.iter().filter(|(kind, _)| *kind != missing) {
            request = request.attr(*kind, value);
        }
        let answer = world.ask(&user.tuple, &request.integrity(&user.key).bytes);
        assert_eq!(answer.code(), 400);
        for absent in [REALM, NONCE, INTEGRITY] {
            assert!(answer.get(absent).is_none());
        }
    }
    assert_eq!(world.server.counters().auth_failures.get(AuthFailure::Incomplete), 3);
}

#[test]
fn rule_26_an_unknown_or_expired_username_is_a_401_at_allocate() {
    let mut world = World::new();
    let cases = [
        (User::expiring(1, "a", UNIX), AuthFailure::Expired),
        (User::expiring(2, "a", UNIX - 1), AuthFailure::Expired),
        (User::expiring(3, "a", 0), AuthFailure::Expired),
        (User::named(4, "bob", "wonderland"), AuthFailure::UnknownUser),
        (User::named(5, "", ""), AuthFailure::UnknownUser),
        (User::named(6, ":a", "x"), AuthFailure::UnknownUser),
    ];
    for (mut user, failure) in cases {
        user.challenge(&mut world);
        let request = user.request(ALLOCATE).udp();
        let answer = world.ask(&user.tuple, &user.sign(request));
        assert_eq!(answer.code(), 401, "{}", user.name);
        assert!(is_challenge(&answer));
        assert!(world.server.counters().auth_failures.get(failure) > 0, "{}: {failure:?}", user.name);
    }
    assert!(world.opened.is_empty(), "nothing is allocated");
}

#[test]
fn rule_26_a_live_allocation_outlives_its_credential() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    world.pass(599.0);
    let request = user.request(REFRESH);
    user.ask(&mut world, request);
    world.pass(300.0);
    let request = user.request(REFRESH).u32(LIFETIME, 700);
    assert_eq!(user.ask(&mut world, request).u32(LIFETIME), 700);
    assert!(user.permit(&mut world, peer(1, 0).ip()).is_success());
    assert!(user.bind(&mut world, 0x4000, peer(1, 5000)).is_success());
}

#[test]
fn rule_26_with_strict_expiry_an_expired_credential_prolongs_nothing_and_still_ends_its_allocation() {
    let mut world = World::with(turnpike_proto::Config { strict_expiry: true, ..config() });
    let mut user = User::ready(&mut world, 1, "a");
    world.pass(599.0);
    let request = user.request(REFRESH);
    assert!(user.ask(&mut world, request).is_success());
    world.pass(1.0);
    for seconds in [None, Some(1), Some(600)] {
        let request = user.request(REFRESH);
        let request = seconds.into_iter().fold(request, |request, seconds| request.u32(LIFETIME, seconds));
        let answer = world.ask(&user.tuple, &user.sign(request));
        assert_eq!(answer.code(), 401);
        assert!(is_challenge(&answer));
    }
    assert_eq!(world.server.counters().auth_failures.get(AuthFailure::Expired), 3);
    assert!(user.permit(&mut world, peer(1, 0).ip()).is_success(), "a call outlives its credential");
    assert!(user.bind(&mut world, 0x4000, peer(1, 5000)).is_success());
    let request = user.request(REFRESH).u32(LIFETIME, 0);
    assert!(user.ask(&mut world, request).is_success());
    let mut alice = User::named(2, "alice", "wonderland");
    assert!(alice.allocate(&mut world).is_success());
    let request = alice.request(REFRESH);
    assert!(alice.ask(&mut world, request).is_success(), "a static user does not expire");
}

#[test]
fn a_revoked_credential_is_challenged_as_an_unknown_one_is() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    user.challenge(&mut world);
    world.refuse = Some(RelayRefused::Revoked);
    let request = user.request(ALLOCATE).udp();
    let answer = world.ask(&user.tuple, &user.sign(request));
    assert_eq!(answer.code(), 401);
    assert!(is_challenge(&answer));
    let counters = world.server.counters();
    assert_eq!(counters.auth_failures.get(AuthFailure::Revoked), 1);
    assert_eq!((counters.auth_failures.total(), counters.allocation_failures.total()), (1, 0));
}

#[test]
fn the_driver_ends_the_allocations_it_picks_and_no_other() {
    let mut world = World::new();
    let users: Vec<User> =
        (1..=3).map(|host| User::ready(&mut world, host, &format!("user-{host}"))).collect();
    let now = world.now;
    world.server.close_where(now, Cause::Revoked, |allocation| {
        assert_eq!(allocation.credential_expires(), Some(UNIX + 600));
        allocation.subject() != "user-2"
    });
    world.tick();
    let closed: Vec<_> = world.closed.iter().map(|closed| (&*closed.subject, closed.cause)).collect();
    assert_eq!(closed, [("user-1", Cause::Revoked), ("user-3", Cause::Revoked)]);
    assert_eq!(world.server.allocations().count(), 1);
    for (mut user, code) in users.into_iter().zip([437, 0, 437]) {
        let request = user.request(REFRESH);
        let answer = user.ask(&mut world, request);
        assert_eq!(if answer.is_success() { 0 } else { answer.code() }, code);
    }
}

#[test]
fn rule_27_and_28_a_wrong_mac_is_a_401_whatever_the_nonce() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    user.challenge(&mut world);
    let mut stranger = user.clone();
    stranger.key[0] ^= 1;
    for nonce in [user.nonce.clone(), b"stale".to_vec()] {
        stranger.nonce = nonce;
        let request = stranger.request(ALLOCATE).udp();
        let answer = world.ask(&user.tuple, &stranger.sign(request));
        assert_eq!(answer.code(), 401);
        assert!(is_challenge(&answer));
    }
    assert_eq!(world.server.counters().auth_failures.get(AuthFailure::Integrity), 2);
}

#[test]
fn rule_28_29_and_41_a_stale_nonce_is_a_438_with_one_that_works() {
    let (mut world, mut user) = (World::new(), User::expiring(1, "a", UNIX + 86_400));
    user.challenge(&mut world);
    world.pass(3600.0);
    let request = user.request(ALLOCATE).udp();
    let answer = world.ask(&user.tuple, &user.sign(request));
    assert_eq!(answer.code(), 438);
    assert!(is_challenge(&answer));
    user.nonce = answer.get(NONCE).unwrap().to_vec();
    let request = user.request(ALLOCATE).udp();
    assert!(user.ask(&mut world, request).is_success());
}

#[test]
fn rule_31_a_nonce_of_another_source_is_a_438() {
    let mut world = World::new();
    let (mut one, mut two) = (User::new(1, "a"), User::new(2, "a"));
    one.challenge(&mut world);
    two.nonce.clone_from(&one.nonce);
    let request = two.request(ALLOCATE).udp();
    assert_eq!(world.ask(&two.tuple, &two.sign(request)).code(), 438);
}

#[test]
fn rule_37_a_truncated_mac_is_refused() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    user.challenge(&mut world);
    for len in [0, 4, 16, 19, 21, 32] {
        let request = user.request(ALLOCATE).udp();
        let signed = user.sign(request);
        let tag: Vec<u8> = signed[signed.len() - 20..].iter().copied().cycle().take(len).collect();
        let unsigned = Builder { bytes: signed[..signed.len() - 24].to_vec() };
        assert_eq!(world.ask(&user.tuple, &unsigned.attr(INTEGRITY, &tag).bytes).code(), 401, "{len}");
    }
}

#[test]
fn rule_39_long_names_are_parsed_or_refused_cleanly() {
    let mut world = World::new();
    for (host, len, good) in [(1, 763, true), (2, 2000, true), (3, 10_000, true)] {
        let mut user = User::new(host, &"x".repeat(len - 11));
        assert_eq!(user.name.len(), len);
        user.challenge(&mut world);
        let request = user.request(ALLOCATE).udp();
        assert_eq!(world.ask(&user.tuple, &user.sign(request)).is_success(), good, "{len}");
    }
    let mut user = User::new(9, "a");
    user.nonce = vec![b'n'; 900];
    let request = user.request(ALLOCATE).udp();
    assert_eq!(world.ask(&user.tuple, &user.sign(request)).code(), 438);
}

#[test]
fn rule_40_another_realm_is_a_401() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    user.challenge(&mut world);
    let request = user.request(ALLOCATE).udp().attr(USERNAME, user.name.as_bytes()).attr(REALM, b"other");
    let signed = request.attr(NONCE, &user.nonce).integrity(&user.key).bytes;
    assert_eq!(world.ask(&user.tuple, &signed).code(), 401);
}

#[test]
fn rule_42_another_valid_user_on_an_allocation_is_a_441() {
    let mut world = World::new();
    let owner = User::ready(&mut world, 1, "a");
    let mut other = User::new(1, "b");
    other.nonce.clone_from(&owner.nonce);
    for kind in [REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
        let request = other.request(kind).u32(LIFETIME, 0).peer(peer(1, 5000)).channel(0x4000);
        assert_eq!(other.ask(&mut world, request).code(), 441);
    }
    let request = other.request(ALLOCATE).udp();
    assert_eq!(other.ask(&mut world, request).code(), 437);
    assert!(world.closed.is_empty());
}

#[test]
fn rule_43_and_44_without_an_allocation_requests_are_a_437_and_data_is_silence() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    user.challenge(&mut world);
    for kind in [REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
        let request = user.request(kind).peer(peer(1, 5000)).channel(0x4000);
        assert_eq!(user.ask(&mut world, request).code(), 437);
    }
    let send = user.request(SEND).peer(peer(1, 5000)).attr(DATA, b"x").bytes;
    assert!(matches!(world.silent(&user.tuple, &send), ClientVerdict::Drop(_)));
    assert!(matches!(world.silent(&user.tuple, &channel_data(0x4000, b"x")), ClientVerdict::Drop(_)));
}

#[test]
fn any_secret_verifies_and_static_users_have_no_expiry() {
    let mut settings = config();
    settings.secrets.insert(0, zeroize::Zeroizing::new(b"the new secret, which signs from now".to_vec()));
    let mut world = World::with(settings);
    let mut old = User::new(1, "a");
    assert!(old.allocate(&mut world).is_success());
    let name = format!("{}:a", UNIX + 60);
    let mut new =
        User::named(2, &name, &credential::password(b"the new secret, which signs from now", &name));
    assert!(new.allocate(&mut world).is_success());
    let mut alice = User::named(3, "alice", "wonderland");
    assert!(alice.allocate(&mut world).is_success());
    assert_eq!(&*world.opened[2].subject, "alice");
    let bare = UNIX + 60;
    let mut bare = User::named(4, &bare.to_string(), &credential::password(SECRET, &bare.to_string()));
    assert!(bare.allocate(&mut world).is_success());
}

#[test]
fn every_flipped_bit_of_a_signed_request_is_refused() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let request = user.request(REFRESH).u32(LIFETIME, 0);
    let signed = Builder { bytes: user.sign(request) }.fingerprint().bytes;
    // A flip in FINGERPRINT's type makes it an unknown attribute behind the integrity, which is ignored.
    let kind = (signed.len() - 8) * 8..(signed.len() - 6) * 8;
    for bit in (0..signed.len() * 8).filter(|bit| !kind.contains(bit)) {
        let mut flipped = signed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (_, sent) = world.give(&user.tuple, &flipped);
        assert!(sent.iter().all(|answer| !Parsed::read(answer).is_success()), "bit {bit}");
    }
    assert!(world.closed.is_empty(), "the allocation is there");
    assert!(world.ask(&user.tuple, &signed).is_success());
    assert_eq!(world.closed[0].cause, Cause::Client);
}

/// What stands at this place of the process's memory, if it is still there.
fn memory(at: usize, len: usize) -> Option<Vec<u8>> {
    let mut found = vec![0; len];
    let memory = File::open("/proc/self/mem").unwrap();
    memory.read_exact_at(&mut found, at as u64).ok().map(|()| found)
}

#[test]
fn rule_96_a_password_is_wiped_as_soon_as_its_key_is_made() {
    const PASSWORD: &str = "long and random, as a password should be";
    let password = Zeroizing::new(PASSWORD.to_owned());
    let (at, len) = (password.as_ptr() as usize, password.len());
    assert_eq!(memory(at, len).unwrap(), PASSWORD.as_bytes(), "it would be found");
    let mut world = World::with(Config { static_users: vec![("alice".into(), password)], ..config() });
    assert_ne!(memory(at, len), Some(PASSWORD.into()));
    assert!(User::named(1, "alice", PASSWORD).allocate(&mut world).is_success(), "the key serves");
}
