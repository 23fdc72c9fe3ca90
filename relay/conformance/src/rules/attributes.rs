//! Attributes that are unknown, padded, repeated or behind the integrity.

use turnpike_turn_client::{Message, Writer, attribute, method};

use crate::{
    Rule,
    client::{Via, allocate},
    describe, expect,
    finding::{Check, Finding},
    lab::Lab,
};

/// Two comprehension-required and two optional types that nobody has assigned.
const REQUIRED: [u16; 2] = [0x7F01, 0x7F02];
const OPTIONAL: [u16; 2] = [0xBF01, 0xFF02];

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(
            8,
            "S6.3.1",
            "unknown required attribute in a request: 420 that lists them all",
            required_in_requests,
        ),
        Rule::wire(
            9,
            "S6.3.2",
            "unknown required attribute in an indication: dropped",
            required_in_indications,
        ),
        Rule::wire(10, "S6.3, S14", "unknown optional attribute: ignored", optional),
        Rule::wire(11, "S14", "any padding is taken, zero padding is sent", padding),
        Rule::wire(13, "S14", "of two equal attributes the first counts", duplicates),
        Rule::wire(14, "S9, S14.5-6", "attributes behind MESSAGE-INTEGRITY are ignored", behind_integrity),
    ]
}

fn required_in_requests(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let with =
        |request: Writer| REQUIRED.iter().fold(request, |request, kind| request.attribute(*kind, b"abcd"));
    let listed = |what: &str, answer: &Message| {
        expect::code(what, answer, 420)?;
        let mut unknown = answer.unknown_attributes();
        unknown.sort_unstable();
        unknown.dedup();
        expect::equal("UNKNOWN-ATTRIBUTES", &unknown, &REQUIRED.to_vec())
    };
    listed("a Binding", &client.ask(&with(Writer::request(method::BINDING)))?)?;
    listed("an Allocate", &client.ask_signed(with(allocate()))?)
}

fn required_in_indications(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.permitted(&peer)?;
    let indication = Writer::indication(method::SEND).peer(peer.address);
    client.send(indication.attribute(REQUIRED[0], b"abcd").data(b"with it").bytes())?;
    client.send_to(peer.address, b"without it")?;
    peer.hears(b"without it").map(drop)
}

fn optional(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.client()?;
    let with =
        |request: Writer| OPTIONAL.iter().fold(request, |request, kind| request.attribute(*kind, b"abc"));
    let answer = client.ask(&with(Writer::request(method::BINDING)))?;
    expect::success("a Binding with optional attributes", &answer)?;
    client.allocate_with(with(allocate()))?;
    client.permit(&[peer.address])?;
    let indication = Writer::indication(method::SEND).peer(peer.address);
    client.send(with(indication).data(b"with optional attributes").bytes())?;
    peer.hears(b"with optional attributes").map(drop)
}

fn padding(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.client()?;
    let answer = client.ask(&Writer::request(method::BINDING).attribute_padded_with(
        attribute::SOFTWARE,
        b"x",
        0xFF,
    ))?;
    expect::success("a Binding with padding of ones", &answer)?;
    let refused = client.ask(&allocate())?;
    is_padded_with_zero(&refused)?;
    let relayed = client.allocate()?;
    client.permit(&[peer.address])?;
    for payload in [&b"1"[..], b"12", b"123", b"1234"] {
        let indication = Writer::indication(method::SEND).peer(peer.address);
        client.send(indication.attribute_padded_with(attribute::DATA, payload, 0xFF).bytes())?;
        peer.hears(payload)?;
        peer.say(relayed, payload)?;
        let received = client.connection.receive(std::time::Duration::from_millis(1500));
        let bytes = received.ok().flatten().ok_or_else(|| Finding::fail("a Data indication", "silence"))?;
        let message = Message::read(bytes)
            .map_err(|error| Finding::fail("a Data indication", format!("a message {error}")))?;
        is_padded_with_zero(&message)?;
    }
    Ok(())
}

fn is_padded_with_zero(message: &Message) -> Check {
    let dirty = message.attributes().find(|attribute| attribute.padding.iter().any(|byte| *byte != 0));
    dirty.map_or(Ok(()), |dirty| {
        let name = describe::attribute_name(dirty.kind);
        Err(Finding::fail(format!("zero padding behind {name}"), format!("{:02x?}", dirty.padding)))
    })
}

fn duplicates(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let answer = client.ask_signed(allocate().requested_transport(6))?;
    expect::success("REQUESTED-TRANSPORT 17, then 6", &answer)?;
    let mut client = lab.client()?;
    let request = Writer::request(method::ALLOCATE).requested_transport(6).requested_transport(17);
    expect::code("REQUESTED-TRANSPORT 6, then 17", &client.ask_signed(request)?, 442)
}

fn behind_integrity(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.allocated()?;
    let signer = client.signer()?;
    let ended = client.ask(&signer.sign(Writer::request(method::REFRESH)).lifetime(0))?;
    expect::success("a Refresh with LIFETIME 0 behind the integrity", &ended)?;
    expect::that(
        ended.u32(attribute::LIFETIME) != Some(0),
        "LIFETIME 0 behind the integrity ignored",
        "LIFETIME 0",
    )?;
    let permitted =
        client.ask(&signer.sign(Writer::request(method::CREATE_PERMISSION)).peer(peer.address))?;
    expect::code("a CreatePermission whose only peer is behind the integrity", &permitted, 400)?;
    let unknown =
        client.ask(&signer.sign(Writer::request(method::REFRESH)).attribute(REQUIRED[0], b"abcd"))?;
    expect::success("a Refresh with an unknown attribute behind the integrity", &unknown)?;
    client.permit(&[peer.address])?;
    client.send_to(peer.address, b"alive")?;
    let from = peer.hears(b"alive")?;
    peer.say(from, b"alive")?;
    let via = client.hears(b"alive")?;
    expect::equal("data by", &via, &Via::Indication(Some(peer.address)))
}
