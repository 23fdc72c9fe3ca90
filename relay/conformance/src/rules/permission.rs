//! Permissions.

use std::{
    net::{Ipv6Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use turnpike_turn_client::{Writer, attribute, method};

use crate::{
    Rule, expect,
    finding::{Check, Finding},
    lab::Lab,
};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::core(
            70,
            "T9, T11.3",
            "a permission lives 300 s, then the peer's data is dropped, also on a channel",
        )
        .waiting(305, lives_300_seconds),
        Rule::wire(71, "T9", "a permission is for an address and any port", any_port),
        Rule::wire(
            72,
            "T10.2",
            "CreatePermission without a peer, or with one invalid: 400, none installed",
            invalid,
        ),
        Rule::wire(73, "T10.2", "CreatePermission with 10 addresses: all installed", ten),
        Rule::wire(
            74,
            "T10.2, T12.2",
            "a peer of another family in CreatePermission, ChannelBind: 443",
            other_family,
        ),
        Rule::config(76, "T10.2, T12.2", "one permission or channel too many: 508", too_many),
        Rule::wire(77, "T9", "peer's data without a permission: silence", without_permission),
        Rule::wire(78, "T9", "permissions of one allocation do not serve another", not_shared),
    ]
}

fn lives_300_seconds(lab: &Lab<'_>) -> Check {
    let (peer, other) = (lab.peer()?, lab.peer_elsewhere()?);
    let mut clients = [lab.client()?, lab.client()?];
    let mut relayed = Vec::new();
    for client in &mut clients {
        relayed.push(client.allocate()?);
    }
    let start = Instant::now();
    clients[0].permit(&[peer.address])?;
    clients[1].bind(0x4000, peer.address)?;
    thread::sleep(Duration::from_secs(294).saturating_sub(start.elapsed()));
    for (client, relayed) in clients.iter_mut().zip(&relayed) {
        peer.say(*relayed, b"at 294 s")?;
        client.hears(b"at 294 s")?;
        client.permit(&[other.address])?;
    }
    thread::sleep(Duration::from_millis(302_500).saturating_sub(start.elapsed()));
    for (client, relayed) in clients.iter_mut().zip(&relayed) {
        peer.say(*relayed, b"at 302 s")?;
        other.say(*relayed, b"control")?;
        client.hears(b"control")?;
    }
    Ok(())
}

fn any_port(lab: &Lab<'_>) -> Check {
    let (peer, second) = (lab.peer()?, lab.peer()?);
    let mut client = lab.client()?;
    let relayed = client.allocate()?;
    client.permit(&[SocketAddr::new(peer.address.ip(), 0)])?;
    for one in [&peer, &second] {
        one.say(relayed, b"from any port")?;
        client.hears(b"from any port")?;
        client.send_to(one.address, b"to any port")?;
        one.hears(b"to any port")?;
    }
    Ok(())
}

fn invalid(lab: &Lab<'_>) -> Check {
    let (peer, control) = (lab.peer()?, lab.peer_elsewhere()?);
    let mut client = lab.client()?;
    let relayed = client.allocate()?;
    let request = || Writer::request(method::CREATE_PERMISSION);
    let none = client.ask_signed(request())?;
    expect::code("a CreatePermission without a peer", &none, 400)?;
    let bad: [(&str, &[u8]); 3] = [
        ("of 4 bytes", &[0, 1, 0, 0]),
        ("of family 3", &[0, 3, 0, 0, 1, 2, 3, 4]),
        ("of IPv6 with 4 bytes", &[0, 2, 0, 0, 1, 2, 3, 4]),
    ];
    for (what, value) in bad {
        for first in [true, false] {
            let bad = |request: Writer| request.attribute(attribute::XOR_PEER_ADDRESS, value);
            let built = match first {
                true => bad(request()).peer(peer.address),
                false => bad(request().peer(peer.address)),
            };
            let answer = client.ask_signed(built)?;
            expect::code(&format!("a CreatePermission with a peer {what}"), &answer, 400)?;
        }
    }
    client.permit(&[control.address])?;
    peer.say(relayed, b"not installed")?;
    control.say(relayed, b"control")?;
    client.hears(b"control").map(drop)
}

