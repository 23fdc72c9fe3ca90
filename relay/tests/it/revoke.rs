//! Allocations that are ended and credentials that are refused over the admin socket.

use std::{fs, net::SocketAddr, time::UNIX_EPOCH};

use turnpike_relay_api::{
    admin::{Ended, KILL, REVOCATIONS, REVOKE, Revocations, Revoked, UNREVOKE, Unrevoked},
    credential::{self, Credential, Limits},
};

use crate::{
    client::{Ask, Client},
    harness::{SECRET, Server, credential},
    http, log, metrics,
};

const SESSION: &str = "AAAAAAAAAAAAAAAAAAAAAA";
const PAIR: &str = "BBBBBBBBBBBBBBBBBBBBBB";

fn unix() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

async fn allocated(server: &Server, credential: &Credential) -> Client {
    let mut client = Client::new(server.address(), credential.clone()).await;
    client.allocate(Ask::default()).await.unwrap();
    client
}

async fn allocate(server: &Server, credential: &Credential) -> Result<(), u16> {
    Client::new(server.address(), credential.clone()).await.allocate(Ask::default()).await
}

/// Nobody holds the port any more.
fn is_free(relayed: SocketAddr) -> bool {
    std::net::UdpSocket::bind(relayed).is_ok()
}

/// A credential as other minters write it.
fn foreign(name: &str) -> Credential {
    let username = format!("{}:{name}", unix() + 600);
    let password = credential::password(SECRET, &username);
    Credential { password, username, expires_at: unix() + 600 }
}

