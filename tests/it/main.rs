//! The product as its users meet it: the real binary, strangers' clients, files, signals.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod acme;
mod acme_server;
mod authority;
mod budget;
mod capture;
mod certificate;
mod coturn;
mod creds;
mod crowd;
mod docs;
mod doctor;
mod flood;
mod grafana;
mod http;
mod init;
mod ledger;
mod lines;
mod machine;
mod metering;
mod namespace;
mod node;
mod operator;
mod package;
mod pair_end;
mod port_443;
mod ports;
mod probe;
mod redis;
mod refusals;
mod reload;
mod rest_revoke;
mod restart;
mod run;
mod series;
#[path = "../../signaling/tests/it/session.rs"]
#[allow(unreachable_pub, dead_code)]
mod session;
mod speed;
mod stalled;
mod start;
mod stop;
mod supervisor;
mod systemd;
mod turn_crate;
mod turn_server;
mod two_nodes;
mod upkeep;
