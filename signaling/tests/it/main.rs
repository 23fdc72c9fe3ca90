//! Signaling over real sockets, by a Socket.IO client of the tests' own.

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub)]

mod battery;
mod client;
mod fleet;
mod internal;
mod moderation;
mod openapi;
mod redis_server;
mod restart;
mod resume;
mod session;

use serde_json::{Value, json};
use turnpike_relay_api::credential;

use crate::{
    client::{KEY, Server, http},
    session::Client,
};

const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:x\r\na=fingerprint:sha-256 AA\r\n";

fn join() -> Value {
    json!({"mode": "video", "interests": [], "privacy": "all"})
}

async fn pair(server: &Server) -> (Client, Client, String) {
    let (a, b) = (server.connect().await, server.connect().await);
    meet(a, b).await
}

/// Two clients that nobody else waits beside become a pair.
async fn meet(mut a: Client, mut b: Client) -> (Client, Client, String) {
    assert_eq!(a.ask("queue.join", join()).await["ok"], true);
    a.event("queue.state").await;
    assert_eq!(b.ask("queue.join", join()).await["ok"], true);
    let (to_a, to_b) = (a.event("match.found").await, b.event("match.found").await);
    assert_eq!(
        (&to_a["role"], &to_b["role"]),
        (&json!("initiator"), &json!("responder")),
        "the longer waiter offers"
    );
    assert_eq!(to_a["pair"], to_b["pair"]);
    let id = to_a["pair"].as_str().unwrap().to_owned();
    for (client, found) in [(&a, &to_a), (&b, &to_b)] {
        let turn = &found["ice"]["iceServers"][1];
        let (name, password) = (turn["username"].as_str().unwrap(), turn["credential"].as_str().unwrap());
        assert!(name.contains(&format!("{}.{id}.", client.session)), "{name}");
        assert_eq!(*credential::password(client::SECRET, name), password);
    }
    for client in [&mut a, &mut b] {
        assert_eq!(client.ask("match.accept", json!({"pair": id})).await["ok"], true);
    }
    a.event("match.start").await;
    b.event("match.start").await;
    (a, b, id)
}

fn candidate(pair: &str, seq: u64) -> Value {
    let text = format!("candidate:{seq} 1 udp 1 192.0.2.1 {} typ host", 1000 + seq);
    json!({"pair": pair, "seq": seq, "gen": 0, "candidates": [{"candidate": text}]})
}

#[tokio::test]
async fn an_offer_and_a_burst_of_candidates_arrive_in_order_and_without_a_gap() {
    let server = Server::start().await;
    let (mut a, mut b, pair) = pair(&server).await;
    let offer = json!({"pair": pair, "seq": 1, "gen": 0, "description": {"type": "offer", "sdp": SDP}});
    a.send("signal", offer).await;
    for seq in 2..=40 {
        a.send("signal", candidate(&pair, seq)).await;
    }
    assert_eq!(b.event("signal").await["description"]["type"], "offer");
    for seq in 2..=40 {
        let signal = b.event("signal").await;
        let text = signal["candidates"][0]["candidate"].as_str().unwrap().to_owned();
        assert!(text.starts_with(&format!("candidate:{seq} ")), "{text}");
    }
    let answer =
        |seq| json!({"pair": pair, "seq": seq, "gen": 0, "description": {"type": "answer", "sdp": SDP}});
    assert_eq!(b.ask("signal", answer(1)).await["ok"], true);
    assert_eq!(b.ask("signal", answer(2)).await["code"], "wrong_state", "a second answer is not relayed");
    assert_eq!(a.event("signal").await["description"]["type"], "answer");
}

