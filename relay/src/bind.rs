//! Opening everything that a relay needs, before it serves: what cannot be had is told in one sentence.

use std::{
    hash::RandomState,
    io,
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use rustix::io::Errno;
use socket2::Socket;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use turnpike_config::{Config, RelayAddress};
use turnpike_proto::{ByFamily, Family, Server, SharedBucket, SourceLimits, Transport};

use crate::{
    Listener, StartError,
    admin::{self, AdminPath},
    budget::Budget,
    clock::Clock,
    cost::Prices,
    front_door::{self, FrontDoor, Reception},
    host,
    io::{open_group, open_relay_socket, open_tcp_group},
    ledger::Ledger,
    lock::StateLock,
    logins::{Logins, OwnLogin},
    metrics::{self, host::Devices},
    reload::LastReload,
    revocations::Revocations,
    ring,
    self_test::SelfTest,
    shard::{Listeners, Node, Shard, Sockets},
    shared::{Limits, MAX_SHARDS, Shared},
    snapshot::Board,
    tls::{Tls, acme},
    upkeep::Upkeep,
    view::{VERSION, View},
    webhook::{self, Webhook},
    worker::Worker,
};

/// What a relay listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// STUN and TURN over UDP.
    pub udp: Vec<SocketAddr>,
    /// The same over TCP.
    pub tcp: Vec<SocketAddr>,
    /// The same over TLS, and HTTPS.
    pub tls: Vec<SocketAddr>,
    /// The admin API.
    pub admin_socket: PathBuf,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub metrics: Option<SocketAddr>,
}

/// A relay with everything bound. It serves once [`Relay::serve`] is called; until then, datagrams wait in the kernel.
pub struct Relay {
    listening: Listening,
    pub(crate) view: Arc<View>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) any_shard_ended: CancellationToken,
    pub(crate) admin: UnixListener,
    pub(crate) metrics: Option<TcpListener>,
    pub(crate) reception: Option<Reception>,
    pub(crate) acme: Option<Acme>,
    pub(crate) drain_timeout: Duration,
    pub(crate) webhook: Option<Webhook>,
    _admin_path: AdminPath,
    _lock: StateLock,
}

impl Relay {
    /// Reads the TLS certificate, takes the lock of the state folder, and binds listeners, admin socket and metrics
    /// listener. To be called on a tokio runtime.
    ///
    /// # Errors
    /// What cannot be had, and what to do about it.
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        let shards = config.relay.shards;
        assert!((1..=MAX_SHARDS).contains(&shards), "the configuration allows 1 to 256 shards");
        let tls = load_tls(config)?;
        let lock = StateLock::take(&config.node.state_dir)?;
        let mut listeners: Vec<Listeners> = (0..shards).map(|_| Listeners::default()).collect();
        let udp = open_udp(&config.relay.listen_udp, &mut listeners)?;
        let tcp = open_streams(Transport::Tcp, &config.relay.listen_tcp, &mut listeners)?;
        let secure = config.tls.as_ref().map_or(&[][..], |tls| &tls.listen);
        let secure = open_streams(Transport::Tls, secure, &mut listeners)?;
        check_relay_addresses(config)?;
        let (admin, admin_path) = admin::bind(&config.relay.admin_socket)?;
        let (metrics, metrics_address) = config.metrics.relay_listen.map(metrics::bind).transpose()?.unzip();
        let acme = open_acme(config)?;
        let (front_door, reception) = front_door(config).unzip();
        host::raise_open_files(config);
        host::warn_of_shared_ports(config.relay.port_range);

