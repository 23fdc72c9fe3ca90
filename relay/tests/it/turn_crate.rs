//! A client that is not ours: the `turn` crate's.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::UdpSocket;
use turn::client::{Client, ClientConfig};
use turnpike_relay_api::credential::Limits;
use webrtc_util::Conn;

use crate::harness::{PATIENCE, REALM, Server, credential};

async fn client(server: &Server, subject: &str) -> Client {
    let credential = credential(subject, &Limits::default());
    let client = Client::new(ClientConfig {
        stun_serv_addr: server.address().to_string(),
        turn_serv_addr: server.address().to_string(),
        username: credential.username,
        password: credential.password.to_string(),
        realm: REALM.to_owned(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap()),
        vnet: None,
    })
    .await
    .unwrap();
    client.listen().await.unwrap();
    client
}

const OPENING: &[u8] = b"opens";

/// The next payload that is not the opening one.
async fn receive(conn: &(impl Conn + ?Sized)) -> (Vec<u8>, SocketAddr) {
    loop {
        let mut buffer = vec![0; 2_048];
        let received = tokio::time::timeout(PATIENCE, conn.recv_from(&mut buffer)).await;
        let (len, from) = received.expect("nothing arrives").unwrap();
        buffer.truncate(len);
        if buffer != OPENING {
            return (buffer, from);
        }
    }
}

#[tokio::test]
async fn the_turn_crates_client_relays_both_ways() {
    let server = Server::start(|config| config.relay.shards = 2);
    let client = client(&server, "turn-crate").await;
    client.send_binding_request().await.unwrap();
    let relay = client.allocate().await.unwrap();
    let relayed = relay.local_addr().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let peer_address = peer.local_addr().unwrap();
    // The first ones go as Send indications, until its channel is bound.
    for nth in 0..200_u32 {
        let payload = nth.to_be_bytes();
        relay.send_to(&payload, peer_address).await.unwrap();
        let mut buffer = [0; 64];
        let received = tokio::time::timeout(PATIENCE, peer.recv_from(&mut buffer)).await;
        let (len, from) = received.expect("nothing arrives at the peer").unwrap();
        assert_eq!((&buffer[..len], from), (&payload[..], relayed));
        peer.send_to(&payload, relayed).await.unwrap();
        assert_eq!(receive(&relay).await, (payload.to_vec(), peer_address));
    }
    let session = server.session(relayed).await;
    assert_eq!((session.traffic.peer_out.packets, session.traffic.peer_in.packets), (200, 200));
    assert_eq!(session.channels, 1);
    relay.close().await.unwrap();
    crate::log::line("allocation closed", "turn-crate").await;
    client.close().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn two_of_the_turn_crates_clients_reach_each_other() {
    let server = Server::start(|config| config.relay.shards = 2);
    let (one, two) = (client(&server, "turn-one").await, client(&server, "turn-two").await);
    let (one_relay, two_relay) = (one.allocate().await.unwrap(), two.allocate().await.unwrap());
    let (one_at, two_at) = (one_relay.local_addr().unwrap(), two_relay.local_addr().unwrap());
    // The first datagram to a peer asks for permission before it goes. It may find the other side without.
    one_relay.send_to(OPENING, two_at).await.unwrap();
    two_relay.send_to(OPENING, one_at).await.unwrap();
    for nth in 0..100_u32 {
        one_relay.send_to(&nth.to_be_bytes(), two_at).await.unwrap();
        let (payload, from) = receive(&two_relay).await;
        assert_eq!((&payload[..], from), (&nth.to_be_bytes()[..], one_at));
        two_relay.send_to(&payload, one_at).await.unwrap();
        assert_eq!(receive(&one_relay).await, (payload, two_at));
    }
    let traffic = server.session(one_at).await.traffic;
    assert_eq!(traffic.hairpin, traffic.peer_out);
    one.close().await.unwrap();
    two.close().await.unwrap();
    server.stop().await;
}
