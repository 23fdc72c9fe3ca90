//! `GET /openapi.json`: the REST side, with the schemas of the contract.

use std::sync::LazyLock;

use axum::{http::header, response::IntoResponse};
use serde_json::Value;

/// With the schemas that the Rust and the TypeScript tests read as well: each shape is written once.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let read = |text: &str| serde_json::from_str::<Value>(text).expect("the contract is JSON");
    let mut document = read(include_str!("../../contract/openapi.json"));
    let schema = include_str!("../../contract/schema.json").replace("\"#/$defs/", "\"#/components/schemas/");
    let Value::Object(shapes) = read(&schema)["$defs"].take() else { panic!("the contract has shapes") };
    for (name, shape) in shapes {
        // What is of Socket.IO alone is not of this document.
        if !SOCKET_ONLY.contains(&name.as_str()) {
            document["components"]["schemas"][name] = shape;
        }
    }
    document.to_string()
});

const SOCKET_ONLY: [&str; 4] = ["ClientEvents", "ServerEvents", "Acks", "Rest"];

pub(super) async fn get() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], DOCUMENT.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: [&str; 14] = [
        "/v1/ice",
        "/v1/ice/{credentialId}",
        "/v1/subjects/{subject}/credentials",
        "/v1/stats",
        "/v1/pairs",
        "/v1/pairs/{pair}",
        "/v1/reports",
        "/v1/bans",
        "/v1/bans/{ban}",
        "/v1/drain",
        "/turn",
        "/openapi.json",
        "/healthz",
        "/readyz",
    ];

    #[test]
    fn the_document_has_the_routes_of_the_service_and_no_others() {
        let document: Value = serde_json::from_str(&DOCUMENT).unwrap();
        let mut documented: Vec<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let mut routes = ROUTES;
        documented.sort();
        routes.sort_unstable();
        assert_eq!(documented, routes);
    }
}
