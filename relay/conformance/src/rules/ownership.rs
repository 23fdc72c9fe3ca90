//! Whose allocation it is, and what happens without one.

use turnpike_turn_client::{AlgorithmChoice, Signer, Writer, attribute, channel_data, method};

use crate::{
    Rule,
    client::{allocate, relayed},
    expect,
    finding::Check,
    lab::Lab,
};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(
            42,
            "T5",
            "another valid user on an allocation, any request but Allocate: 441",
            other_users,
        ),
        Rule::wire(
            43,
            "T5",
            "Refresh, CreatePermission, ChannelBind without an allocation: 437",
            no_allocation,
        ),
        Rule::wire(44, "T5", "Send, ChannelData without an allocation: silence", data_without_allocation),
        Rule::wire(45, "T7.2-2", "Allocate on a used 5-tuple with a new transaction: 437", second_allocate),
        Rule::wire(
            46,
            "T7.2 note",
            "Allocate again with the same transaction: success, same relayed address",
            repeated_allocate,
        ),
    ]
}

fn other_users(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.allocated()?;
    let owner = client.signer()?;
    let other = Signer::new(&lab.credentials(), owner.challenge.clone(), AlgorithmChoice::Legacy);
    let requests = [
        ("Refresh 0", Writer::request(method::REFRESH).lifetime(0)),
        ("CreatePermission", Writer::request(method::CREATE_PERMISSION).peer(peer.address)),
        ("ChannelBind", Writer::request(method::CHANNEL_BIND).channel_number(0x4000).peer(peer.address)),
    ];
    for (what, request) in requests {
        let answer = client.ask(&other.sign(request))?;
        expect::code(&format!("{what} by another user"), &answer, 441)?;
    }
    expect::success("a Refresh by the owner", &client.refresh(None)?)
}

fn no_allocation(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.client()?;
    expect::code("ChannelBind", &client.channel_bind(0x4000, peer.address)?, 437)?;
    expect::code("CreatePermission", &client.create_permission(&[peer.address])?, 437)?;
    expect::code("Refresh", &client.refresh(None)?, 437)?;
    expect::code("Refresh 0", &client.refresh(Some(0))?, 437)
}

fn data_without_allocation(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.client()?;
    let send = Writer::indication(method::SEND).peer(peer.address).data(b"without an allocation");
    client.is_silent_about("a Send without an allocation", send.bytes())?;
    client.send(&channel_data::encode(0x4000, b"without one"))?;
    client.is_silent("ChannelData without an allocation")?;
    client.allocate()?;
    client.permit(&[peer.address])?;
    client.send_to(peer.address, b"with one")?;
    peer.hears(b"with one").map(drop)
}

fn second_allocate(lab: &Lab<'_>) -> Check {
    let mut client = lab.allocated()?;
    let answer = client.ask_signed(allocate())?;
    expect::code("a second Allocate", &answer, 437)?;
    expect::lacks("that 437", &answer, &[attribute::XOR_RELAYED_ADDRESS])?;
    expect::success("a Refresh of the first", &client.refresh(None)?)
}

fn repeated_allocate(lab: &Lab<'_>) -> Check {
    lab.only_over_udp("only datagrams are retransmitted")?;
    let mut client = lab.client()?;
    let request = client.signer()?.sign(allocate());
    let first = client.ask(&request)?;
    expect::success("an Allocate", &first)?;
    for _ in 0..3 {
        let again = client.ask(&request)?;
        expect::success("the same Allocate again", &again)?;
        expect::equal("XOR-RELAYED-ADDRESS", &relayed(&again)?, &relayed(&first)?)?;
    }
    Ok(())
}
