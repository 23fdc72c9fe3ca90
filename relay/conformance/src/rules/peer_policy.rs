//! Peers that are refused.

use std::net::{Ipv6Addr, SocketAddr};

use turnpike_turn_client::attribute;

use crate::{
    Rule,
    client::{allocate, relayed},
    expect,
    finding::{Check, Finding},
    lab::Lab,
    peer::Peer,
};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::config(
            75,
            "T10.2, 12.2, 11.2",
            "a forbidden peer: 403 in CreatePermission and ChannelBind, silence in Send",
            forbidden,
        ),
        Rule::config(93, "T21.4 MUST NOT", "Teredo and 6to4 are refused as peers (and as clients)", tunnels),
    ]
}

fn forbidden(lab: &Lab<'_>) -> Check {
    let denied = lab.target.denied_peer.ok_or_else(|| {
        Finding::not_applicable("needs an address of this machine that the server refuses: --denied-peer IP")
    })?;
    let (denied, control) = (Peer::bind(denied)?, lab.peer()?);
    let mut client = lab.allocated()?;
    let answer = client.create_permission(&[denied.address])?;
    expect::code("a CreatePermission for a forbidden peer", &answer, 403)?;
    let answer = client.channel_bind(0x4000, denied.address)?;
    expect::code("a ChannelBind to a forbidden peer", &answer, 403)?;
    client.permit(&[control.address])?;
    client.send_to(denied.address, b"forbidden")?;
    client.is_silent("a Send to a forbidden peer")?;
    client.send_to(control.address, b"control")?;
    control.hears(b"control")?;
    expect::equal("datagrams at the forbidden peer", &denied.drain()?, &0)
}

fn tunnels(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let answer =
        client.ask_signed(allocate().attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]))?;
    if answer.code() == 440 {
        return Err(Finding::not_applicable("needs a server with IPv6 relayed addresses"));
    }
    expect::success("an Allocate of IPv6", &answer)?;
    relayed(&answer)?;
    let public = [0x0808, 0x0808];
    for (what, peer) in [
        ("Teredo", Ipv6Addr::new(0x2001, 0, public[0], public[1], 0, 0x63BF, !public[0], !public[1])),
        ("6to4", Ipv6Addr::new(0x2002, public[0], public[1], 0, 0, 0, 0, 1)),
    ] {
        let peer = SocketAddr::new(peer.into(), 5000);
        expect::code(&format!("a CreatePermission for {what}"), &client.create_permission(&[peer])?, 403)?;
        expect::code(&format!("a ChannelBind to {what}"), &client.channel_bind(0x4000, peer)?, 403)?;
    }
    Ok(())
}
