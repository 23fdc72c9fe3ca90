//! The client of the `turn` crate against this relay.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::UdpSocket, time::timeout};
use turn::client::{Client, ClientConfig};
use turnpike_relay_api::credential::{Limits, mint};
use webrtc_util::Conn;

use crate::node::{Node, SECRET, in_an_hour};

const MESSAGES: usize = 50;

#[tokio::test]
async fn it_relays_both_ways() {
    let node = Node::relay("");
    let client = client(node.site.turn).await;
    client.listen().await.unwrap();
    let relayed = client.allocate().await.unwrap();
    let relayed_address = relayed.local_addr().unwrap();
    assert!(node.site.ports.relay_range().contains(&relayed_address.port()));

    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let peer_address = peer.local_addr().unwrap();
    for size in (0..MESSAGES).map(|number| 1 + number * 25) {
        let payload = vec![u8::try_from(size % 251).unwrap(); size];
        relayed.send_to(&payload, peer_address).await.unwrap();
        assert_eq!(received(&peer).await, (payload.clone(), relayed_address), "to the peer");
        peer.send_to(&payload, relayed_address).await.unwrap();
        let mut buffer = vec![0; 2000];
        let answer = timeout(Duration::from_secs(5), relayed.recv_from(&mut buffer)).await;
        let (length, from) = answer.expect("it comes back").unwrap();
        assert_eq!((&buffer[..length], from), (&payload[..], peer_address), "from the peer");
    }
    relayed.close().await.unwrap();
    client.close().await.unwrap();
}

async fn client(server: SocketAddr) -> Client {
    let credential = mint(SECRET.as_bytes(), in_an_hour(), "turn-crate", &Limits::default()).unwrap();
    let config = ClientConfig {
        stun_serv_addr: server.to_string(),
        turn_serv_addr: server.to_string(),
        username: credential.username,
        password: credential.password.to_string(),
        realm: "turnpike".to_owned(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap()),
        vnet: None,
    };
    Client::new(config).await.unwrap()
}

async fn received(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 2000];
    let datagram = timeout(Duration::from_secs(5), socket.recv_from(&mut buffer)).await;
    let (length, from) = datagram.expect("it arrives").unwrap();
    buffer.truncate(length);
    (buffer, from)
}