#[tokio::test]
async fn a_revoked_pair_loses_its_allocations_at_once_and_its_credentials_until_they_expire() {
    let server = Server::start(|config| config.relay.shards = 4);
    let sides = ["one", "two"].map(|side| {
        let session = side.repeat(8).chars().take(22).collect::<String>();
        credential(&format!("{session}.{PAIR}.{}", "C".repeat(12)), &Limits::default())
    });
    let other = credential(&format!("{SESSION}.{}.{}", "D".repeat(22), "C".repeat(12)), &Limits::default());
    let mut clients = Vec::new();
    for credential in sides.iter().cycle().take(8) {
        clients.push(allocated(&server, credential).await);
    }
    let mut untouched = allocated(&server, &other).await;
    let answer: Revoked = server.post(REVOKE, &format!(r#"{{"pair": "{PAIR}"}}"#)).await;
    assert_eq!((answer.ended, answer.saved), (8, true));
    assert!((86_390..=86_400).contains(&(answer.until - unix())), "{}", answer.until);
    for client in &mut clients {
        assert!(is_free(client.relayed), "its socket is closed when the answer is there");
        assert_eq!(client.refresh(600).await, Err(437));
        assert_eq!(client.allocate(Ask::default()).await, Err(401));
    }
    for side in &sides {
        assert_eq!(allocate(&server, side).await, Err(401));
    }
    untouched.refresh(600).await.unwrap();
    assert_eq!(server.sessions().await.len(), 1);
    let subject = sides[0].username.split(':').nth(1).unwrap();
    assert_eq!(log::line("allocation closed", subject).await["cause"], "revoked");
    metrics::until(&server, "turnpike_allocations_closed_total{cause=\"revoked\"}", 8.0).await;
    metrics::until(&server, "turnpike_auth_failures_total{reason=\"revoked\"}", 10.0).await;
    metrics::until(&server, "turnpike_revocations", 1.0).await;
    assert_eq!(server.stop().await.allocations_closed, 9);
}

#[tokio::test]
async fn an_allocation_is_revoked_with_its_credential_and_killed_without_it() {
    let server = Server::start(|config| config.relay.shards = 2);
    let alice = credential("alice.CCCCCCCCCCCC", &Limits::default());
    let again = credential("alice.DDDDDDDDDDDD", &Limits::default());
    let (one, two) = (allocated(&server, &alice).await, allocated(&server, &alice).await);
    let id = server.session(one.relayed).await.id;
    let killed: Ended = server.post(KILL, &format!(r#"{{"allocation": "{id}"}}"#)).await;
    assert_eq!((killed.ended, is_free(one.relayed), is_free(two.relayed)), (1, true, false));
    assert_eq!(allocate(&server, &alice).await, Ok(()), "killing leaves the credential alone");
    let id = server.session(two.relayed).await.id;
    let revoked: Revoked = server.post(REVOKE, &format!(r#"{{"allocation": "{id}"}}"#)).await;
    assert_eq!(
        (revoked.ended, revoked.until),
        (2, alice.expires_at),
        "the other one of the credential as well"
    );
    assert_eq!(allocate(&server, &alice).await, Err(401));
    assert_eq!(allocate(&server, &again).await, Ok(()), "another credential of the same user serves");
    let revoked: Revoked = server.post(REVOKE, r#"{"subject": "alice"}"#).await;
    assert_eq!(revoked.ended, 1);
    assert_eq!(allocate(&server, &again).await, Err(401));
    let none: Revoked = server.post(REVOKE, &format!(r#"{{"allocation": "{id}"}}"#)).await;
    assert_eq!(none.ended, 0, "an allocation that is gone");
    server.stop().await;
}

#[tokio::test]
async fn names_of_other_minters_and_static_users_are_revoked_by_subject() {
    let server = Server::start(|_| {});
    let static_user =
        Credential { username: "static".into(), password: "word".to_owned().into(), expires_at: u64::MAX };
    for (subject, credential) in
        [("@alice.b:example.org", foreign("@alice.b:example.org")), ("static", static_user)]
    {
        let client = allocated(&server, &credential).await;
        let until = unix() + 5_000_000;
        let body = format!(r#"{{"subject": "{subject}", "until": {until}, "reason": "spam"}}"#);
        let revoked: Revoked = server.post(REVOKE, &body).await;
        assert_eq!((revoked.ended, revoked.until), (1, until), "{subject}");
        assert!(is_free(client.relayed));
        assert_eq!(allocate(&server, &credential).await, Err(401), "{subject}");
        let back: Unrevoked = server.post(UNREVOKE, &format!(r#"{{"subject": "{subject}"}}"#)).await;
        assert!(back.removed && back.saved);
        assert_eq!(allocate(&server, &credential).await, Ok(()), "{subject}");
    }
    assert_eq!(allocate(&server, &foreign("@alice:example.org")).await, Ok(()));
    server.stop().await;
}

#[tokio::test]
async fn a_revocation_survives_a_restart_and_a_file_that_is_none_does_not_stop_one() {
    let server = Server::start(|_| {});
    let alice = credential("alice.CCCCCCCCCCCC", &Limits::default());
    let until = unix() + 1_000;
    let revoked: Revoked =
        server.post(REVOKE, &format!(r#"{{"credential": "CCCCCCCCCCCC", "until": {until}}}"#)).await;
    assert!(revoked.saved);
    let server = Server::start_in(server.stop_leaving_folder().await, |_| {});
    assert_eq!(allocate(&server, &alice).await, Err(401));
    let listed = http::get_unix(&server.listening.admin_socket, REVOCATIONS).await.ok();
    assert_eq!(listed, format!(r#"{{"revocations":[{{"credential":"CCCCCCCCCCCC","until":{until}}}]}}"#));
    assert_eq!(serde_json::from_str::<Revocations>(&listed).unwrap().revocations.len(), 1);

    let folder = server.stop_leaving_folder().await;
    fs::write(folder.path().join("state/revocations.jsonl"), "not JSON\n").unwrap();
    let server = Server::start_in(folder, |_| {});
    assert_eq!(allocate(&server, &alice).await, Ok(()));
    let lines = log::all(
        "revoked credentials cannot be read: the relay goes on without these, and they serve until they expire; \
         revoke again what must not wait, or rotate the secret",
    );
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["code"], "revocations_unreadable");
    assert!(lines[0]["kept_as"].as_str().unwrap().ends_with("revocations.jsonl.unreadable"), "{}", lines[0]);
    server.stop().await;
}

#[tokio::test]
async fn what_names_nobody_is_refused_and_does_nothing() {
    let server = Server::start(|_| {});
    let _client = Client::allocated(&server, "untouched").await;
    for body in
        ["", "{}", "[]", r#"{"subject": ""}"#, r#"{"subject": "untouched", "pair": "x"}"#, r#"{"pair": 5}"#]
    {
        for path in [REVOKE, KILL, UNREVOKE] {
            let (status, code) = server.post_refused(path, body).await;
            assert!((400..=422).contains(&status), "{path} {body}: {status}");
            assert_eq!(code, "bad_request", "{path} {body}");
        }
    }
    let past = r#"{"subject": "untouched", "until": 5}"#;
    assert_eq!(server.post_refused(REVOKE, past).await, (400, "until_is_past".into()));
    let answer = http::get_unix(&server.listening.admin_socket, REVOKE).await;
    assert_eq!(answer.status, 405, "{answer:?}");
    assert_eq!(server.sessions().await.len(), 1);
    server.stop().await;
}