        let clock = Clock::start();
        let system = |what| move |source| StartError::System { what, source };
        let self_test =
            self_test(config, [&udp, &tcp, &secure], clock).map_err(system("there is no randomness"))?;
        let node = Node {
            clock,
            failures: Arc::default(),
            revocations: Arc::new(Revocations::load(&config.node.state_dir, clock.now().unix)),
            shared: Arc::new(Shared::new(limits(config))),
            board: Arc::new(Board::new(shards)),
            budget: Arc::new(Budget::new(&config.node.name, &config.budget, Prices::new(&config.cost))),
            tls,
            front_door,
            self_test,
        };
        let core = core_config(config, node.self_test.as_deref(), &udp)
            .map_err(system("the host's addresses cannot be read"))?;
        let nonce_key = random().map_err(system("there is no randomness"))?;
        let opened: io::Result<Vec<_>> = listeners.into_iter().map(Sockets::open).collect();
        let opened = opened.map_err(system("a shard cannot wait on its sockets"))?;
        let handles: Vec<_> = opened.iter().map(|(_, handle)| handle.clone()).collect();
        let doorbells: Vec<_> = handles.iter().map(|handle| handle.doorbell()).collect();
        let (told, webhook) = config.budget.webhook.as_ref().map(webhook::new).unzip();
        let ledger = Ledger::start(config, clock, Arc::clone(&node.budget), told)?;
        let any_shard_ended = CancellationToken::new();
        let mut workers = Vec::new();
        for (id, ((sockets, _), rings)) in opened.into_iter().zip(ring::connect(&doorbells)).enumerate() {
            let seed = random().map_err(system("there is no randomness"))?;
            let (node, core, feed) = (node.clone(), core.clone(), ledger.feed());
            let make_shard =
                move || Shard::new(id, node, Server::new(core, nonce_key, seed), sockets, rings, feed);
            let worker = Worker::spawn(id, &any_shard_ended, make_shard);
            workers.push(worker.map_err(system("there is no thread for a shard"))?);
        }
        let listening = Listening {
            udp: udp.clone(),
            tcp: tcp.clone(),
            tls: secure.clone(),
            admin_socket: admin_path.path().to_owned(),
            metrics: metrics_address,
        };
        let view = View {
            node,
            ledger,
            devices: Devices::find(),
            name: config.node.name.clone(),
            udp,
            tcp,
            tls: secure,
            shards: handles,
            config_reload: LastReload::at(clock.now().unix),
            upkeep: Upkeep::default(),
            draining: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            switching: Mutex::default(),
        };
        Ok(Self {
            listening,
            view: Arc::new(view),
            workers,
            any_shard_ended,
            admin,
            metrics,
            reception,
            acme,
            drain_timeout: config.relay.drain_timeout,
            webhook,
            _admin_path: admin_path,
            _lock: lock,
        })
    }

    /// What is bound, with the ports that the kernel chose for port 0.
    pub fn listening(&self) -> &Listening {
        &self.listening
    }
}

/// What a certificate by ACME takes.
pub(crate) struct Acme {
    pub(crate) config: turnpike_config::Acme,
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) tls_port: u16,
}

fn open_acme(config: &Config) -> Result<Option<Acme>, StartError> {
    let Some((tls, acme)) = config.tls.as_ref().and_then(|tls| Some((tls, tls.acme.as_ref()?))) else {
        return Ok(None);
    };
    let mut listeners = Vec::new();
    for address in &acme.http_listen {
        listeners.extend(acme::open(*address)?);
    }
    Ok(Some(Acme { config: acme.clone(), listeners, tls_port: tls.port() }))
}

fn load_tls(config: &Config) -> Result<Option<Arc<Tls>>, StartError> {
    let load = |files| Tls::load(files, config.node.domain.as_deref()).map(Arc::new);
    Ok(config.tls.as_ref().map(load).transpose()?)
}

/// Gives every shard a socket on each address.
fn open_udp(addresses: &[SocketAddr], shards: &mut [Listeners]) -> Result<Vec<SocketAddr>, StartError> {
    let open = |address| open_group(address, shards.len());
    let groups = open_groups(Transport::Udp, addresses, open)?;
    let bound = groups.iter().map(|group| group.address).collect();
    for Group { address, sockets } in groups {
        shards.iter_mut().zip(sockets).for_each(|(shard, socket)| shard.udp.push((socket, address)));
    }
    Ok(bound)
}

/// The same for connections.
fn open_streams(
    transport: Transport,
    addresses: &[SocketAddr],
    shards: &mut [Listeners],
) -> Result<Vec<SocketAddr>, StartError> {
    let open = |address| open_tcp_group(address, shards.len());
    let groups = open_groups(transport, addresses, open)?;
    let bound = groups.iter().map(|group| group.address).collect();
    for Group { sockets, .. } in groups {
        shards.iter_mut().zip(sockets).for_each(|(shard, socket)| shard.streams.push((socket, transport)));
    }
    Ok(bound)
}

/// Where somebody may read what comes of it.
fn self_test(
    config: &Config,
    listeners: [&[SocketAddr]; 3],
    clock: Clock,
) -> io::Result<Option<Arc<SelfTest>>> {
    let Some(every) = config.metrics.selftest.filter(|_| config.metrics.relay_listen.is_some()) else {
        return Ok(None);
    };
    Ok(Some(Arc::new(SelfTest::new(config, every, OwnLogin::new()?, listeners, clock))))
}

fn front_door(config: &Config) -> Option<(FrontDoor, Reception)> {
    let socket = config.signaling.internal_socket.clone()?;
    Some(FrontDoor::new(socket, front_door::Limits::of(&config.signaling)))
}

/// The sockets on one address, one a shard.
struct Group {
    address: SocketAddr,
    sockets: Vec<Socket>,
}

