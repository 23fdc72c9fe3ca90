//! What `/openapi.json` says is what is served.

use serde_json::{Value, json};

use crate::client::{ADMIN_KEY, KEY, Server, http};

/// A path with something in the place of each parameter.
fn filled(path: &str, id: &str) -> String {
    let long = format!("{id}{id}").chars().take(22).collect::<String>();
    let ids = path.replace("{pair}", &long).replace("{ban}", &long);
    ids.replace("{credentialId}", id).replace("{subject}", "alice")
}

#[tokio::test]
async fn every_operation_is_served_and_answers_as_the_document_says() {
    let server = Server::start().await;
    let (status, document) = http(&server, "GET", "/openapi.json", &[], "").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let bearer = format!("authorization: Bearer {KEY}");
    let admin = format!("authorization: Bearer {ADMIN_KEY}");
    let json_body = "content-type: application/json";
    let mut seen = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let documented = operation["responses"].as_object().unwrap();
            let method = method.to_uppercase();
            for (headers, id, body) in [
                (vec![], "AAAAAAAAAAAA", "{}"),
                (vec![bearer.as_str(), json_body], "AAAAAAAAAAAA", "{}"),
                (vec![bearer.as_str(), json_body], "short", "{\"ttl\": 1}"),
                (vec![bearer.as_str()], "AAAAAAAAAAAA", "no JSON"),
                (vec!["authorization: Bearer nobody"], "AAAAAAAAAAAA", "{}"),
                (vec![admin.as_str(), json_body], "AAAAAAAAAAAA", r#"{"address": "192.0.2.1"}"#),
                (vec![admin.as_str(), json_body], "short", "{\"ttl\": 0}"),
                (vec![admin.as_str()], "AAAAAAAAAAAA", "no JSON"),
            ] {
                let (status, answer) = http(&server, &method, &filled(path, id), &headers, body).await;
                assert_ne!(status, 405, "{method} {path} is served");
                assert!(documented.contains_key(&status.to_string()), "{method} {path}: {status} {answer}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 120, "{seen}");
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere() {
    let server = Server::start().await;
    let (_, document) = http(&server, "GET", "/openapi.json", &[], "").await;
    let mut waiting = vec![&document];
    let mut references = 0;
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let at = reference.strip_prefix('#').expect("within the document");
                    assert!(document.pointer(at).is_some(), "{reference}");
                    references += 1;
                }
                waiting.extend(members.values());
            }
            Value::Array(list) => waiting.extend(list),
            _ => {}
        }
    }
    assert!(references > 30, "{references}");
}

#[tokio::test]
async fn without_a_relay_of_its_own_nothing_is_revoked_and_the_caller_knows() {
    let server = Server::start().await;
    let bearer = format!("authorization: Bearer {KEY}");
    for path in ["/v1/ice/AAAAAAAAAAAA", "/v1/subjects/alice/credentials"] {
        let (status, answer) = http(&server, "DELETE", path, &[], "").await;
        assert_eq!((status, &answer["code"]), (401, &json!("unauthorized")));
        let (status, answer) = http(&server, "DELETE", path, &[&bearer], "").await;
        assert_eq!((status, &answer["code"]), (503, &json!("relay_unavailable")));
    }
}
