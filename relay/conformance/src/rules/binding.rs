//! Binding, and how answers find their way back.

use std::{net::UdpSocket, time::Duration};

use turnpike_turn_client::{Message, Writer, attribute, method};

use crate::{
    Rule,
    client::Client,
    describe, expect,
    finding::{Check, Finding},
    lab::Lab,
};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(
            15,
            "S6.3.1.2",
            "the answer has the request's method and transaction, and comes from where it was sent",
            source_of_answers,
        ),
        Rule::wire(
            16,
            "S6.3.1.1, S14.2",
            "Binding success: XOR-MAPPED-ADDRESS is the source, IPv4",
            mapped_ipv4,
        ),
        Rule::config(17, "S14.2", "the same over IPv6", mapped_ipv6),
        Rule::wire(
            18,
            "S12, S6.3.2",
            "Binding needs no authentication; a Binding indication: silence",
            without_authentication,
        ),
        Rule::wire(19, "S12", "Binding over TCP as well as UDP", over_tcp),
    ]
}

fn source_of_answers(lab: &Lab<'_>) -> Check {
    if lab.target.transport.is_stream() {
        return has_method_and_transaction(&mut lab.client()?);
    }
    has_method_and_transaction(&mut lab.client()?)?;
    for server in [Some(lab.target.server), lab.target.also].into_iter().flatten() {
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = match lab.source(1).filter(|source| source.is_ipv4() == server.is_ipv4()) {
            Some(source) => UdpSocket::bind((source, 0))?,
            None => UdpSocket::bind(any)?,
        };
        socket.set_read_timeout(Some(Duration::from_millis(1500)))?;
        socket.send_to(Writer::request(method::BINDING).bytes(), server)?;
        let mut buffer = [0; 2048];
        let (_, from) = socket
            .recv_from(&mut buffer)
            .map_err(|_| Finding::fail(format!("an answer to a Binding sent to {server}"), "silence"))?;
        expect::equal("the answer's source", &from, &server)?;
    }
    Ok(())
}

/// Answers that do not match would not be found by the client: it asks, and finds them.
fn has_method_and_transaction(client: &mut Client) -> Check {
    for request in [Writer::request(method::BINDING), Writer::request(method::REFRESH)] {
        let answer = client.ask(&request)?;
        let expected =
            Message::read(request.bytes()).expect("a request of the writer can be read").kind().method();
        expect::equal("the answer's method", &answer.kind().method(), &expected)?;
    }
    Ok(())
}

fn is_mapped(client: &mut Client) -> Check {
    let answer = client.ask(&Writer::request(method::BINDING))?;
    expect::success("a Binding", &answer)?;
    let mapped = answer
        .xor_address(attribute::XOR_MAPPED_ADDRESS)
        .ok_or_else(|| Finding::fail("XOR-MAPPED-ADDRESS", describe::message(&answer)))?;
    expect::equal("XOR-MAPPED-ADDRESS", &mapped, &client.address()?)
}

fn mapped_ipv4(lab: &Lab<'_>) -> Check {
    if !lab.target.server.is_ipv4() {
        return Err(Finding::not_applicable("needs a run over IPv4"));
    }
    is_mapped(&mut lab.client()?)
}

fn mapped_ipv6(lab: &Lab<'_>) -> Check {
    is_mapped(&mut lab.ipv6_client()?)
}

fn without_authentication(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    expect::success("a Binding without credentials", &client.ask(&Writer::request(method::BINDING))?)?;
    client.is_silent_about("a Binding indication", Writer::indication(method::BINDING).bytes())
}

fn over_tcp(lab: &Lab<'_>) -> Check {
    is_mapped(&mut lab.stream_client()?)
}