/// An address of a family that the host lacks is skipped, as long as there is another.
fn open_groups(
    transport: Transport,
    addresses: &[SocketAddr],
    open: impl Fn(SocketAddr) -> io::Result<(SocketAddr, Vec<Socket>)>,
) -> Result<Vec<Group>, StartError> {
    let mut groups = Vec::new();
    let mut skipped = None;
    for address in addresses {
        let listener = Listener { transport, address: *address };
        match open(*address) {
            Ok((address, sockets)) => groups.push(Group { address, sockets }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(StartError::PortInUse { listener });
            }
            Err(source) if is_skipped(*address, &source) => {
                tracing::info!(%listener, "this host has no IPv6: not listening there");
                skipped = Some(StartError::Listen { listener, source });
            }
            Err(source) => return Err(StartError::Listen { listener, source }),
        }
    }
    match skipped {
        Some(error) if groups.is_empty() => Err(error),
        _ => Ok(groups),
    }
}

/// Whether a listener on any IPv6 address failed only because the host has no IPv6.
pub fn is_skipped(address: SocketAddr, error: &io::Error) -> bool {
    address.ip() == Ipv6Addr::UNSPECIFIED && Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

fn check_relay_addresses(config: &Config) -> Result<(), StartError> {
    for relay in config.relay.relay_ipv4.iter().chain(&config.relay.relay_ipv6) {
        let address = relay.bound;
        open_relay_socket(address, 0).map_err(|source| StartError::RelayAddress { address, source })?;
    }
    Ok(())
}

fn limits(config: &Config) -> Limits {
    let relay = &config.relay;
    Limits {
        relayed: relayed(config),
        ports: relay.port_range,
        allocations: relay.max_allocations,
        allocations_per_subject: relay.max_allocations_per_subject,
        allocations_per_ip: relay.max_allocations_per_ip,
        bitrate_per_subject: relay.max_bitrate_per_subject,
    }
}

fn relayed(config: &Config) -> ByFamily<Option<RelayAddress>> {
    ByFamily::from_fn(|family| match family {
        Family::Ipv4 => config.relay.relay_ipv4,
        Family::Ipv6 => config.relay.relay_ipv6,
    })
}

fn core_config(
    config: &Config,
    self_test: Option<&SelfTest>,
    listeners: &[SocketAddr],
) -> io::Result<turnpike_proto::Config> {
    let (auth, relay) = (&config.auth, &config.relay);
    let own = self_test.map(|self_test| &self_test.login);
    let Logins { secrets, static_users } = Logins::of(auth, own);
    Ok(turnpike_proto::Config {
        realm: auth.realm.clone(),
        secrets,
        static_users,
        self_test: own.map(|own| own.name.clone()),
        strict_expiry: auth.strict_expiry,
        families: ByFamily::from_fn(|family| relayed(config)[family].is_some()),
        own: host::own_addresses(relay.relay_ipv4.into_iter().chain(relay.relay_ipv6), listeners)?,
        allow_peers: relay.allow_peers.clone(),
        deny_peers: relay.deny_peers.clone(),
        min_peer_port: relay.min_peer_port,
        max_permissions: relay.max_permissions_per_allocation,
        max_channels: relay.max_channels_per_allocation,
        default_lifetime: relay.default_lifetime,
        max_lifetime: relay.max_lifetime,
        strict_permissions: relay.strict_permissions,
        rfc5766_channel_numbers: relay.rfc5766_channel_numbers,
        max_bitrate_per_allocation: relay.max_bitrate_per_allocation,
        total_bitrate: (relay.max_bitrate_total > 0)
            .then(|| Arc::new(SharedBucket::new(relay.max_bitrate_total))),
        sources: Arc::new(SourceLimits::new(
            relay.unauthenticated_per_second,
            relay.binding_per_second,
            RandomState::new(),
        )),
        drain_alternate: relay.drain_alternate,
        software: relay.software_attribute.then(|| format!("turnpike {VERSION}")),
    })
}

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_ipv6_serves_ipv4_and_where_nothing_else_is_asked_for_nothing() {
        let open = |address: SocketAddr| match address.is_ipv4() {
            true => Ok((address, Vec::new())),
            false => Err(io::Error::from(Errno::AFNOSUPPORT)),
        };
        let [v4, v6] = ["0.0.0.0:3478", "[::]:3478"].map(|address| address.parse().unwrap());
        let groups = open_groups(Transport::Udp, &[v4, v6], open).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(groups.iter().map(|group| group.address).collect::<Vec<_>>(), [v4]);
        let alone = open_groups(Transport::Udp, &[v6], open);
        assert!(matches!(alone, Err(StartError::Listen { .. })));
    }

    #[test]
    fn only_a_listener_on_any_ipv6_address_may_be_skipped_and_only_for_want_of_ipv6() {
        let no_ipv6 = || io::Error::from(Errno::AFNOSUPPORT);
        let taken = || io::Error::from(Errno::ADDRINUSE);
        for (address, error, skipped) in [
            ("[::]:3478", no_ipv6(), true),
            ("[::]:3478", taken(), false),
            ("[2001:db8::1]:3478", no_ipv6(), false),
            ("0.0.0.0:3478", no_ipv6(), false),
        ] {
            assert_eq!(is_skipped(address.parse().unwrap(), &error), skipped, "{address} {error}");
        }
    }
}
