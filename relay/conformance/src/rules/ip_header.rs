//! The IP headers of relayed datagrams, and what is kept in memory.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use turnpike_turn_client::{Writer, attribute, method};

use crate::{
    Rule,
    client::{Client, allocate},
    expect,
    finding::{Check, Finding},
    lab::Lab,
    peer::Peer,
    raw::{self, IpHeader, Sniffer},
};

/// Expedited forwarding, and ECN-capable.
const MARKED: u8 = 0xB8 | 0x02;

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(81, "T11.2", "Send with DONT-FRAGMENT: DF set, or dropped", dont_fragment),
        Rule::wire(95, "T14-16", "DSCP and ECN copied or 0, DF not set of its own accord", headers),
        Rule::inside(96, "T6", "the password is not kept in clear, only the key"),
    ]
}

fn sniffer(peer: &Peer) -> Result<Sniffer, Finding> {
    match peer.address.ip() {
        IpAddr::V4(ip) => Sniffer::open(ip),
        IpAddr::V6(_) => Err(Finding::not_applicable("needs an IPv4 peer")),
    }
}

fn dont_fragment(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut sniffer = sniffer(&peer)?;
    let mut client = lab.permitted(&peer)?;
    let send = Writer::indication(method::SEND).peer(peer.address);
    client.send(send.data(b"with DF").attribute(attribute::DONT_FRAGMENT, b"").bytes())?;
    client.send_to(peer.address, b"without DF")?;
    let (heard, _) =
        peer.next()?.ok_or_else(|| Finding::fail("the Send without DONT-FRAGMENT", "nothing"))?;
    if heard == b"without DF" {
        return is_refused_as_well(lab);
    }
    let seen = sniffer.header_of(b"with DF")?;
    expect::equal("DF", &seen.map(|header| header.dont_fragment), &Some(true))
}

/// Who drops such a Send says 420 to such an Allocate.
fn is_refused_as_well(lab: &Lab<'_>) -> Check {
    let answer = lab.client()?.ask_signed(allocate().attribute(attribute::DONT_FRAGMENT, b""))?;
    expect::code("an Allocate with DONT-FRAGMENT where such a Send is dropped", &answer, 420)
}

fn v4(address: SocketAddr) -> Result<SocketAddrV4, Finding> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => Err(Finding::not_applicable("needs IPv4 addresses")),
    }
}

/// DSCP and ECN are each as they came or zero; DF is not set where it was not.
fn is_copied_or_zero(what: &str, sent: IpHeader, seen: Option<IpHeader>) -> Check {
    let seen = seen.ok_or_else(|| Finding::fail(format!("{what} relayed"), "nothing"))?;
    let same_or_zero = |mask: u8| [0, sent.tos & mask].contains(&(seen.tos & mask));
    let right = same_or_zero(0xFC) && same_or_zero(0x03) && (sent.dont_fragment || !seen.dont_fragment);
    let expected = format!("{what}: TOS {:#04x} or 0, DF {}", sent.tos, u8::from(sent.dont_fragment));
    expect::that(right, expected, format!("TOS {:#04x}, DF {}", seen.tos, u8::from(seen.dont_fragment)))
}

fn headers(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut to_peer = sniffer(&peer)?;
    let mut client = lab.client()?;
    let relayed = client.allocate()?;
    client.permit(&[peer.address])?;
    if lab.target.transport.is_stream() {
        client.send_to(peer.address, b"from a stream")?;
        let plain = IpHeader { tos: 0, dont_fragment: false };
        return is_copied_or_zero("data from a stream", plain, to_peer.header_of(b"from a stream")?);
    }
    both_ways(lab, &mut client, &peer, relayed, &mut to_peer)
}

fn both_ways(
    lab: &Lab<'_>,
    client: &mut Client,
    peer: &Peer,
    relayed: SocketAddr,
    to_peer: &mut Sniffer,
) -> Check {
    let (own, server) = (v4(client.address()?)?, v4(lab.target.server)?);
    for sent in [IpHeader { tos: 0, dont_fragment: false }, IpHeader { tos: MARKED, dont_fragment: false }] {
        let payload = format!("to the peer {:#04x}", sent.tos);
        let send = Writer::indication(method::SEND).peer(peer.address).data(payload.as_bytes());
        raw::send_udp(own, server, sent, send.bytes())?;
        is_copied_or_zero("data to the peer", sent, to_peer.header_of(payload.as_bytes())?)?;
    }
    client.bind(0x4000, peer.address)?;
    let mut to_client = Sniffer::open(*own.ip())?;
    for sent in [IpHeader { tos: 0, dont_fragment: false }, IpHeader { tos: MARKED, dont_fragment: false }] {
        let payload = format!("to the client {:#04x}", sent.tos);
        raw::send_udp(v4(peer.address)?, v4(relayed)?, sent, payload.as_bytes())?;
        let message = turnpike_turn_client::channel_data::encode(0x4000, payload.as_bytes());
        is_copied_or_zero("data to the client", sent, to_client.header_of(&message)?)?;
    }
    Ok(())
}
