//! Whoever minted a credential over REST ends it there, and its allocations with it.

use serde_json::Value;
use turnpike_turn_client::{Credentials, Error};

use crate::{http, reload::node};

/// A fresh credential of a subject, and its id.
fn mint(address: std::net::SocketAddr, subject: &str) -> (Credentials, String) {
    let asked = format!("{{\"subject\": \"{subject}\", \"maxBytes\": 1000000}}");
    let minted: Value = serde_json::from_str(&http::post(address, "/v1/ice", "first-key", &asked)).unwrap();
    let servers = minted["iceServers"].as_array().unwrap();
    let turn = servers.iter().find(|server| !server["username"].is_null()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (Credentials::new(text(&turn["username"]), text(&turn["credential"])), text(&minted["credentialId"]))
}

#[test]
fn a_credential_or_all_of_a_subject_end_at_once_and_serve_nobody_any_more() {
    let node = node("run");
    let address = node.site.http;
    let (first, id) = mint(address, "alice");
    let (second, _) = mint(address, "alice");
    let (other, _) = mint(address, "bob");
    let mut allocations = [&first, &second, &other].map(|c| node.allocate_as(c.clone()).unwrap());

    assert_eq!(http::delete(address, &format!("/v1/ice/{id}"), "no-key"), 401);
    allocations[0].refresh(None).unwrap();
    assert_eq!(http::delete(address, &format!("/v1/ice/{id}"), "first-key"), 204);
    assert!(matches!(allocations[0].refresh(None), Err(Error::Refused { .. })));
    assert!(matches!(node.allocate_as(first), Err(Error::Refused { code: 401 })));
    allocations[1].refresh(None).unwrap();

    assert_eq!(http::delete(address, "/v1/subjects/alice/credentials", "first-key"), 204);
    assert!(matches!(allocations[1].refresh(None), Err(Error::Refused { .. })));
    assert!(matches!(node.allocate_as(second), Err(Error::Refused { code: 401 })));
    allocations[2].refresh(None).unwrap();
}
