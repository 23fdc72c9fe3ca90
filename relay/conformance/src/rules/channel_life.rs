//! How long channels and their permissions live.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    Rule,
    client::{Client, Via, allocate},
    expect,
    finding::{Check, Finding},
    lab::Lab,
    peer::Peer,
};

const NUMBER: u16 = 0x4000;

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(
            88,
            "T12, T12.2, T12.6",
            "ChannelBind lives 600 s and sets a permission of 300 s, which only data to the client needs",
            permission_of_bind,
        )
        .waiting(606, bind_lives_600_seconds),
        Rule::core(90, "T12.6", "ChannelData refreshes neither binding nor permission")
            .waiting(606, data_does_not_refresh),
    ]
}

fn permission_of_bind(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.client()?;
    let relayed = client.allocate()?;
    client.bind(NUMBER, peer.address)?;
    client.send_on(NUMBER, b"to the peer")?;
    peer.hears(b"to the peer")?;
    peer.say(relayed, b"to the client")?;
    expect::equal("data by", &client.hears(b"to the client")?, &Via::Channel(NUMBER))?;
    let second = lab.peer()?;
    second.say(relayed, b"from another port")?;
    client.hears(b"from another port").map(drop)
}

/// An allocation that outlives its channel, and the moment of the ChannelBind.
fn bench(lab: &Lab<'_>, peer: &Peer) -> Result<(Client, Instant), Finding> {
    let mut client = lab.client()?;
    client.allocate_with(allocate().lifetime(1200))?;
    client.bind(NUMBER, peer.address)?;
    Ok((client, Instant::now()))
}

fn wait_until(start: Instant, seconds: u64) {
    thread::sleep(Duration::from_secs(seconds).saturating_sub(start.elapsed()));
}

fn reaches(client: &mut Client, peer: &Peer) -> Check {
    client.send_on(NUMBER, b"by channel")?;
    peer.hears(b"by channel").map(drop)
}

/// Data of `peer` is dropped: of two datagrams only the one of `control`, which has a permission, is heard.
fn is_not_heard(client: &mut Client, peer: &Peer, control: &Peer) -> Check {
    client.permit(&[control.address])?;
    client.send_to(control.address, b"where are you")?;
    let relayed = control.hears(b"where are you")?;
    peer.say(relayed, b"without a permission")?;
    control.say(relayed, b"control")?;
    client.hears(b"control").map(drop)
}

/// The channel is unbound: of ChannelData and a Send only the Send arrives.
fn is_unbound(client: &mut Client, peer: &Peer) -> Check {
    client.send_on(NUMBER, b"by a dead channel")?;
    client.permit(&[peer.address])?;
    client.send_to(peer.address, b"by Send")?;
    peer.hears(b"by Send").map(drop)
}

fn bind_lives_600_seconds(lab: &Lab<'_>) -> Check {
    let (peer, control) = (lab.peer()?, lab.peer_elsewhere()?);
    let (mut client, start) = bench(lab, &peer)?;
    wait_until(start, 303);
    is_not_heard(&mut client, &peer, &control)?;
    reaches(&mut client, &peer)?;
    client.refresh(Some(1200))?;
    wait_until(start, 594);
    reaches(&mut client, &peer)?;
    wait_until(start, 603);
    is_unbound(&mut client, &peer)
}

fn data_does_not_refresh(lab: &Lab<'_>) -> Check {
    let (peer, control) = (lab.peer()?, lab.peer_elsewhere()?);
    let (mut client, start) = bench(lab, &peer)?;
    for until in [299, 594] {
        while start.elapsed() < Duration::from_secs(until) {
            reaches(&mut client, &peer)?;
            thread::sleep(Duration::from_secs(3));
        }
        if until == 299 {
            wait_until(start, 304);
            is_not_heard(&mut client, &peer, &control)?;
            client.refresh(Some(1200))?;
        }
    }
    wait_until(start, 603);
    is_unbound(&mut client, &peer)
}