#[tokio::test]
async fn a_stranger_to_a_pair_has_no_say_in_it() {
    let server = Server::start().await;
    let (_a, _b, pair) = pair(&server).await;
    let mut c = server.connect().await;
    for (event, payload) in [
        ("signal", candidate(&pair, 1)),
        ("match.accept", json!({"pair": pair})),
        ("match.next", json!({"pair": pair})),
        ("match.leave", json!({"pair": pair})),
        ("ice.refresh", json!({"pair": pair})),
        ("pair.stats", json!({"pair": pair, "state": "failed"})),
    ] {
        assert_eq!(c.ask(event, payload).await["code"], "not_in_pair", "{event}");
    }
}

#[tokio::test]
async fn text_reaches_the_partner_once_and_without_what_deceives_the_eye() {
    let server = Server::start().await;
    let (mut a, b, pair) = pair(&server).await;
    let line = |id: &str, text: &str| json!({"pair": pair, "id": id, "text": text});
    assert_eq!(a.ask("chat.typing", json!({"pair": pair, "on": true})).await["ok"], true);
    let lost = b.lose();
    a.event("peer.state").await;
    assert_eq!(a.ask("chat.typing", json!({"pair": pair, "on": false})).await["ok"], true);
    let shown = a.ask("chat.send", line("1", "a\u{202E}b\u{0007}\nc \u{2066}grüße 🙂")).await;
    assert_eq!(shown, json!({"ok": true}));
    assert_eq!(a.ask("chat.send", line("1", "again")).await, json!({"ok": true, "duplicate": true}));
    assert_eq!(a.ask("chat.send", line("2", &"ü".repeat(1024))).await["ok"], true);
    for text in ["\u{202E}\u{0007}", " ", &"ü".repeat(1025)] {
        assert_eq!(a.ask("chat.send", line("3", text)).await["code"], "bad_request");
    }
    let (mut b, _) = server.resume(&lost).await;
    assert_eq!(b.event("chat.typing").await["on"], true);
    let first = b.event("chat.message").await;
    assert_eq!((&first["id"], &first["text"]), (&json!("1"), &json!("abc grüße 🙂")));
    assert_eq!(b.next().await.1["id"], "2", "who is away is not told who types");
    let mut c = server.connect().await;
    assert_eq!(c.ask("chat.send", line("1", "let me in")).await["code"], "not_in_pair");
}

#[tokio::test]
async fn next_ends_the_pair_for_both_and_meets_who_waits() {
    let server = Server::start().await;
    let (mut a, mut b, pair) = pair(&server).await;
    let mut c = server.connect().await;
    c.ask("queue.join", join()).await;
    assert_eq!(a.ask("match.next", json!({"pair": pair})).await["ok"], true);
    assert_eq!(a.event("match.ended").await["state"], "waiting");
    let ended = b.event("match.ended").await;
    assert_eq!((&ended["reason"], &ended["state"]), (&json!("next"), &json!("idle")));
    assert_eq!(a.event("match.found").await["pair"], c.event("match.found").await["pair"]);
}

#[tokio::test]
async fn who_does_not_accept_is_out() {
    let server = Server::start().await;
    let (mut a, mut b) = (server.connect().await, server.connect().await);
    a.ask("queue.join", join()).await;
    b.ask("queue.join", join()).await;
    let found = a.event("match.found").await;
    a.ask("match.accept", json!({"pair": found["pair"]})).await;
    let (to_a, to_b) = (a.event("match.ended").await, b.event("match.ended").await);
    assert_eq!((&to_a["reason"], &to_a["state"]), (&json!("expired"), &json!("waiting")));
    assert_eq!(to_b["state"], "idle");
}

