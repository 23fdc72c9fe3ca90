//! The server: its allocations by five-tuple, and the loop of inputs and outputs around them.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use turnpike_relay_api::{
    admin::{Flow, Traffic},
    credential::Username,
};
use zeroize::Zeroizing;

use crate::{
    Allocation, AllocationId, AllocationKey, AuthFailure, AuthFailures, Cause, ClientVerdict, Closed, Config,
    Counters, DropReason, ErrorCode, Family, FiveTuple, LimitedCredential, Now, OpenedRelay, Output,
    PeerPolicy, RelayRefused, RelayRequest, RequestMethod, RequestResult, Transport,
    address::segment_overhead,
    allocation::{Limits, State, count},
    auth::{Authenticator, Nonces, User},
    bitrate::{Lease, Limiter},
    request::allocate::Wanted,
    sources::Unproven,
    wire::{Message, Method, Response, TransactionId, binding_success},
};

/// How often expired state is freed; what has expired no longer counts from its very moment on.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A TURN server without sockets, threads or clocks.
pub struct Server {
    pub(crate) config: Config,
    pub(crate) authenticator: Authenticator,
    pub(crate) policy: PeerPolicy,
    pub(crate) counters: Counters,
    pub(crate) failures: AuthFailures,
    pub(crate) random: SmallRng,
    pub(crate) scratch: stun::message::Message,
    pub(crate) draining: bool,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_five_tuple: HashMap<FiveTuple, u32>,
    outputs: VecDeque<Output>,
    /// Traffic of allocations that ended.
    ended: Traffic,
    /// This server's slice of what all of the process relay.
    total: Option<Lease>,
    next_sweep: Duration,
    /// Most bits a second of an allocation for now; 0 is no limit beside the configured one.
    bitrate_cap: u64,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    allocation: Option<Box<Allocation>>,
}

impl Server {
    /// `nonce_key` is the same for all shards of a process, `seed` is one shard's own; both are secret random bytes.
    pub fn new(mut config: Config, nonce_key: [u8; 32], seed: [u8; 32]) -> Self {
        // Of a password only the key is kept (RFC 8656 §6), and the secrets in one place.
        let Config { secrets, static_users, .. } = &mut config;
        let (secrets, static_users) = (mem::take(secrets), mem::take(static_users));
        let authenticator =
            Authenticator::new(config.realm.clone(), secrets, static_users, Nonces::new(nonce_key));
        let policy = PeerPolicy::new(
            &config.allow_peers,
            &config.deny_peers,
            config.own.clone(),
            config.min_peer_port,
        );
        let total = config.total_bitrate.clone().map(Lease::new);
        Self {
            config,
            authenticator,
            policy,
            counters: Counters::default(),
            failures: AuthFailures::default(),
            random: SmallRng::from_seed(seed),
            scratch: stun::message::Message::new(),
            draining: false,
            slots: Vec::new(),
            free: Vec::new(),
            by_five_tuple: HashMap::new(),
            outputs: VecDeque::new(),
            ended: Traffic::default(),
            total,
            next_sweep: Duration::ZERO,
            bitrate_cap: 0,
        }
    }

    /// Takes a datagram, or one message of a stream, from a client. The bytes of streams are counted by
    /// [`Self::stream_received`], for segments are not messages. `reply` is cleared, and filled when the verdict is
    /// [`ClientVerdict::Reply`].
    pub fn handle_client(
        &mut self,
        now: Now,
        five_tuple: &FiveTuple,
        datagram: &[u8],
        reply: &mut Vec<u8>,
    ) -> ClientVerdict {
        reply.clear();
        let index = self.live(now, five_tuple);
        match index {
            _ if five_tuple.transport.is_stream() => {}
            Some(index) => self.at(index).count_client_in(datagram.len()),
            None => {
                count(&mut self.counters.unallocated_in, datagram.len(), Family::of(five_tuple.client.ip()))
            }
        }
        let last_channel = if self.config.rfc5766_channel_numbers { 0x7F } else { 0x4F };
        let verdict = match datagram.first() {
            None => Err(DropReason::Empty),
            Some(0..=3) => self.handle_stun(now, five_tuple, index, datagram, reply),
            Some(first) if (0x40..=last_channel).contains(first) => {
                self.handle_channel_data(now, index, datagram)
            }
            Some(_) => Err(DropReason::NotStun),
        };
        verdict.unwrap_or_else(|reason| {
            self.counters.dropped.count(reason);
            ClientVerdict::Drop(reason)
        })
    }

