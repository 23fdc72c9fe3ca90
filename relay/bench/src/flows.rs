//! Flows that are ready for a load: clients with allocations, each with the one peer it talks to.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use turnpike_turn_client::{AllocateOptions, Credentials, Session};

use crate::{
    clients::{self, Clients},
    datagrams::Sender,
    framing::{CHANNEL, Frame, Framing},
    load::{Load, Path, Plan, Seen},
    transact::{Transacted, transact},
};

/// Life of the credentials, in seconds.
const CREDENTIAL_LIFE: u64 = 7200;

/// Clients with allocations.
pub struct Flows {
    clients: Clients,
    sessions: Vec<Session>,
    peer: Option<UdpSocket>,
    /// The peer of each client, and how it is reached.
    peers: Vec<SocketAddr>,
    framing: Framing,
    frames: Vec<Frame>,
    epoch: u16,
}

/// What flows are made of, beside their plan.
pub struct Site<'a> {
    /// The server.
    pub server: SocketAddr,
    /// Its TURN REST secret; none for a bare forwarder.
    pub secret: Option<&'a str>,
    /// Where the echo peer is, or would be.
    pub peer_ip: IpAddr,
    /// Other clients on loopback have another one.
    pub generation: u32,
}

/// A peer for a plan that has one: bound before the server, which may have to be told of it.
///
/// # Errors
/// Of the kernel.
pub fn peer_for(plan: &Plan, ip: IpAddr) -> anyhow::Result<Option<UdpSocket>> {
    let peer = (plan.path == Path::Echo).then(|| clients::peer(ip, plan.in_one_piece)).transpose();
    peer.with_context(|| format!("a peer on {ip}"))
}

/// Clients with an allocation each, and how long that took.
///
/// # Errors
/// When the server refuses one.
pub fn allocate(
    site: &Site<'_>,
    count: usize,
    several: bool,
) -> anyhow::Result<(Clients, Vec<Session>, Transacted)> {
    let clients = Clients::open(site.server, count, site.generation, several)?;
    let expires_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + CREDENTIAL_LIFE;
    let secret = site.secret.unwrap_or_default().as_bytes();
    let mut sessions: Vec<Session> = (0..count)
        .map(|client| {
            // Limits are by subject.
            let subject = format!("bench-{}-{client}", site.generation);
            Session::new(Credentials::mint(secret, expires_at, &subject), None)
        })
        .collect();
    let options = AllocateOptions::default();
    let transacted =
        transact(&clients, &mut sessions, |_, session| session.allocate(&options)).context("allocating")?;
    Ok((clients, sessions, transacted))
}

/// Ends allocations.
///
/// # Errors
/// When the server refuses that.
pub fn release(clients: &Clients, sessions: &mut [Session]) -> anyhow::Result<()> {
    transact(clients, sessions, |_, session| session.refresh(Some(0))).context("ending allocations")?;
    Ok(())
}

impl Flows {
    /// Makes them.
    ///
    /// # Errors
    /// When the server refuses something.
    pub fn open(site: &Site<'_>, plan: &Plan, peer: Option<UdpSocket>) -> anyhow::Result<Self> {
        match site.secret {
            None => Self::bare(site, plan, peer),
            Some(_) => {
                let (clients, sessions, _) = allocate(site, plan.flows, plan.in_one_piece)?;
                Self::among(clients, sessions, plan, peer)
            }
        }
    }

    /// Makes them of the first allocations of these.
    ///
    /// # Errors
    /// When the server refuses something.
    pub fn among(
        clients: Clients,
        sessions: Vec<Session>,
        plan: &Plan,
        peer: Option<UdpSocket>,
    ) -> anyhow::Result<Self> {
        let peer_address = peer.as_ref().map(UdpSocket::local_addr).transpose()?;
        let relayed: Vec<SocketAddr> = sessions.iter().map(|session| session.relayed()[0]).collect();
        let peers: Vec<SocketAddr> =
            (0..plan.flows).map(|client| peer_address.unwrap_or_else(|| relayed[client ^ 1])).collect();
        let frames = peers.iter().map(|peer| plan.framing.frame(*peer, plan.payload)).collect();
        let framing = plan.framing;
        let mut flows = Self { clients, sessions, peer, peers, framing, frames, epoch: 0 };
        flows.permit()?;
        Ok(flows)
    }

    /// Prolongs allocations, permissions and channels.
    ///
    /// # Errors
    /// When the server refuses that.
    pub fn refresh(&mut self) -> anyhow::Result<()> {
        transact(&self.clients, &mut self.sessions, |_, session| session.refresh(None))
            .context("prolonging allocations")?;
        self.permit()
    }

    fn permit(&mut self) -> anyhow::Result<()> {
        let peers = &self.peers;
        let sessions = &mut self.sessions[..peers.len()];
        let permit = |client: usize, session: &Session| match self.framing {
            Framing::Indication => session.create_permission(&[peers[client].ip()]),
            Framing::Channel | Framing::Bare => session.channel_bind(CHANNEL, peers[client]),
        };
        transact(&self.clients, sessions, permit).context("permissions and channels")?;
        Ok(())
    }

    fn bare(site: &Site<'_>, plan: &Plan, peer: Option<UdpSocket>) -> anyhow::Result<Self> {
        let clients = Clients::open(site.server, plan.flows, site.generation, plan.in_one_piece)?;
        let frame = Framing::Bare.frame(site.server, plan.payload);
        // In order, so that the forwarder joins neighbours.
        let mut sender = Sender::default();
        for client in 0..plan.flows {
            let socket = clients.socket(clients.socket_of(client));
            sender.send(socket, [clients.outgoing(client, b"hello", None)]);
        }
        let frames = vec![frame; plan.flows];
        let (sessions, peers) = (Vec::new(), Vec::new());
        Ok(Self { clients, sessions, peer, peers, framing: Framing::Bare, frames, epoch: 0 })
    }

    /// Carries a load out over them.
    ///
    /// # Errors
    /// Of the kernel, or when the server has ended.
    pub fn run(&mut self, plan: Plan, server: Option<u32>) -> anyhow::Result<Seen> {
        self.epoch += 1;
        Load::new(plan, &self.clients, self.peer.as_ref(), &self.frames, self.epoch)?.run(server)
    }

    /// Ends their allocations.
    ///
    /// # Errors
    /// When the server refuses that.
    pub fn close(mut self) -> anyhow::Result<()> {
        release(&self.clients, &mut self.sessions)
    }
}
