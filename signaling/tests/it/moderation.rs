//! Reports, blocks, bans, and what an operator ends.

use serde_json::{Value, json};

use crate::{
    client::{ADMIN_KEY, Server, http},
    join, meet, pair,
    session::Client,
};

/// Everyone comes by a proxy, and so from an address of its own.
async fn behind_a_proxy() -> Server {
    Server::start_as(|config, _| {
        config.signaling.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.signaling.rematch_after = std::time::Duration::ZERO;
    })
    .await
}

pub fn device(n: u8) -> String {
    format!("device{n:03}DDDDDDDDDDDDA")
}

pub async fn come(server: &Server, n: u8, address: &str) -> Client {
    let auth = json!({"v": 1, "device": device(n)});
    let mut client = Client::open_from(&server.address, &auth, Some(address)).await;
    let hello = client.event("hello").await;
    client.greeted(&hello);
    client
}

pub async fn is_let_in(server: &Server, auth: Value, address: &str) -> bool {
    let mut client = Client::open_from(&server.address, &auth, Some(address)).await;
    let first = client.first().await;
    assert!(first.starts_with("40") || first == r#"44{"message":"banned"}"#, "{first}");
    first.starts_with("40")
}

pub async fn admin(server: &Server, method: &str, path: &str, body: &str) -> (u16, Value) {
    let bearer = format!("authorization: Bearer {ADMIN_KEY}");
    http(server, method, path, &[&bearer, "content-type: application/json"], body).await
}

pub fn report(pair: &str) -> Value {
    json!({"pair": pair, "category": "harassment", "note": "rude\u{202E}", "block": false})
}

#[tokio::test]
async fn whom_three_people_report_is_banned_with_the_pair_that_was_going_on_and_stays_so_over_a_restart() {
    let server = behind_a_proxy().await;
    let mut rude = come(&server, 1, "198.18.0.1").await;
    for n in 2..=4 {
        let (a, b, pair) = meet(come(&server, n, &format!("198.18.0.{n}")).await, rude).await;
        let (mut kind, again) = (a, b);
        rude = again;
        assert_eq!(kind.ask("report", report(&pair)).await, json!({"ok": true}));
        assert_eq!(kind.ask("report", report(&pair)).await, json!({"ok": true, "duplicate": true}));
        if n == 4 {
            let (to_rude, to_kind) = (rude.event("match.ended").await, kind.event("match.ended").await);
            assert_eq!((&to_rude["reason"], &to_kind["reason"]), (&json!("reported"), &json!("reported")));
            rude.closed().await;
            break;
        }
        assert_eq!(kind.ask("match.leave", json!({"pair": pair})).await["ok"], true);
        assert_eq!(rude.event("match.ended").await["reason"], "left");
    }
    let as_rude = || json!({"v": 1, "device": device(1)});
    assert!(!is_let_in(&server, as_rude(), "198.18.9.9").await, "its browser, wherever it comes from");
    assert!(!is_let_in(&server, json!({"v": 1}), "198.18.0.1").await, "its address, whatever the browser");
    assert!(is_let_in(&server, json!({"v": 1}), "198.18.0.2").await, "nobody else");

    let server = server.restart(|_| {}).await;
    assert!(!is_let_in(&server, as_rude(), "198.18.9.9").await);
    let (_, reports) = admin(&server, "GET", "/v1/reports?limit=2", "").await;
    let newest = &reports["reports"][0];
    assert_eq!((&newest["note"], &newest["category"]), (&json!("rude"), &json!("harassment")));
    assert_eq!((&newest["reported"]["network"], &newest["settled"]), (&json!("198.18.0.1"), &json!(true)));
    let older = format!("/v1/reports?after={}", reports["reports"][1]["id"]);
    assert_eq!(admin(&server, "GET", &older, "").await.1["reports"].as_array().unwrap().len(), 1);
    let (_, bans) = admin(&server, "GET", "/v1/bans", "").await;
    let bans = bans["bans"].as_array().unwrap();
    assert_eq!(bans.len(), 2, "the browser and the address: {bans:?}");
    for ban in bans {
        let lasts = ban["until"].as_u64().unwrap() - ban["created"].as_u64().unwrap();
        assert_eq!(lasts, if ban["device"].is_null() { 3600 } else { 86_400 });
        let path = format!("/v1/bans/{}", ban["id"].as_str().unwrap());
        assert_eq!(admin(&server, "DELETE", &path, "").await.0, 204);
        assert_eq!(admin(&server, "DELETE", &path, "").await.0, 404);
    }
    assert!(is_let_in(&server, as_rude(), "198.18.0.1").await);
}

#[tokio::test]
async fn one_person_bans_nobody_however_often_and_whatever_the_browser() {
    let server = behind_a_proxy().await;
    let mut other = come(&server, 1, "198.18.0.1").await;
    for n in 2..=6 {
        let (mut a, b, pair) = meet(come(&server, n, "198.18.0.2").await, other).await;
        other = b;
        assert_eq!(a.ask("report", report(&pair)).await["ok"], true);
        a.ask("match.leave", json!({"pair": pair})).await;
        other.event("match.ended").await;
    }
    let (_, reports) = admin(&server, "GET", "/v1/reports", "").await;
    assert_eq!(reports["reports"].as_array().unwrap().len(), 5);
    assert_eq!(admin(&server, "GET", "/v1/bans", "").await.1["bans"], json!([]));
    assert_eq!(other.ask("queue.join", join()).await["ok"], true);
}

#[tokio::test]
async fn a_partner_can_be_reported_after_the_end_and_a_stranger_cannot() {
    let server = behind_a_proxy().await;
    let (mut a, mut b, pair) =
        meet(come(&server, 1, "198.18.0.1").await, come(&server, 2, "198.18.0.2").await).await;
    b.ask("match.leave", json!({"pair": pair})).await;
    a.event("match.ended").await;
    assert_eq!(a.ask("report", report(&pair)).await, json!({"ok": true}));
    let mut c = come(&server, 3, "198.18.0.3").await;
    assert_eq!(c.ask("report", report(&pair)).await["code"], "not_in_pair");
}

#[tokio::test]
async fn who_is_blocked_is_never_met_again_and_a_restart_does_not_forget_it() {
    let server = behind_a_proxy().await;
    let (mut a, mut b, pair) =
        meet(come(&server, 1, "198.18.0.1").await, come(&server, 2, "198.18.0.2").await).await;
    let mut blocking = report(&pair);
    blocking["block"] = json!(true);
    assert_eq!(a.ask("report", blocking).await, json!({"ok": true}));
    a.ask("match.next", json!({"pair": pair})).await;
    a.event("queue.state").await;
    b.event("match.ended").await;
    assert_eq!(b.ask("queue.join", join()).await["ok"], true);
    let mut c = come(&server, 3, "198.18.0.3").await;
    assert_eq!(c.ask("queue.join", join()).await["ok"], true);
    let (to_a, to_c) = (a.event("match.found").await, c.event("match.found").await);
    assert_eq!(to_a["pair"], to_c["pair"], "the longest waiter meets who may be met");
    drop((a, b, c));

    let server = server.restart(|folder| {
        let _ = std::fs::remove_file(folder.join("signaling-sessions.json"));
    });
    let server = server.await;
    let (mut a, mut b) = (come(&server, 1, "198.18.1.1").await, come(&server, 2, "198.18.1.2").await);
    a.ask("queue.join", join()).await;
    b.ask("queue.join", join()).await;
    let mut c = come(&server, 3, "198.18.1.3").await;
    c.ask("queue.join", join()).await;
    assert_eq!(a.event("match.found").await["pair"], c.event("match.found").await["pair"]);
    let (_, stats) = admin(&server, "GET", "/v1/stats", "").await;
    assert_eq!((&stats["waiting"], &stats["offers"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn two_windows_of_one_browser_do_not_meet() {
    let server = behind_a_proxy().await;
    let (mut one, mut same) = (come(&server, 1, "198.18.0.1").await, come(&server, 1, "198.18.0.1").await);
    one.ask("queue.join", join()).await;
    same.ask("queue.join", join()).await;
    let mut other = come(&server, 2, "198.18.0.1").await;
    other.ask("queue.join", join()).await;
    let (to_one, to_other) = (one.event("match.found").await, other.event("match.found").await);
    assert_eq!(to_one["pair"], to_other["pair"]);
}

#[tokio::test]
async fn an_operator_sees_pairs_ends_them_and_bans_a_side() {
    let server = Server::start().await;
    let (mut a, mut b, id) = pair(&server).await;
    let (status, pairs) = admin(&server, "GET", "/v1/pairs", "").await;
    let shown = &pairs["pairs"][0];
    assert_eq!((status, &shown["pair"], &shown["path"]), (200, &json!(id), &json!("unknown")));
    assert!(shown["startedAt"].as_u64().is_some());
    assert_eq!(shown["sides"][0]["session"], a.session);
    assert_eq!(shown["sides"][1]["network"], "127.0.0.1");
    let behind = format!("/v1/pairs?after={id}");
    assert_eq!(admin(&server, "GET", &behind, "").await.1["pairs"], json!([]));

    let path = format!("/v1/pairs/{id}");
    assert_eq!(admin(&server, "DELETE", &path, "").await.0, 204);
    assert_eq!(a.event("match.ended").await["reason"], "admin");
    let ended = b.event("match.ended").await;
    assert_eq!((&ended["reason"], &ended["state"]), (&json!("admin"), &json!("idle")));
    assert_eq!(admin(&server, "DELETE", &path, "").await.0, 404);

    let (status, ban) = admin(&server, "POST", "/v1/bans", r#"{"address": "127.0.0.1", "ttl": 60}"#).await;
    assert_eq!((status, &ban["ended"], &ban["cause"]), (201, &json!(2), &json!("admin")));
    a.closed().await;
    b.closed().await;
    let mut refused = Client::open(&server.address, &json!({"v": 1})).await;
    assert_eq!(refused.first().await, r#"44{"message":"banned"}"#);
}

#[tokio::test]
async fn a_drain_over_rest_lets_nobody_in_and_pairs_go_on() {
    let server = Server::start().await;
    let (mut a, mut b, id) = pair(&server).await;
    assert_eq!(admin(&server, "POST", "/v1/drain", "").await, (202, json!({"draining": true, "pairs": 1})));
    assert_eq!(a.event("notice").await["kind"], "draining");
    assert_eq!(http(&server, "GET", "/readyz", &[], "").await.0, 503);
    let mut late = Client::open(&server.address, &json!({"v": 1})).await;
    assert_eq!(late.first().await, r#"44{"message":"draining"}"#);
    assert_eq!(a.ask("chat.send", json!({"pair": id, "id": "1", "text": "still here"})).await["ok"], true);
    assert_eq!(b.event("chat.message").await["text"], "still here");
}

#[tokio::test]
async fn without_an_admin_key_the_admin_endpoints_are_shut_and_guessing_is_slow() {
    let server = Server::start_as(|config, _| config.auth.admin_keys = Vec::new()).await;
    let (status, problem) = admin(&server, "GET", "/v1/stats", "").await;
    assert_eq!((status, &problem["code"]), (401, &json!("unauthorized")));
    assert!(problem["detail"].as_str().unwrap().contains("auth.admin_keys_file"), "{problem}");
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(http(&server, "GET", "/v1/bans", &["authorization: Bearer guess"], "").await.0);
    }
    assert_eq!((statuses[0], statuses[28], statuses[29]), (401, 401, 429));
}
