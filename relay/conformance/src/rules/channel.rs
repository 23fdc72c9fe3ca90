//! Channels.

use turnpike_turn_client::{Writer, channel_data, method};

use crate::{
    Rule,
    client::Via,
    expect,
    finding::{Check, Finding},
    lab::Lab,
};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(
            85,
            "T12.2, T12.6",
            "channel number outside 0x4000-0x4FFF: 400; ChannelData from 0x5000 on: silence",
            numbers,
        ),
        Rule::wire(86, "T12.2", "ChannelBind without a number or a peer: 400", incomplete),
        Rule::wire(
            87,
            "T12.2",
            "a number or a peer that is bound otherwise: 400; the same pair: refreshed",
            pairs,
        ),
        Rule::wire(89, "T12.5", "a bound peer's data comes as ChannelData", as_channel_data),
        Rule::wire(
            91,
            "T12.6",
            "ChannelData longer than its datagram: silence; padding ignored; length 0: an empty datagram",
            lengths,
        ),
    ]
}

fn numbers(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.allocated()?;
    for number in [0x0000, 0x3FFF, 0x5000, 0x7FFE, 0x8000, 0xFFFF] {
        let answer = client.channel_bind(number, peer.address)?;
        expect::code(&format!("channel {number:#06x}"), &answer, 400)?;
    }
    client.bind(0x4000, peer.address)?;
    let last = lab.peer()?;
    client.bind(0x4FFF, last.address)?;
    for number in [0x5000, 0x6000, 0x7FFF] {
        let data = channel_data::encode(number, b"out of range");
        match lab.target.transport.is_stream() {
            true => lab.client()?.is_silent_or_closed_about("ChannelData out of range", &data)?,
            false => client.is_silent_about("ChannelData out of range", &data)?,
        }
    }
    for (number, peer) in [(0x4000, &peer), (0x4FFF, &last)] {
        client.send_on(number, b"in range")?;
        peer.hears(b"in range")?;
    }
    Ok(())
}

fn incomplete(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.allocated()?;
    let request = || Writer::request(method::CHANNEL_BIND);
    let answer = client.ask_signed(request().peer(peer.address))?;
    expect::code("a ChannelBind without a number", &answer, 400)?;
    let answer = client.ask_signed(request().channel_number(0x4000))?;
    expect::code("a ChannelBind without a peer", &answer, 400)?;
    client.bind(0x4000, peer.address)
}

fn pairs(lab: &Lab<'_>) -> Check {
    let (peer, other) = (lab.peer()?, lab.peer()?);
    let mut client = lab.allocated()?;
    client.bind(0x4000, peer.address)?;
    let answer = client.channel_bind(0x4000, other.address)?;
    expect::code("the number with another port of the peer", &answer, 400)?;
    let answer = client.channel_bind(0x4001, peer.address)?;
    expect::code("the peer with another number", &answer, 400)?;
    client.bind(0x4000, peer.address)?;
    client.bind(0x4001, other.address)?;
    for (number, peer) in [(0x4000, &peer), (0x4001, &other)] {
        client.send_on(number, b"as bound")?;
        peer.hears(b"as bound")?;
    }
    Ok(())
}

fn as_channel_data(lab: &Lab<'_>) -> Check {
    let (peer, unbound) = (lab.peer()?, lab.peer()?);
    let mut client = lab.client()?;
    let relayed = client.allocate()?;
    client.bind(0x4ABC, peer.address)?;
    peer.say(relayed, b"by channel")?;
    expect::equal("data by", &client.hears(b"by channel")?, &Via::Channel(0x4ABC))?;
    client.send_to(peer.address, b"by Send all the same")?;
    peer.hears(b"by Send all the same")?;
    peer.say(relayed, b"by channel again")?;
    expect::equal("data by", &client.hears(b"by channel again")?, &Via::Channel(0x4ABC))?;
    unbound.say(relayed, b"by indication")?;
    let via = client.hears(b"by indication")?;
    expect::equal("data of another port by", &via, &Via::Indication(Some(unbound.address)))
}

fn lengths(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.allocated()?;
    client.bind(0x4000, peer.address)?;
    if !lab.target.transport.is_stream() {
        let whole = channel_data::encode(0x4000, b"too long");
        for short in [&whole[..whole.len() - 1], &whole[..4], &whole[..3], &whole[..1]] {
            client.is_silent_about("ChannelData longer than its datagram", short)?;
        }
        let mut padded = channel_data::encode(0x4000, b"padded");
        padded.resize(padded.len().next_multiple_of(4), 0xEE);
        client.connection.send_bytes(&padded)?;
        peer.hears(b"padded")?;
    }
    client.send_on(0x4000, b"")?;
    let (heard, _) =
        peer.next()?.ok_or_else(|| Finding::fail("an empty datagram for length 0", "nothing"))?;
    expect::equal("its length", &heard.len(), &0)
}
