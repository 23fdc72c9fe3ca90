//! The 96 rules by topic. relay.md has the same numbers.

mod algorithms;
mod allocate;
mod attributes;
mod authentication;
mod binding;
mod capacity;
mod channel;
mod channel_life;
mod data;
mod errors;
mod framing;
mod icmp;
mod ip_header;
mod nonce;
mod ownership;
mod peer_policy;
mod permission;
mod ports;
mod refresh;
mod stream;

use crate::Rule;

/// All of them, in order.
pub fn all() -> Vec<Rule> {
    let mut rules: Vec<Rule> = [
        framing::rules(),
        attributes::rules(),
        binding::rules(),
        errors::rules(),
        authentication::rules(),
        nonce::rules(),
        algorithms::rules(),
        ownership::rules(),
        allocate::rules(),
        ports::rules(),
        capacity::rules(),
        refresh::rules(),
        permission::rules(),
        peer_policy::rules(),
        data::rules(),
        icmp::rules(),
        channel::rules(),
        channel_life::rules(),
        stream::rules(),
        ip_header::rules(),
    ]
    .into_iter()
    .flatten()
    .collect();
    rules.sort_by_key(|rule| rule.number);
    rules
}
