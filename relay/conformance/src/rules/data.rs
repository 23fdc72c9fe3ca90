//! Send and Data indications.

use std::{
    thread,
    time::{Duration, Instant},
};

use turnpike_turn_client::{Class, Message, Writer, attribute, method};

use crate::{
    Rule, describe, expect,
    finding::{Check, Finding},
    lab::Lab,
};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(
            79,
            "T11.2",
            "Send without XOR-PEER-ADDRESS or DATA: silence; empty DATA: an empty datagram",
            incomplete,
        ),
        Rule::wire(
            80,
            "T11.2",
            "Send without a permission: silence; Send never refreshes one",
            without_permission,
        )
        .waiting(306, send_does_not_refresh),
        Rule::wire(82, "T11.3", "a Data indication has XOR-PEER-ADDRESS and DATA", data_indication),
    ]
}

fn incomplete(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.permitted(&peer)?;
    let send = || Writer::indication(method::SEND);
    client.is_silent_about("a Send without a peer", send().data(b"no peer").bytes())?;
    client.is_silent_about("a Send without DATA", send().peer(peer.address).bytes())?;
    let malformed = send().attribute(attribute::XOR_PEER_ADDRESS, &[0, 1, 0, 0]).data(b"half a peer");
    client.is_silent_about("a Send with half a peer", malformed.bytes())?;
    client.send_to(peer.address, b"")?;
    let (heard, _) =
        peer.next()?.ok_or_else(|| Finding::fail("an empty datagram for empty DATA", "nothing"))?;
    expect::equal("the first datagram's length", &heard.len(), &0)
}

fn without_permission(lab: &Lab<'_>) -> Check {
    let (peer, control) = (lab.peer()?, lab.peer_elsewhere()?);
    let mut client = lab.permitted(&control)?;
    client.send_to(peer.address, b"without one")?;
    client.is_silent("a Send without a permission")?;
    client.send_to(control.address, b"control")?;
    control.hears(b"control")?;
    client.permit(&[peer.address])?;
    client.send_to(peer.address, b"with one")?;
    peer.hears(b"with one").map(drop)
}

fn send_does_not_refresh(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.permitted(&peer)?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(294) {
        client.send_to(peer.address, b"permitted")?;
        peer.hears(b"permitted")?;
        thread::sleep(Duration::from_secs(3));
    }
    thread::sleep(Duration::from_secs(303).saturating_sub(start.elapsed()));
    client.send_to(peer.address, b"303 s after CreatePermission")?;
    client.is_silent("a Send after 303 s")?;
    client.permit(&[peer.address])?;
    client.send_to(peer.address, b"permitted anew")?;
    peer.hears(b"permitted anew").map(drop)
}

fn data_indication(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.client()?;
    let relayed = client.allocate()?;
    client.permit(&[peer.address])?;
    for payload in [&b"data"[..], b"", &[0xEE; 1200]] {
        peer.say(relayed, payload)?;
        let received = client.connection.receive(Duration::from_millis(1500));
        let bytes = received.ok().flatten().ok_or_else(|| Finding::fail("a Data indication", "silence"))?;
        let message = Message::read(bytes)
            .map_err(|error| Finding::fail("a Data indication", format!("a message {error}")))?;
        let is_data = message.kind().method() == method::DATA && message.kind().class() == Class::Indication;
        expect::that(is_data, "a Data indication", describe::message(&message))?;
        expect::equal("DATA", &message.value(attribute::DATA), &Some(payload))?;
        let from = message.xor_address(attribute::XOR_PEER_ADDRESS);
        expect::equal("XOR-PEER-ADDRESS", &from, &Some(peer.address))?;
    }
    Ok(())
}
