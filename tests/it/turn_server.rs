//! The server of the `turn` crate, in a process of its own, to be compared with.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use turn::{
    auth::AuthHandler,
    relay::relay_static::RelayAddressGeneratorStatic,
    server::{
        Server,
        config::{ConnConfig, ServerConfig},
    },
};
use turnpike_turn_client::{Writer, method};
use webrtc_util::vnet::net::Net;

const LISTEN: &str = "THE_TURN_CRATES_SERVER_LISTENS_ON";
const PATIENCE: Duration = Duration::from_secs(20);

/// A running one, killed when dropped.
pub(crate) struct TurnServer {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl TurnServer {
    /// Starts this very test binary, which then is that server and nothing else.
    pub(crate) fn start() -> Self {
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let process = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "turn_server::the_server_of_the_turn_crate"])
            .env(LISTEN, free.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, address: free };
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let binding = Writer::request(method::BINDING).finish();
            client.send_to(&binding, free).unwrap();
            if client.recv(&mut [0; 512]).is_ok() {
                return server;
            }
            assert!(Instant::now() < deadline, "it does not answer");
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Nobody;

impl AuthHandler for Nobody {
    fn auth_handle(&self, _: &str, _: &str, _: SocketAddr) -> Result<Vec<u8>, turn::Error> {
        Err(turn::Error::ErrNoSuchUser)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process of `TurnServer`"]
async fn the_server_of_the_turn_crate() {
    let Ok(listen) = env::var(LISTEN) else { return };
    let conn = Arc::new(tokio::net::UdpSocket::bind(listen).await.unwrap());
    let relay_addr_generator = Box::new(RelayAddressGeneratorStatic {
        relay_address: Ipv4Addr::LOCALHOST.into(),
        address: "127.0.0.1".into(),
        net: Arc::new(Net::new(None)),
    });
    let config = ServerConfig {
        conn_configs: vec![ConnConfig { conn, relay_addr_generator }],
        realm: "turnpike".into(),
        auth_handler: Arc::new(Nobody),
        channel_bind_timeout: Duration::from_secs(0),
        alloc_close_notify: None,
    };
    let _server = Server::new(config).await.unwrap();
    std::future::pending().await
}
