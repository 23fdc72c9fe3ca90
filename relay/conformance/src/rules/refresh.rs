//! Refresh, and the end of an allocation.

use std::{
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use turnpike_turn_client::{Writer, attribute, method};

use crate::{
    Rule,
    client::allocate,
    expect,
    finding::{Check, Finding},
    lab::Lab,
};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(66, "T8.2", "Refresh 0: success, LIFETIME 0, allocation gone, port free", ends),
        Rule::wire(67, "T8.2", "Refresh with another lifetime: as rule 62", lifetimes),
        Rule::wire(68, "T8.2", "Refresh with a family that the allocation does not have: 443", other_family),
        Rule::core(69, "T6", "data alone does not refresh the allocation")
            .waiting(606, data_does_not_refresh),
    ]
}

fn ends(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.client()?;
    let relayed = client.allocate()?;
    client.permit(&[peer.address])?;
    client.send_to(peer.address, b"before")?;
    peer.hears(b"before")?;
    expect::lifetime("Refresh 0", &client.refresh(Some(0))?, 0)?;
    expect::code("a Refresh after it", &client.refresh(None)?, 437)?;
    client.send_to(peer.address, b"after")?;
    client.is_silent("a Send after it")?;
    let until = Instant::now() + Duration::from_millis(500);
    let mut free = UdpSocket::bind(relayed);
    while free.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
        && Instant::now() < until
    {
        thread::sleep(Duration::from_millis(10));
        free = UdpSocket::bind(relayed);
    }
    let taken = free.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
    expect::that(!taken, "the relay port free within 0.5 s", "still bound")?;
    client.allocate()?;
    client.permit(&[peer.address])?;
    client.send_to(peer.address, b"again")?;
    peer.hears(b"again").map(drop)
}

fn lifetimes(lab: &Lab<'_>) -> Check {
    let maximum = lab.target.max_lifetime;
    let mut client = lab.allocated()?;
    for asked in [1, 599, 600, 1200, maximum, u32::MAX] {
        let answer = client.refresh(Some(asked))?;
        expect::lifetime(&format!("LIFETIME {asked}"), &answer, asked.min(maximum).max(600))?;
    }
    let answer = client.refresh(None)?;
    expect::success("a Refresh without LIFETIME", &answer)?;
    let given = answer.u32(attribute::LIFETIME).unwrap_or_default();
    expect::that((600..=maximum.max(600)).contains(&given), "at least 600", given.to_string())
}

fn other_family(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let relayed = client.allocate()?;
    let (own, other) = if relayed.is_ipv4() { (1, 2) } else { (2, 1) };
    let refresh = |family: u8| {
        Writer::request(method::REFRESH).attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0])
    };
    let ended = client.ask_signed(refresh(other).lifetime(0))?;
    expect::code("a Refresh of the other family", &ended, 443)?;
    expect::success("a Refresh of its own family", &client.ask_signed(refresh(own))?)
}

fn data_does_not_refresh(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.client()?;
    let answer = client.ask_signed(allocate().lifetime(600))?;
    expect::lifetime("LIFETIME 600", &answer, 600)?;
    let start = Instant::now();
    let life = Duration::from_secs(600);
    client.permit(&[peer.address])?;
    client.bind(0x4000, peer.address)?;
    let mut relayed = None;
    while start.elapsed() < life - Duration::from_secs(5) {
        if start.elapsed().as_secs() % 200 == 199 {
            client.permit(&[peer.address])?;
        }
        client.send_on(0x4000, b"data")?;
        let from = peer.hears(b"data")?;
        peer.say(from, b"back")?;
        client.hears(b"back")?;
        relayed = Some(from);
        thread::sleep(Duration::from_secs(1));
    }
    relayed.ok_or_else(|| Finding::fail("data before the end", "none"))?;
    thread::sleep((life + Duration::from_secs(3)).saturating_sub(start.elapsed()));
    expect::code("a Refresh 603 s after the Allocate, with data all along", &client.refresh(None)?, 437)
}