fn ten(lab: &Lab<'_>) -> Check {
    let peers = (0..10).map(|number| Ok(crate::peer::Peer::bind(lab.peer_ip(number)?)?));
    let peers: Vec<_> = peers.collect::<Result<_, Finding>>()?;
    let mut client = lab.client()?;
    let relayed = client.allocate()?;
    client.permit(&peers.iter().map(|peer| peer.address).collect::<Vec<_>>())?;
    for (number, peer) in peers.iter().enumerate() {
        let payload = format!("peer {number}");
        peer.say(relayed, payload.as_bytes())?;
        client.hears(payload.as_bytes())?;
    }
    Ok(())
}

fn other_family(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let relayed = client.allocate()?;
    if relayed.is_ipv6() {
        return Err(Finding::not_applicable("needs an IPv4 relayed address"));
    }
    let ipv6 = SocketAddr::new(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888).into(), 5000);
    expect::code("a CreatePermission for IPv6", &client.create_permission(&[ipv6])?, 443)?;
    expect::code("a ChannelBind to IPv6", &client.channel_bind(0x4000, ipv6)?, 443)
}

fn too_many(lab: &Lab<'_>) -> Check {
    let (permissions, channels) = (lab.target.max_permissions, lab.target.max_channels);
    if permissions.is_none() && channels.is_none() {
        let why = "needs a server with limits: --max-permissions N, --max-channels N";
        return Err(Finding::not_applicable(why));
    }
    if let Some(most) = permissions {
        let mut client = lab.allocated()?;
        for number in 0..=most {
            let peer = SocketAddr::from(([8, 8, (number >> 8) as u8, number as u8], 0));
            let answer = client.create_permission(&[peer])?;
            match number < most {
                true => expect::success(&format!("permission {} of {most}", number + 1), &answer)?,
                false => expect::code(&format!("permission {}", most + 1), &answer, 508)?,
            }
        }
    }
    if let Some(most) = channels {
        let mut client = lab.allocated()?;
        let peer = lab.peer_ip(0)?;
        for number in 0..=most {
            let peer = SocketAddr::new(peer, 20_000 + number as u16);
            let answer = client.channel_bind(0x4000 + number as u16, peer)?;
            match number < most {
                true => expect::success(&format!("channel {} of {most}", number + 1), &answer)?,
                false => expect::code(&format!("channel {}", most + 1), &answer, 508)?,
            }
        }
    }
    Ok(())
}

fn without_permission(lab: &Lab<'_>) -> Check {
    let (peer, control) = (lab.peer()?, lab.peer_elsewhere()?);
    let mut client = lab.client()?;
    let relayed = client.allocate()?;
    peer.say(relayed, b"before any")?;
    client.permit(&[control.address])?;
    peer.say(relayed, b"without one")?;
    control.say(relayed, b"with one")?;
    client.hears(b"with one")?;
    client.is_silent("a peer's data without a permission")
}

fn not_shared(lab: &Lab<'_>) -> Check {
    let (peer, control) = (lab.peer()?, lab.peer_elsewhere()?);
    let mut owner = lab.permitted(&peer)?;
    let mut client = lab.client()?;
    client.credentials = owner.credentials.clone();
    let relayed = client.allocate()?;
    client.permit(&[control.address])?;
    peer.say(relayed, b"by another's permission")?;
    control.say(relayed, b"control")?;
    client.hears(b"control")?;
    client.send_to(peer.address, b"by another's permission")?;
    client.is_silent("a Send by another's permission")?;
    owner.send_to(peer.address, b"by its own")?;
    peer.hears(b"by its own").map(drop)
}
