//! Nonces.

use std::{collections::HashSet, thread, time::Duration};

use turnpike_turn_client::{Message, attribute};

use crate::{
    Rule,
    client::{Client, allocate},
    expect,
    finding::{Check, Finding},
    lab::Lab,
};

/// Longest nonce, in characters.
const LONGEST: usize = 128;

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(
            28,
            "S9.2.4 order",
            "stale nonce: 401 with a wrong MAC, 438 with a right one",
            stale_nonces,
        ),
        Rule::wire(29, "S9.2.4", "438 has a REALM, and a NONCE that then works", stale_nonces_are_replaced),
        Rule::wire(30, "S9.2.4", "no two sources are given the same nonce", nonces_are_unique),
        Rule::wire(31, "S9.2.4, T5", "a nonce of source A used at source B: 438", nonces_of_others),
        Rule::wire(
            32,
            "S9.2, S14.10",
            "NONCE under 128 characters, starts with obMatJos2 and security bits",
            nonce_cookie,
        ),
        Rule::core(41, "T5", "a nonce dies within an hour").waiting(3605, nonces_die),
    ]
}

/// The nonce with its last character replaced: by its look one of this server, but not valid any more.
fn stale(nonce: &[u8]) -> Vec<u8> {
    let mut stale = nonce.to_vec();
    if let Some(last) = stale.last_mut() {
        *last = if *last == b'a' { b'b' } else { b'a' };
    }
    stale
}

fn stale_answer(client: &mut Client, wrong_mac: bool) -> Result<Message, Finding> {
    let mut signer = client.signer()?;
    signer.challenge.nonce = stale(&signer.challenge.nonce);
    if wrong_mac {
        signer.key[0] ^= 0x01;
    }
    client.ask(&signer.sign(allocate()))
}

fn stale_nonces(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let answer = stale_answer(&mut client, true)?;
    expect::challenge("a stale nonce with a wrong MAC", &answer, 401)?;
    let mut client = lab.client()?;
    let answer = stale_answer(&mut client, false)?;
    expect::challenge("a stale nonce with a right MAC", &answer, 438).map(drop)
}

fn stale_nonces_are_replaced(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let answer = stale_answer(&mut client, false)?;
    let challenge = expect::challenge("a stale nonce", &answer, 438)?;
    let mut signer = client.signer()?;
    expect::equal("REALM in the 438", &challenge.realm, &signer.challenge.realm)?;
    signer.challenge = challenge;
    client.sign_with(signer);
    client.allocate().map(drop)
}

fn nonces_are_unique(lab: &Lab<'_>) -> Check {
    let mut clients = (0..20).map(|_| lab.client()).collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::new();
    for client in &mut clients {
        let nonce = client.challenge()?.nonce;
        let shown = String::from_utf8_lossy(&nonce).into_owned();
        expect::that(seen.insert(nonce), "another nonce for each of 20 sources", format!("{shown} twice"))?;
    }
    Ok(())
}

fn nonces_of_others(lab: &Lab<'_>) -> Check {
    let mut other = lab.client()?;
    let nonce = other.challenge()?.nonce;
    let elsewhere = lab.client_elsewhere().ok().map(|client| ("another address", client));
    for (where_to, mut client) in [("another port", lab.client()?)].into_iter().chain(elsewhere) {
        let mut signer = client.signer()?;
        signer.challenge.nonce.clone_from(&nonce);
        let answer = client.ask(&signer.sign(allocate()))?;
        expect::challenge(&format!("a nonce used at {where_to}"), &answer, 438)?;
    }
    Ok(())
}

fn nonce_cookie(lab: &Lab<'_>) -> Check {
    let challenge = lab.client()?.challenge()?;
    let shown = String::from_utf8_lossy(&challenge.nonce).into_owned();
    let short = std::str::from_utf8(&challenge.nonce).is_ok_and(|nonce| nonce.chars().count() < LONGEST);
    expect::that(short, "a NONCE of under 128 characters", format!("{} bytes", challenge.nonce.len()))?;
    expect::that(challenge.security_bits().is_some(), "obMatJos2 and four base64 characters", shown)
}

fn nonces_die(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let signer = client.signer()?;
    thread::sleep(Duration::from_secs(3601));
    let answer = match client.ask(&signer.sign(allocate())) {
        Ok(answer) => answer,
        // A server may close a stream that is idle for so long; then the nonce has died with it.
        Err(_) if lab.target.transport.is_stream() => return Ok(()),
        Err(finding) => return Err(finding),
    };
    expect::code("a nonce of an hour ago", &answer, 438)?;
    expect::has("that 438", &answer, &[attribute::NONCE])
}