#[tokio::test]
async fn every_fixture_of_the_contract_is_taken_or_refused_as_it_says() {
    let server = Server::start().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/contract/fixtures/client");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let event = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let cases: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for (kind, refused) in [("valid", false), ("invalid", true)] {
            for case in cases[kind].as_array().unwrap() {
                let mut client = server.connect().await;
                let answer = client.ask(&event, case["payload"].clone()).await;
                assert_eq!(answer["code"] == "bad_request", refused, "{event}, {}: {answer}", case["name"]);
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[tokio::test]
async fn every_auth_object_of_the_contract_is_taken_or_refused_as_it_says() {
    let server = Server::start().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/contract/fixtures/connect.json");
    let cases: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for (kind, answer) in [("valid", "40{\"sid\":"), ("invalid", "44{\"message\":\"bad_request\"")] {
        for case in cases[kind].as_array().unwrap() {
            let mut client = Client::open(&server.address, &case["payload"]).await;
            let first = client.first().await;
            assert!(first.starts_with(answer), "{}: {first}", case["name"]);
        }
    }
}

#[tokio::test]
async fn rest_gives_credentials_to_keys_and_stun_to_anyone() {
    let server = Server::start().await;
    let (status, open) = http(&server, "GET", "/v1/ice", &[], "").await;
    assert_eq!((status, open["iceServers"].as_array().unwrap().len()), (200, 1));
    let json_body = "content-type: application/json";
    let (status, refused) = http(&server, "POST", "/v1/ice", &[json_body], "{}").await;
    assert_eq!((status, &refused["code"]), (401, &json!("unauthorized")));
    let bearer = format!("authorization: Bearer {KEY}");
    let (status, minted) =
        http(&server, "POST", "/v1/ice", &[&bearer, json_body], r#"{"subject":"alice","ttl":60}"#).await;
    assert_eq!((status, &minted["ttl"]), (201, &json!(60)));
    let name = minted["iceServers"][1]["username"].as_str().unwrap();
    assert!(name.contains(&format!(":alice.{}", minted["credentialId"].as_str().unwrap())), "{name}");
    let (status, _) = http(&server, "POST", "/v1/ice", &[&bearer, json_body], r#"{"ttl":59}"#).await;
    assert_eq!(status, 400);
    let (status, draft) =
        http(&server, "GET", &format!("/turn?service=turn&username=bob&key={KEY}"), &[], "").await;
    assert_eq!(status, 200);
    let (name, password) = (draft["username"].as_str().unwrap(), draft["password"].as_str().unwrap());
    assert_eq!(*credential::password(client::SECRET, name), password);
    assert_eq!(http(&server, "GET", "/turn?service=turn&key=wrong", &[], "").await.0, 403);
    let session = server.connect().await;
    let token = format!("authorization: Bearer {}", session.token);
    let (status, ice) = http(&server, "GET", "/v1/ice", &[&token], "").await;
    assert_eq!((status, ice["iceServers"].as_array().unwrap().len()), (200, 1), "no TURN outside a pair");
    let path = "/socket.io/?EIO=4&transport=websocket";
    let foreign = http(&server, "GET", path, &["origin: http://evil.example"], "").await;
    assert_eq!((foreign.0, &foreign.1["code"]), (403, &json!("origin_not_allowed")));
}

#[tokio::test]
async fn a_visitor_with_a_token_that_the_embedder_has_signed_is_given_turn_for_its_name() {
    let key = "a key for tokens, of thirty-two bytes or more";
    let server =
        Server::start_as(|config, _| config.auth.jwt_keys = vec![turnpike_config::Secret::new(key)]).await;
    let claims = json!({"sub": "alice", "exp": 9_999_999_999_u64});
    let token = jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &claims,
        &jsonwebtoken::EncodingKey::from_secret(key.as_bytes()),
    )
    .unwrap();
    let (status, ice) =
        http(&server, "GET", "/v1/ice", &[&format!("authorization: Bearer {token}")], "").await;
    assert_eq!(status, 200, "{ice}");
    let name = ice["iceServers"][1]["username"].as_str().unwrap();
    assert!(name.split(':').nth(1).unwrap().starts_with("alice."), "{name}");

    let forged = format!("authorization: Bearer {}x", &token[..token.len() - 1]);
    let (status, problem) = http(&server, "GET", "/v1/ice", &[&forged], "").await;
    assert_eq!((status, &problem["code"]), (401, &json!("unauthorized")));
}