    fn handle_stun(
        &mut self,
        now: Now,
        five_tuple: &FiveTuple,
        index: Option<u32>,
        datagram: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<ClientVerdict, DropReason> {
        let message = Message::parse(datagram)?;
        match message.method {
            Method::Send => self.handle_send(now, index, &message),
            Method::Binding => {
                let unknown = message.scan()?.unknown;
                self.admit_source(now, five_tuple, Unproven::Binding)?;
                let result = if unknown.is_empty() { RequestResult::Success } else { RequestResult::Error };
                self.counters.requests.count(RequestMethod::Binding, five_tuple.transport, result);
                match unknown.is_empty() {
                    true => binding_success(&message, five_tuple.client, reply),
                    false => reply.extend_from_slice(
                        &Response::error(message.method, message.transaction_id, ErrorCode::UnknownAttribute)
                            .unknown_attributes(&unknown)
                            .unsigned(),
                    ),
                }
                Ok(ClientVerdict::Reply { allocation: index.map(|index| self.key(index)) })
            }
            _ => self.handle_request(now, five_tuple, index, &message, reply),
        }
    }

    /// Whether an unsigned answer may go to a client. A stream proves its source.
    pub(crate) fn admit_source(
        &self,
        now: Now,
        client: &FiveTuple,
        answer: Unproven,
    ) -> Result<(), DropReason> {
        let admitted = client.transport != Transport::Udp
            || self.config.sources.admit(now.mono, answer, client.client.ip());
        match (admitted, answer) {
            (true, _) => Ok(()),
            (false, Unproven::Unauthenticated) => Err(DropReason::UnauthenticatedRate),
            (false, Unproven::Binding) => Err(DropReason::BindingRate),
        }
    }

    /// What is to be done next; drain it after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is due, in [`Now::mono`].
    pub fn poll_timeout(&self) -> Duration {
        self.next_sweep
    }

    /// Ends what has expired and frees its memory.
    pub fn handle_timeout(&mut self, now: Now) {
        if now.mono < self.next_sweep {
            return;
        }
        self.next_sweep = now.mono + SWEEP_EVERY;
        for index in 0..self.slots.len() as u32 {
            let Some(allocation) = self.slots[index as usize].allocation.as_mut() else { continue };
            if allocation.state != State::Live {
                continue;
            }
            let is_spent = allocation.limiter.as_ref().is_some_and(|limiter| limiter.is_spent());
            match allocation.is_live(now.mono) {
                true if is_spent => self.close(now.mono, index, Cause::Quota),
                true => self.sweep(now.mono, index),
                false => self.close(now.mono, index, Cause::Expired),
            }
        }
    }

    /// Frees what has expired of an allocation that lives on.
    fn sweep(&mut self, now: Duration, index: u32) {
        self.at(index).sweep(now);
        while let Some(family) = self.at(index).take_expired_address(now) {
            self.outputs.push_back(Output::CloseAddress { allocation: self.key(index), family });
        }
    }

    /// Ends one of two relayed addresses.
    pub(crate) fn close_address(&mut self, now: Duration, index: u32, family: Family) {
        self.at(index).end_address(family, now);
        self.sweep(now, index);
    }

    /// The relay sockets are bound: only now is the Allocate answered.
    pub fn handle_relay_opened(&mut self, now: Now, key: AllocationKey, relay: OpenedRelay) {
        let own_limit = self.own_bitrate();
        let Some(allocation) = self.opening(key) else { return };
        allocation.start(&relay.advertised, now.mono);
        allocation.reservation = relay.reservation;
        allocation.limiter = Limiter::new(own_limit, relay.shares);
        let to = allocation.five_tuple;
        let is_lost = allocation.lost;
        let is_self_test = allocation.is_self_test;
        if !is_self_test {
            self.counters.allocations_created.count(to.transport);
        }
        if is_lost {
            return self.close(now.mono, key.index, Cause::Lost);
        }
        self.counters.requests.count(RequestMethod::Allocate, to.transport, RequestResult::Success);
        let message = self.allocate_success(key.index);
        self.outputs.push_back(Output::Transmit { to, message, allocation: Some(key) });
    }

    /// There is no relay socket: the Allocate is refused.
    pub fn handle_relay_failed(&mut self, now: Now, key: AllocationKey, why: RelayRefused) {
        let Some(allocation) = self.opening(key) else { return };
        let code = match why {
            RelayRefused::Revoked => ErrorCode::Unauthorized,
            RelayRefused::SubjectQuota | RelayRefused::ClientQuota | RelayRefused::ByteQuota => {
                ErrorCode::AllocationQuotaReached
            }
            RelayRefused::NodeFull
            | RelayRefused::Budget
            | RelayRefused::NoPort
            | RelayRefused::UnknownReservation
            | RelayRefused::Socket => ErrorCode::InsufficientCapacity,
        };
        let (to, transaction_id) = (allocation.five_tuple, allocation.transaction_id);
        let is_lost = allocation.lost;
        let user = allocation.user.clone();
        let message = match code {
            ErrorCode::Unauthorized => {
                let error = Response::bare_error(Method::Allocate, transaction_id, code);
                self.count_auth_failure(to.client.ip(), AuthFailure::Revoked);
                self.authenticator.challenge(now, to.client, error).unsigned()
            }
            _ => {
                self.counters.allocation_failures.count(code);
                user.sign(Response::error(Method::Allocate, transaction_id, code))
            }
        };
        self.forget(&to, key.index);
        let failed = self.vacate(key.index).expect("it was being opened").traffic().total();
        self.counters.unallocated_in.add(&failed.client_in);
        self.counters.unallocated_out.add(&failed.client_out);
        if !is_lost {
            self.counters.requests.count(RequestMethod::Allocate, to.transport, RequestResult::Error);
            self.outputs.push_back(Output::Transmit { to, message, allocation: None });
        }
    }

    /// The stream of a client has ended, and its allocation with it. One whose relay socket is still being bound ends
    /// as soon as that is known.
    pub fn handle_disconnected(&mut self, now: Now, five_tuple: &FiveTuple) {
        let Some(index) = self.live(now, five_tuple) else { return };
        match self.at(index).state {
            State::Opening => {
                self.at(index).lost = true;
                self.forget(five_tuple, index);
            }
            _ => self.close(now.mono, index, Cause::Lost),
        }
    }

    /// Other secrets and static users from now on. Allocations live on: their keys were made at their Allocate
    /// (RFC 8656 §7.2), and a Refresh is checked by them.
    pub fn set_logins(
        &mut self,
        secrets: Vec<Zeroizing<Vec<u8>>>,
        static_users: Vec<(String, Zeroizing<String>)>,
    ) {
        self.authenticator.replace(secrets, static_users);
    }

    /// While draining, every new Allocate is refused with 508.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Holds each allocation, live or new, to so many bits a second at most, whatever else it may; 0 takes that back.
    pub fn cap_bitrate(&mut self, bits_per_second: u64) {
        self.bitrate_cap = bits_per_second;
        let own = self.own_bitrate();
        for allocation in self.slots.iter_mut().filter_map(|slot| slot.allocation.as_mut()) {
            Limiter::set_own(&mut allocation.limiter, own);
        }
    }

    /// What one allocation may do by itself; 0 is no limit.
    fn own_bitrate(&self) -> u64 {
        let limits = [self.config.max_bitrate_per_allocation, self.bitrate_cap];
        limits.into_iter().filter(|limit| *limit > 0).min().unwrap_or(0)
    }

    /// Ends every allocation.
    pub fn close_all(&mut self, now: Now, cause: Cause) {
        for index in 0..self.slots.len() as u32 {
            if self.slots[index as usize].allocation.as_ref().is_some_and(|a| a.state == State::Live) {
                self.close(now.mono, index, cause);
            }
        }
    }

    /// Ends the live allocations that `ends` is true for.
    pub fn close_where(&mut self, now: Now, cause: Cause, mut ends: impl FnMut(&Allocation) -> bool) {
        for index in 0..self.slots.len() as u32 {
            let allocation = self.slots[index as usize].allocation.as_deref();
            if allocation.is_some_and(|allocation| allocation.is_live(now.mono) && ends(allocation)) {
                self.close(now.mono, index, cause);
            }
        }
    }

    /// Frees the slot of an ended allocation and gives its final record. `None` when it has not ended, was released
    /// before, or was the node's own.
    pub fn release(&mut self, key: AllocationKey) -> Option<Closed> {
        let allocation = self.get(key)?;
        let State::Closing { cause, at } = allocation.state else { return None };
        let allocation = self.vacate(key.index)?;
        let traffic = allocation.traffic();
        if allocation.is_self_test {
            let Traffic { client_in, client_out, .. } = traffic.total();
            self.counters.unallocated_in.add(&client_in);
            self.counters.unallocated_out.add(&client_out);
            return None;
        }
        self.ended.add(&traffic.total());
        self.counters.allocations_closed.count(cause);
        Some(Closed {
            id: allocation.id,
            relayed: allocation.relayed(),
            subject: allocation.subject,
            cause,
            five_tuple: allocation.five_tuple,
            opened: allocation.opened,
            closed: at,
            traffic,
        })
    }

    /// The kernel took `payload_len` bytes of UDP payload for the allocation's client.
    pub fn sent_to_client(&mut self, key: AllocationKey, payload_len: usize) {
        if let Some(allocation) = self.get_mut(key) {
            allocation.count_client_out(payload_len);
        }
    }

    /// The kernel took `payload_len` bytes of UDP payload for a peer of this family.
    pub fn sent_to_peer(&mut self, key: AllocationKey, family: Family, payload_len: usize) {
        if let Some(allocation) = self.get_mut(key) {
            allocation.count_peer_out(family, payload_len);
        }
    }

    /// `payload_len` bytes went to another allocation of this node, between relayed addresses of this family, without
    /// the kernel.
    pub fn hairpinned(&mut self, sender: AllocationKey, family: Family, payload_len: usize) {
        if let Some(allocation) = self.get_mut(sender) {
            allocation.count_hairpin(family, payload_len);
        }
    }

    /// The kernel took `payload_len` bytes of an answer that belongs to no allocation.
    pub fn unallocated_sent(&mut self, client: SocketAddr, payload_len: usize) {
        count(&mut self.counters.unallocated_out, payload_len, Family::of(client.ip()));
    }

    /// `bytes` of a client's stream came in, in so many `segments`; `owner` is the allocation of the connection. Both
    /// are told as they become known, which need not be at once.
    pub fn stream_received(
        &mut self,
        owner: Option<AllocationKey>,
        client: IpAddr,
        bytes: u64,
        segments: u64,
    ) {
        let flow = stream_flow(client, bytes, segments);
        match owner.and_then(|key| self.get_mut(key)) {
            Some(allocation) => allocation.add_client_in(&flow),
            None => self.counters.unallocated_in.add(&flow),
        }
    }

    /// The kernel took `bytes` for a client's stream, and sent so many `segments`; otherwise as above.
    pub fn stream_sent(&mut self, owner: Option<AllocationKey>, client: IpAddr, bytes: u64, segments: u64) {
        let flow = stream_flow(client, bytes, segments);
        match owner.and_then(|key| self.get_mut(key)) {
            Some(allocation) => allocation.add_client_out(&flow),
            None => self.counters.unallocated_out.add(&flow),
        }
    }

    /// The driver dropped a datagram.
    pub fn dropped(&mut self, reason: DropReason) {
        self.counters.dropped.count(reason);
    }

    /// An allocation that is live or being closed.
    pub fn allocation(&self, key: AllocationKey) -> Option<&Allocation> {
        self.get(key).filter(|a| a.state != State::Opening)
    }

    /// The live allocations of clients.
    pub fn allocations(&self) -> impl Iterator<Item = (AllocationKey, &Allocation)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let is_listed = |a: &&Allocation| a.state == State::Live && !a.is_self_test;
            let allocation = slot.allocation.as_deref().filter(is_listed)?;
            Some((AllocationKey { index: index as u32, generation: slot.generation }, allocation))
        })
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Who failed to get in since this was last asked.
    pub fn take_auth_failures(&mut self) -> AuthFailures {
        mem::take(&mut self.failures)
    }

    /// The traffic of all allocations since the start, live and ended.
    pub fn traffic(&self) -> Traffic {
        let mut total = self.ended;
        let all = self.slots.iter().filter_map(|slot| slot.allocation.as_ref());
        for allocation in all.filter(|allocation| !allocation.is_self_test) {
            total.add(&allocation.traffic().total());
        }
        total
    }

    /// The live allocation of a five-tuple; one whose time has come ends here.
    fn live(&mut self, now: Now, five_tuple: &FiveTuple) -> Option<u32> {
        let index = *self.by_five_tuple.get(five_tuple)?;
        let allocation = self.slots[index as usize].allocation.as_ref()?;
        if allocation.state == State::Live && !allocation.is_live(now.mono) {
            self.close(now.mono, index, Cause::Expired);
            return None;
        }
        Some(index)
    }

    /// Takes a slot for an Allocate and asks the driver for its relay socket.
    pub(crate) fn open(
        &mut self,
        now: Now,
        five_tuple: FiveTuple,
        user: User,
        transaction_id: TransactionId,
        lifetime: Duration,
        wanted: Wanted,
    ) {
        let name = Username::parse(&user.username).filter(|_| !self.authenticator.is_static(&user.username));
        let (subject, limit) = match &name {
            Some(name) => (name.subject.into(), name.limits.allocations),
            None => (user.username.clone(), None),
        };
        let credential = name.as_ref().and_then(|name| limited(&user.username, name));
        let credential_expires = name.map(|name| name.expires_at);
        let id = AllocationId(self.random.random());
        let mut allocation =
            Allocation::new(id, five_tuple, user, subject, transaction_id, lifetime, now.mono);
        allocation.credential_expires = credential_expires;
        allocation.is_self_test = self.config.self_test.as_ref() == Some(&allocation.subject);
        let Wanted { port, families, refused } = wanted;
        allocation.asked = families;
        allocation.refused = refused;
        let (subject, client) = (allocation.subject.clone(), five_tuple.client.ip());
        let request = RelayRequest { subject, limit, credential, client, families, port };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        self.slots[index as usize].allocation = Some(Box::new(allocation));
        self.by_five_tuple.insert(five_tuple, index);
        self.outputs.push_back(Output::OpenRelay { allocation: self.key(index), request });
    }

    pub(crate) fn close(&mut self, now: Duration, index: u32, cause: Cause) {
        let allocation = self.at(index);
        // One whose time had come before the sweep found it has expired, whatever else is happening now.
        let cause = if allocation.is_live(now) { cause } else { Cause::Expired };
        allocation.state = State::Closing { cause, at: now.min(allocation.expires()) };
        let five_tuple = allocation.five_tuple;
        self.forget(&five_tuple, index);
        self.outputs.push_back(Output::CloseRelay { allocation: self.key(index) });
    }

    /// Unless the five-tuple has become another allocation's meanwhile.
    fn forget(&mut self, five_tuple: &FiveTuple, index: u32) {
        if self.by_five_tuple.get(five_tuple) == Some(&index) {
            self.by_five_tuple.remove(five_tuple);
        }
    }

    /// Counts bytes against every limit that an allocation is under, or drops them. Who spends the last bytes of his
    /// credential has them relayed, and his allocation ends.
    pub(crate) fn spend(&mut self, now: Duration, index: u32, bytes: u64) -> Result<(), DropReason> {
        if self.total.is_none() && self.at(index).limiter.is_none() {
            return Ok(());
        }
        let mut limiter = self.at(index).limiter.take();
        let own = limiter.as_mut().map_or(Ok(()), |limiter| limiter.check(now, bytes));
        let passes = own.and_then(|()| match &mut self.total {
            Some(total) => total.reaches(now, bytes).then_some(()).ok_or(DropReason::TotalBitrate),
            None => Ok(()),
        });
        if passes.is_ok() {
            limiter.iter_mut().for_each(|limiter| limiter.take(now, bytes));
            self.total.iter_mut().for_each(|total| total.take(bytes));
        }
        let is_spent = limiter.as_ref().is_some_and(|limiter| limiter.is_spent());
        self.at(index).limiter = limiter;
        if is_spent {
            self.close(now, index, Cause::Quota);
        }
        passes
    }

    /// A stale nonce is a matter of time, not of who may.
    pub(crate) fn count_auth_failure(&mut self, client: IpAddr, failure: AuthFailure) {
        self.counters.auth_failures.count(failure);
        if failure != AuthFailure::StaleNonce {
            self.failures.count(client, failure);
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { permissions: self.config.max_permissions, channels: self.config.max_channels }
    }

    pub(crate) fn key(&self, index: u32) -> AllocationKey {
        AllocationKey { index, generation: self.slots[index as usize].generation }
    }

    /// The allocation of an index that a lookup in this very call has given.
    pub(crate) fn at(&mut self, index: u32) -> &mut Allocation {
        self.slots[index as usize].allocation.as_mut().expect("an index in hand names a slot in use")
    }

    fn get(&self, key: AllocationKey) -> Option<&Allocation> {
        let slot = self.slots.get(key.index as usize)?;
        slot.allocation.as_deref().filter(|_| slot.generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: AllocationKey) -> Option<&mut Allocation> {
        let slot = self.slots.get_mut(key.index as usize)?;
        slot.allocation.as_deref_mut().filter(|_| slot.generation == key.generation)
    }

    fn opening(&mut self, key: AllocationKey) -> Option<&mut Allocation> {
        self.get_mut(key).filter(|a| a.state == State::Opening)
    }

    fn vacate(&mut self, index: u32) -> Option<Box<Allocation>> {
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        slot.allocation.take()
    }
}

fn stream_flow(client: IpAddr, bytes: u64, segments: u64) -> Flow {
    Flow { bytes: bytes + segments * segment_overhead(client), packets: segments }
}

/// What a credential limits beside the number of its allocations.
fn limited(username: &str, name: &Username<'_>) -> Option<LimitedCredential> {
    let (bytes, bits_per_second) = (name.limits.bytes, name.limits.bits_per_second);
    let is_limited = bytes.is_some() || bits_per_second.is_some();
    is_limited.then(|| LimitedCredential {
        username: username.into(),
        expires_at: name.expires_at,
        bytes,
        bits_per_second,
    })
}
