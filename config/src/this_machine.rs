//! `run --dev`: nobody but this machine, and every address of it is fair play.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};

use crate::{Config, Host, RelayAddress, resolve::auto_urls};

impl Config {
    /// Listens and relays on loopback only, lets peers be on this machine and its private networks, drains at once.
    pub(crate) fn confine_to_this_machine(&mut self, host: &Host) {
        let local = Ipv4Addr::LOCALHOST;
        let Self { relay, signaling, .. } = self;
        for listener in relay.listen_udp.iter_mut().chain(&mut relay.listen_tcp).chain(&mut signaling.listen)
        {
            *listener = SocketAddr::from((local, listener.port()));
        }
        for listeners in [&mut self.relay.listen_udp, &mut self.relay.listen_tcp] {
            listeners.sort_unstable();
            listeners.dedup();
        }
        if let Some(tls) = &mut self.tls {
            tls.listen.iter_mut().for_each(|listener| *listener = SocketAddr::from((local, listener.port())));
            tls.listen.sort_unstable();
            tls.listen.dedup();
        }
        self.relay.relay_ipv4 = Some(RelayAddress { bound: local.into(), advertised: local.into() });
        self.relay.relay_ipv6 = None;
        self.relay.drain_timeout = Duration::ZERO;
        self.relay.allow_peers.extend(local_peers(host));
        (self.ice.stun_urls, self.ice.turn_urls) = auto_urls(None, &[local.into()], &self.relay, None);
    }
}

/// Loopback and private networks, and own addresses one by one: only a network of one address opens an own address.
fn local_peers(host: &Host) -> impl Iterator<Item = IpNet> {
    let networks = [([127, 0, 0, 0], 8), ([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16)];
    let networks = networks.map(|(address, prefix): ([u8; 4], u8)| {
        IpNet::from(Ipv4Net::new(address.into(), prefix).expect("a prefix is at most 32 bits"))
    });
    let own = host.addresses.iter().map(|own| own.address).chain([Ipv4Addr::LOCALHOST.into()]);
    networks.into_iter().chain(own.map(IpNet::from).collect::<Vec<_>>())
}
