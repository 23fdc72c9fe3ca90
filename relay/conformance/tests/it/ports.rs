use std::net::{SocketAddr, TcpListener, UdpSocket};

/// A port of 127.0.0.1 and ::1 that is free for UDP and TCP now, and not among the relay ports.
pub(crate) fn free() -> u16 {
    for _ in 0..1000 {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let others =
            [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1u16], port))];
        if others.iter().all(|address| UdpSocket::bind(address).is_ok()) {
            return port;
        }
    }
    panic!("no free port");
}

/// A first relay port with `count` ports behind it that are free on 127.0.0.1 now.
pub(crate) fn free_range(count: u16) -> u16 {
    (0..200u16)
        .map(|number| 20_000 + number * count)
        .find(|first| (*first..first + count).all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok()))
        .expect("some ports are free")
}
