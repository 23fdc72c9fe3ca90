//! The end of a pair is the end of its allocations: signaling tells the relay.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use turnpike_relay_api::admin::{REVOCATIONS, Revocations, SESSIONS, Sessions};
use turnpike_turn_client::{Credentials, Error};

use crate::{node::Site, session::Client};

/// Longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn site() -> Site {
    Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]")
}

/// Two strangers who have met, their pair, and the TURN credentials of the first.
pub(crate) async fn pair(http: SocketAddr) -> (Client, Client, String, Credentials) {
    let address = http.to_string();
    let (mut one, mut two) = (Client::connect(&address).await, Client::connect(&address).await);
    let join = || json!({"mode": "video", "interests": [], "privacy": "all"});
    for client in [&mut one, &mut two] {
        assert_eq!(client.ask("queue.join", join()).await["ok"], true);
    }
    let (to_one, _) = (one.event("match.found").await, two.event("match.found").await);
    let pair = to_one["pair"].as_str().unwrap().to_owned();
    for client in [&mut one, &mut two] {
        assert_eq!(client.ask("match.accept", json!({"pair": pair})).await["ok"], true);
    }
    let servers = to_one["ice"]["iceServers"].as_array().unwrap();
    let turn = servers.iter().find(|server| !server["username"].is_null()).unwrap();
    let text = |name: &str| turn[name].as_str().unwrap().to_owned();
    (one, two, pair, Credentials::new(text("username"), text("credential")))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stays_in_a_pair_that_ended_loses_his_allocation_five_seconds_later_and_gets_no_other() {
    let node = site().start("run");
    let (mut one, _two, pair, credentials) = pair(node.site.http).await;
    let (_other_one, _other_two, _, others) = self::pair(node.site.http).await;
    let mut allocation = node.allocate_as(credentials.clone()).unwrap();
    let mut untouched = node.allocate_as(others).unwrap();
    let left = Instant::now();
    assert_eq!(one.ask("match.leave", json!({"pair": pair})).await["ok"], true);
    allocation.refresh(None).unwrap();
    until("one allocation is gone", || node.admin::<Sessions>(SESSIONS).sessions.len() == 1);
    assert!(left.elapsed() > Duration::from_secs(4), "after {:?}", left.elapsed());
    assert!(matches!(allocation.refresh(None), Err(Error::Refused { code: 437 })));
    let again = node.allocate_as(credentials);
    assert!(matches!(again, Err(Error::Refused { code: 401 })), "{:?}", again.err());
    untouched.refresh(None).unwrap();
    let closed = node.log.wait_for("allocation closed");
    assert_eq!(closed["cause"], "revoked");
    let revoked: Value = node.admin(REVOCATIONS);
    assert_eq!(revoked["revocations"][0]["pair"], pair);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_away_when_a_pair_ended_hears_of_it_when_it_is_back() {
    let site = site();
    let relay = site.start_beside("relay");
    let _signaling = site.start_beside("signaling");
    let (mut one, _two, pair, credentials) = pair(site.http).await;
    site.allocate_as(credentials.clone()).unwrap();
    drop(relay);
    assert_eq!(one.ask("match.leave", json!({"pair": pair})).await["ok"], true);
    let metrics = || crate::http::get(site.signaling_metrics, "/metrics");
    let retried = "turnpike_credentials_revoked_total{dialect=\"pair\",result=\"retried\"} ";
    until("signaling has tried", || {
        metrics().lines().any(|line| line.strip_prefix(retried).is_some_and(|count| count != "0"))
    });
    let _relay = site.start_beside("relay");
    until("the relay knows", || !site.admin::<Revocations>(REVOCATIONS).revocations.is_empty());
    let again = site.allocate_as(credentials);
    assert!(matches!(again, Err(Error::Refused { code: 401 })), "{:?}", again.err());
    let revoked = "turnpike_credentials_revoked_total{dialect=\"pair\",result=\"revoked\"} 1";
    until("signaling has counted it", || metrics().lines().any(|line| line == revoked));
}
