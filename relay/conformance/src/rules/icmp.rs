//! ICMP errors that reach the relay.

use std::{
    net::{SocketAddr, SocketAddrV4},
    time::Duration,
};

use turnpike_turn_client::{Message, attribute, method};

use crate::{
    Rule,
    client::Client,
    describe, expect,
    finding::{Check, Finding},
    lab::Lab,
    raw,
};

const PORT_UNREACHABLE: (u8, u8) = (3, 3);
const FRAGMENTATION_NEEDED: (u8, u8) = (3, 4);
const TIME_EXCEEDED: (u8, u8) = (11, 0);
const MTU: u32 = 1200;

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(
            83,
            "T11.5, T18.13",
            "ICMP about a permitted peer: Data indication with ICMP; Error Data is the MTU or 0",
            permitted,
        ),
        Rule::wire(84, "T11.5", "ICMP about a peer without a permission: silence", not_permitted),
    ]
}

/// A client with an allocation, its relayed address, and a peer's address where nobody listens.
fn bench(lab: &Lab<'_>) -> Result<(Client, SocketAddr, SocketAddr), Finding> {
    let mut client = lab.client()?;
    let relayed = client.allocate()?;
    let closed = lab.peer()?.address;
    client.permit(&[closed])?;
    Ok((client, relayed, closed))
}

/// RFC 8656 §18.13: 16 reserved bits, a type of 7 bits, a code of 9 bits, error data.
fn hears_of(client: &mut Client, peer: SocketAddr, (kind, code): (u8, u8), data: u32) -> Check {
    let expected = format!("a Data indication with ICMP {kind}/{code}");
    let bytes = client
        .connection
        .receive(Duration::from_millis(500))
        .map_err(|error| Finding::while_preparing(&expected, &error))?
        .ok_or_else(|| Finding::fail(expected.clone(), "silence"))?;
    let message = Message::read(bytes).map_err(|why| Finding::fail(expected.clone(), why.to_string()))?;
    let value = message
        .value(attribute::ICMP)
        .filter(|value| value.len() == 8 && message.kind().method() == method::DATA)
        .ok_or_else(|| Finding::fail(expected, describe::message(&message)))?;
    let mut right = vec![0, 0];
    right.extend((u16::from(kind) << 9 | u16::from(code)).to_be_bytes());
    right.extend(data.to_be_bytes());
    expect::equal("ICMP", &value, &&right[..])?;
    let about = message.xor_address(attribute::XOR_PEER_ADDRESS).map(|address| address.ip());
    expect::equal("XOR-PEER-ADDRESS", &about, &Some(peer.ip()))?;
    expect::lacks("that indication", &message, &[attribute::DATA])
}

fn v4(address: SocketAddr) -> Result<SocketAddrV4, Finding> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => Err(Finding::not_applicable("needs IPv4 addresses")),
    }
}

fn is_on_this_machine(lab: &Lab<'_>) -> bool {
    lab.source(1).is_some()
}

fn permitted(lab: &Lab<'_>) -> Check {
    let (mut client, relayed, closed) = bench(lab)?;
    client.send_to(closed, b"to a closed port")?;
    hears_of(&mut client, closed, PORT_UNREACHABLE, 0)?;
    let peer = lab.peer()?;
    client.send_to(peer.address, b"after it")?;
    peer.hears(b"after it")?;
    if !is_on_this_machine(lab) {
        return Ok(());
    }
    for (error, rest, data) in [(TIME_EXCEEDED, 0, 0), (FRAGMENTATION_NEEDED, MTU, MTU)] {
        match raw::send_icmp(v4(relayed)?, v4(peer.address)?, error.0, error.1, rest) {
            Err(Finding::NotApplicable(_)) => return Ok(()),
            sent => sent?,
        }
        hears_of(&mut client, peer.address, error, data)?;
    }
    Ok(())
}

fn not_permitted(lab: &Lab<'_>) -> Check {
    if !is_on_this_machine(lab) {
        return Err(Finding::not_applicable("needs the server on this machine, to send ICMP of its own"));
    }
    let (mut client, relayed, closed) = bench(lab)?;
    let stranger = lab.peer_elsewhere()?;
    client.send_to(closed, b"to a closed port")?;
    if hears_of(&mut client, closed, PORT_UNREACHABLE, 0).is_err() {
        return Err(Finding::not_applicable("the server tells of no ICMP at all (rule 83)"));
    }
    raw::send_icmp(v4(relayed)?, v4(stranger.address)?, TIME_EXCEEDED.0, TIME_EXCEEDED.1, 0)?;
    client.is_silent("an ICMP error about a peer without a permission")
}
