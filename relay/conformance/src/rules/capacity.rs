//! Quotas, full pools and a server that sends its clients elsewhere.

use std::time::{Duration, Instant};

use turnpike_turn_client::{Message, attribute};

use crate::{
    Rule,
    client::{Client, allocate},
    describe, expect,
    finding::{Check, Finding},
    lab::Lab,
    peer::Peer,
};

/// Largest pool that is filled to see its end.
const SMALL_POOL: usize = 256;
/// How long data is sent for the limit of bits a second.
const SENDING: Duration = Duration::from_secs(3);
/// Payload of one datagram of that.
const PAYLOAD: usize = 1000;

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::config(59, "T7.2-10", "quota of a user: 486", quota),
        Rule::config(60, "T7.2, T19", "no port left: 508", no_port_left),
        Rule::config(
            65,
            "S14.8, S10, T7.2-11",
            "300 only to authenticated requests, signed, with ALTERNATE-SERVER",
            alternate_server,
        ),
        Rule::config(94, "T5, T21.3.1", "bit/s limit of a user: excess dropped, others unaffected", bitrate),
    ]
}

fn quota(lab: &Lab<'_>) -> Check {
    let quota =
        lab.target.quota.ok_or_else(|| Finding::not_applicable("needs a server with a quota: --quota N"))?;
    let user = lab.credentials();
    let mut clients: Vec<Client> = Vec::new();
    for number in 1..=quota + 1 {
        let mut client = lab.client()?;
        client.credentials = user.clone();
        let answer = client.ask_signed(allocate())?;
        match number > quota {
            false => expect::success(&format!("allocation {number} of {quota}"), &answer)?,
            true => expect::code(&format!("allocation {number} with a quota of {quota}"), &answer, 486)?,
        }
        clients.push(client);
    }
    let mut other = lab.client()?;
    expect::success("an Allocate by another user", &other.ask_signed(allocate())?)?;
    expect::success("Refresh 0", &clients[0].refresh(Some(0))?)?;
    let mut again = lab.client()?;
    again.credentials = user;
    expect::success("an Allocate once one has ended", &again.ask_signed(allocate())?)
}

fn no_port_left(lab: &Lab<'_>) -> Check {
    let pool = lab.target.ports.len();
    if pool > SMALL_POOL {
        return Err(Finding::not_applicable("needs a server with few ports: --ports FIRST-LAST"));
    }
    let mut clients = Vec::new();
    for _ in 0..pool {
        let mut client = lab.client()?;
        let answer = client.ask_signed(allocate())?;
        if !answer.is_success() {
            // A port of the range may be in use by another program.
            expect::that(
                clients.len() * 4 >= pool * 3,
                "success for most ports",
                describe::message(&answer),
            )?;
            return expect::code("an Allocate without a port left", &answer, 508);
        }
        clients.push(client);
    }
    let answer = lab.client()?.ask_signed(allocate())?;
    expect::code(&format!("allocation {} of {pool} ports", pool + 1), &answer, 508)
}

fn alternate_server(lab: &Lab<'_>) -> Check {
    let alternate = lab.target.alternate.ok_or_else(|| {
        Finding::not_applicable("needs a server that sends every Allocate elsewhere: --alternate HOST:PORT")
    })?;
    let mut client = lab.client()?;
    let unsigned = client.ask(&allocate())?;
    expect::code("an Allocate without credentials", &unsigned, 401)?;
    let signer = client.signer()?;
    let mut wrong = signer.clone();
    wrong.key[0] ^= 0x01;
    expect::code("an Allocate with a wrong MAC", &client.ask(&wrong.sign(allocate()))?, 401)?;
    let answer: Message = client.ask(&signer.sign(allocate()))?;
    expect::code("an Allocate", &answer, 300)?;
    expect::that(signer.verifies(&answer), "a signed 300", describe::message(&answer))?;
    expect::equal("ALTERNATE-SERVER", &answer.address(attribute::ALTERNATE_SERVER), &Some(alternate))
}

/// Sends at a steady rate for 3 s, and gives the payload bytes that reached the peer.
fn send(client: &mut Client, peer: &Peer, bits_per_second: u64) -> Result<u64, Finding> {
    let datagrams = bits_per_second * SENDING.as_secs() / (PAYLOAD as u64 * 8);
    let start = Instant::now();
    let mut heard = 0;
    for number in 0..datagrams {
        let due = SENDING.mul_f64(number as f64 / datagrams as f64);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        client.send_to(peer.address, &[0x5A; PAYLOAD])?;
        heard += peer.drain()?;
    }
    std::thread::sleep(Duration::from_millis(100));
    heard += peer.drain()?;
    Ok((heard * PAYLOAD) as u64)
}

fn bitrate(lab: &Lab<'_>) -> Check {
    let limit = lab.target.user_bitrate.ok_or_else(|| {
        Finding::not_applicable("needs a server with a limit of bits a second: --user-bitrate BITS")
    })?;
    let (peer, other_peer) = (lab.peer()?, lab.peer()?);
    let (mut client, mut other) = (lab.permitted(&peer)?, lab.permitted(&other_peer)?);
    let (over, under) = std::thread::scope(|scope| {
        let other = scope.spawn(|| send(&mut other, &other_peer, limit / 2));
        let over = send(&mut client, &peer, limit * 4);
        (over, other.join().expect("a sender does not panic"))
    });
    let allowed = limit / 8 * SENDING.as_secs();
    let (over, under) = (over?, under?);
    // Both bounds leave room for a bucket of a second, and for headers that a server may count.
    expect::that(
        over <= allowed * 3 / 2,
        format!("about {allowed} bytes of four times as many"),
        format!("{over} relayed"),
    )?;
    expect::that(over >= allowed / 2, format!("about {allowed} bytes"), format!("{over} relayed"))?;
    let sent = allowed / 2;
    expect::that(
        under >= sent * 95 / 100,
        format!("the other user's {sent} bytes relayed"),
        format!("{under} relayed"),
    )
}
