//! Relay ports: even ones, pairs, their range and their uniqueness.

use std::{collections::HashSet, net::SocketAddr, thread, time::Duration};

use turnpike_turn_client::{Message, attribute};

use crate::{
    Rule,
    client::{Client, allocate, relayed},
    describe, expect,
    finding::{Check, Finding},
    lab::Lab,
};

/// So many calls find a reservation for ever in a pool of the RFC's size.
const EVEN_PORT_CALLS: u32 = 10_000;
/// How long a reservation is held at least, less a second.
const HELD: Duration = Duration::from_secs(29);

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(56, "T7.2, T18.7", "EVEN-PORT with R=0: an even port, and nothing is reserved", even_port)
            .waiting(60, even_port_leaves_the_pool_whole),
        Rule::wire(
            57,
            "T7.2",
            "EVEN-PORT with R=1: N even, N+1 held 30 s for a token that serves another 5-tuple",
            pair,
        )
        .waiting(31, pair_is_held),
        Rule::wire(61, "T7.2", "relay port in the range, not under 1024, at random", range),
        Rule::wire(64, "T6", "relayed address unique over all allocations", unique),
    ]
}

fn is_even(address: SocketAddr) -> Check {
    expect::that(address.port().is_multiple_of(2), "an even relay port", address.port().to_string())
}

fn even_port(lab: &Lab<'_>) -> Check {
    for _ in 0..8 {
        let answer = lab.client()?.ask_signed(allocate().attribute(attribute::EVEN_PORT, &[0x00]))?;
        expect::success("EVEN-PORT with R=0", &answer)?;
        is_even(relayed(&answer)?)?;
        expect::lacks("the success", &answer, &[attribute::RESERVATION_TOKEN])?;
    }
    let pool = lab.target.ports.len();
    if pool <= 64 {
        even_calls(lab, pool as u32)?;
    }
    Ok(())
}

fn even_port_leaves_the_pool_whole(lab: &Lab<'_>) -> Check {
    even_calls(lab, EVEN_PORT_CALLS)
}

fn even_calls(lab: &Lab<'_>, calls: u32) -> Check {
    let mut client = lab.client()?;
    for call in 1..=calls {
        let answer = client.ask_signed(allocate().attribute(attribute::EVEN_PORT, &[0x00]))?;
        expect::success(&format!("EVEN-PORT with R=0 for the {call}th time, one at a time"), &answer)?;
        expect::success("Refresh 0", &client.refresh(Some(0))?)?;
    }
    Ok(())
}

/// A client on port N, and the token of N+1.
fn reserve(lab: &Lab<'_>) -> Result<(Client, SocketAddr, Vec<u8>), Finding> {
    let mut client = lab.client()?;
    let answer: Message = client.ask_signed(allocate().attribute(attribute::EVEN_PORT, &[0x80]))?;
    expect::success("EVEN-PORT with R=1", &answer)?;
    let address = relayed(&answer)?;
    is_even(address)?;
    let token = answer
        .value(attribute::RESERVATION_TOKEN)
        .filter(|token| token.len() == 8)
        .ok_or_else(|| Finding::fail("a RESERVATION-TOKEN of 8 bytes", describe::message(&answer)))?
        .to_vec();
    Ok((client, address, token))
}

fn redeem(lab: &Lab<'_>, first: SocketAddr, token: &[u8]) -> Check {
    let answer = lab.client()?.ask_signed(allocate().attribute(attribute::RESERVATION_TOKEN, token))?;
    expect::success("the RESERVATION-TOKEN from another 5-tuple", &answer)?;
    expect::equal("the relayed address", &relayed(&answer)?, &SocketAddr::new(first.ip(), first.port() + 1))
}

fn pair(lab: &Lab<'_>) -> Check {
    let (_holder, address, token) = reserve(lab)?;
    redeem(lab, address, &token)
}

fn pair_is_held(lab: &Lab<'_>) -> Check {
    let (_holder, address, token) = reserve(lab)?;
    thread::sleep(HELD);
    redeem(lab, address, &token)
}

fn relayed_addresses(lab: &Lab<'_>, count: usize) -> Result<Vec<SocketAddr>, Finding> {
    let mut clients = Vec::with_capacity(count);
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = lab.client()?;
        addresses.push(client.allocate()?);
        clients.push(client);
    }
    Ok(addresses)
}

/// As many as a small pool still has room for.
fn sample(lab: &Lab<'_>, most: usize) -> usize {
    most.min(lab.target.ports.len() / 2).max(2)
}

fn range(lab: &Lab<'_>) -> Check {
    let range = &lab.target.ports;
    let count = sample(lab, 20);
    let ports: Vec<u16> = relayed_addresses(lab, count)?.iter().map(SocketAddr::port).collect();
    let outside = ports.iter().find(|port| !range.contains(port) || **port < 1024);
    if let Some(port) = outside {
        return Err(Finding::fail(
            format!("a relay port in {}-{}", range.start(), range.end()),
            port.to_string(),
        ));
    }
    if range.len() < 1024 {
        return Ok(());
    }
    let steps: HashSet<i32> = ports.windows(2).map(|pair| i32::from(pair[1]) - i32::from(pair[0])).collect();
    let ascending = ports.windows(2).filter(|pair| pair[1] > pair[0]).count();
    let random = steps.len() > count / 2 && ascending + 1 < count && ascending > 0;
    expect::that(random, "relay ports without an order", format!("{ports:?}"))
}

fn unique(lab: &Lab<'_>) -> Check {
    let addresses = relayed_addresses(lab, sample(lab, 50))?;
    let mut seen = HashSet::new();
    let twice = addresses.iter().find(|address| !seen.insert(**address));
    twice.map_or(Ok(()), |twice| {
        let expected = format!("{} different relayed addresses", addresses.len());
        Err(Finding::fail(expected, format!("{twice} twice")))
    })
}
