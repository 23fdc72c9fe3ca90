//! The shape of answers.

use turnpike_turn_client::{Class, Message, Writer, attribute, method};

use crate::{
    Rule,
    client::{Client, allocate, relayed},
    describe, expect,
    finding::{Check, Finding},
    lab::Lab,
};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(
            20,
            "S6.3.1.1, S14.8",
            "every error has an ERROR-CODE: class 3-6, number 0-99, reason under 128 characters",
            error_codes,
        ),
        Rule::config(
            21,
            "T5, S16.1.2",
            "SOFTWARE in Allocate and Refresh answers when configured, none when not",
            software,
        ),
        Rule::wire(
            22,
            "S6.3.1, T5, T8.2",
            "a retransmission gives the same result and has no second effect",
            retransmissions,
        ),
        Rule::wire(38, "S9.2.4", "every answer after authentication is signed, errors too", signatures),
    ]
}

/// Requests that a client without an allocation is refused.
fn refused_requests(client: &mut Client) -> Result<Vec<Message>, Finding> {
    let unknown = Writer::request(method::BINDING).attribute(0x7F01, b"");
    let incomplete = Writer::request(method::ALLOCATE).message_integrity(b"key");
    Ok(vec![
        client.ask(&allocate())?,
        client.ask(&unknown)?,
        client.ask(&incomplete)?,
        client.ask_signed(Writer::request(method::ALLOCATE))?,
        client.ask_signed(Writer::request(method::ALLOCATE).requested_transport(132))?,
        client.ask_signed(Writer::request(method::REFRESH))?,
    ])
}

fn error_codes(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    for answer in refused_requests(&mut client)? {
        let seen = describe::message(&answer);
        let error = answer
            .error_code()
            .filter(|_| answer.kind().class() == Class::Error)
            .ok_or_else(|| Finding::fail("an error with ERROR-CODE", seen.clone()))?;
        let in_range = (3..=6).contains(&error.class) && error.number < 100 && error.reserved == 0;
        let expected = "class 3-6, number 0-99, the rest zero";
        expect::that(in_range, expected, format!("class {} number {}", error.class, error.number))?;
        let reason = std::str::from_utf8(error.reason).map(|reason| reason.chars().count());
        let short = reason.is_ok_and(|length| length < 128);
        expect::that(
            short,
            "a reason in UTF-8 of under 128 characters",
            format!("{} bytes", error.reason.len()),
        )?;
    }
    Ok(())
}

fn software(lab: &Lab<'_>) -> Check {
    let configured = lab
        .target
        .software
        .ok_or_else(|| Finding::not_applicable("needs to know the setting: --software on|off"))?;
    let mut client = lab.client()?;
    let allocated = client.ask_signed(allocate())?;
    let refreshed = client.refresh(None)?;
    for (what, answer) in [("an Allocate success", allocated), ("a Refresh success", refreshed)] {
        expect::success(what, &answer)?;
        match configured {
            true => expect::has(what, &answer, &[attribute::SOFTWARE])?,
            false => expect::lacks(what, &answer, &[attribute::SOFTWARE])?,
        }
    }
    Ok(())
}

fn retransmissions(lab: &Lab<'_>) -> Check {
    lab.only_over_udp("only datagrams are retransmitted")?;
    let peer = lab.peer()?;
    let mut client = lab.client()?;
    let signer = client.signer()?;
    let request = signer.sign(allocate());
    let first = client.ask(&request)?;
    expect::success("an Allocate", &first)?;
    let again = client.ask(&request)?;
    expect::success("the same Allocate again", &again)?;
    expect::equal("the same relayed address", &relayed(&again)?, &relayed(&first)?)?;
    let request = signer.sign(Writer::request(method::CREATE_PERMISSION).peer(peer.address));
    let bind = signer.sign(Writer::request(method::CHANNEL_BIND).channel_number(0x4000).peer(peer.address));
    for (what, request) in [("CreatePermission", request), ("ChannelBind", bind)] {
        expect::success(what, &client.ask(&request)?)?;
        expect::success(&format!("the same {what} again"), &client.ask(&request)?)?;
    }
    let end = signer.sign(Writer::request(method::REFRESH).lifetime(0));
    expect::success("Refresh 0", &client.ask(&end)?)?;
    let again = client.ask(&end)?;
    let expected = "success or 437 for the same Refresh 0 again";
    expect::that(again.is_success() || again.code() == 437, expected, describe::message(&again))
}

fn signatures(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.client()?;
    let signer = client.signer()?;
    let request = Writer::request;
    let steps = [
        ("Refresh without an allocation", request(method::REFRESH), false),
        ("Allocate without REQUESTED-TRANSPORT", request(method::ALLOCATE), false),
        ("Allocate of another transport", request(method::ALLOCATE).requested_transport(132), false),
        ("Allocate with an unknown attribute", allocate().attribute(0x7F01, b""), false),
        ("Allocate", allocate(), true),
        ("a second Allocate", allocate(), false),
        ("CreatePermission", request(method::CREATE_PERMISSION).peer(peer.address), true),
        ("CreatePermission without a peer", request(method::CREATE_PERMISSION), false),
        ("ChannelBind", request(method::CHANNEL_BIND).channel_number(0x4000).peer(peer.address), true),
        ("ChannelBind without a number", request(method::CHANNEL_BIND).peer(peer.address), false),
        ("Refresh 0", request(method::REFRESH).lifetime(0), true),
    ];
    for (what, request, succeeds) in steps {
        let answer = client.ask(&signer.sign(request))?;
        let expected = format!("{} for {what}", if succeeds { "success" } else { "an error" });
        expect::that(answer.is_success() == succeeds, expected, describe::message(&answer))?;
        expect::that(
            signer.verifies(&answer),
            format!("a right MESSAGE-INTEGRITY in the answer to {what}"),
            describe::message(&answer),
        )?;
    }
    Ok(())
}
