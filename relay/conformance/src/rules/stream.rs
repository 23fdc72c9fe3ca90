//! Streams.

use std::{
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, SockAddr, Socket, Type};
use turnpike_turn_client::{Transport, Writer, channel_data, method};

use crate::{
    Rule,
    client::{Client, Via, allocate},
    expect,
    finding::{Check, Finding},
    lab::Lab,
};

/// How long the server has to open a connection that it must not open.
const WATCHED: Duration = Duration::from_millis(50);

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(
            23,
            "S6.3.1.2, S6.2.2",
            "answers to requests over TCP come on the same connection; none is opened back",
            same_connection,
        ),
        Rule::wire(
            92,
            "T12.5",
            "over TCP and TLS ChannelData is padded to 4; a stream cut at every byte still parses",
            cut_everywhere,
        ),
    ]
}

fn same_connection(lab: &Lab<'_>) -> Check {
    let mut client = lab.stream_client()?;
    for _ in 0..3 {
        expect::success("a Binding", &client.ask(&Writer::request(method::BINDING))?)?;
    }
    expect::code("an Allocate without credentials", &client.ask(&allocate())?, 401)?;
    let address = client.address()?;
    client.send(allocate().bytes())?;
    drop(client);
    let Ok(listener) = listen_again(address) else { return Ok(()) };
    listener.set_nonblocking(true)?;
    let until = Instant::now() + WATCHED;
    while Instant::now() < until {
        if listener.accept().is_ok() {
            return Err(Finding::fail("no connection from the server", "one"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Listens where a connection has just been closed.
fn listen_again(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(4)?;
    Ok(socket.into())
}

fn cut_everywhere(lab: &Lab<'_>) -> Check {
    let peer = lab.peer()?;
    let mut client = lab.stream_client()?;
    let relayed = client.allocate()?;
    client.bind(0x4000, peer.address)?;
    for payload in [&b"1"[..], b"12", b"123", b"1234", b""] {
        peer.say(relayed, payload)?;
        expect::equal("data by", &client.hears(payload)?, &Via::Channel(0x4000))?;
        client.is_silent("padded ChannelData")?;
    }
    let stream = stream_of_all_kinds(peer.address);
    for cut in 1..stream.len() {
        let pieces = [&stream[..cut], &stream[cut..]];
        send_pieces(&mut client, &pieces, Duration::from_millis(1))?;
        all_of_it_is_taken(&mut client, &peer, &format!("a stream cut at byte {cut}"))?;
    }
    if client.connection.transport() == Transport::Tcp {
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        send_pieces(&mut client, &bytes, Duration::ZERO)?;
        all_of_it_is_taken(&mut client, &peer, "a stream in pieces of one byte")?;
    }
    Ok(())
}

/// ChannelData with padding, a Send and a Binding.
fn stream_of_all_kinds(peer: SocketAddr) -> Vec<u8> {
    let mut stream = channel_data::encode(0x4000, b"five!");
    stream.resize(stream.len().next_multiple_of(4), 0);
    stream.extend(Writer::indication(method::SEND).peer(peer).data(b"sent").bytes());
    stream.extend(Writer::request(method::BINDING).bytes());
    stream
}

fn send_pieces(client: &mut Client, pieces: &[&[u8]], pause: Duration) -> Check {
    for piece in pieces {
        client.connection.send_bytes(piece)?;
        thread::sleep(pause);
    }
    Ok(())
}

fn all_of_it_is_taken(client: &mut Client, peer: &crate::peer::Peer, what: &str) -> Check {
    peer.hears(b"five!")?;
    peer.hears(b"sent")?;
    let answered = client.connection.receive(Duration::from_millis(1500));
    let bytes =
        answered.ok().flatten().ok_or_else(|| Finding::fail(format!("an answer to {what}"), "silence"))?;
    let seen = crate::describe::bytes(&bytes);
    expect::that(seen.starts_with("Binding success"), format!("a Binding success for {what}"), seen)
}
