//! One run: each operation is done by the server and foretold by the model.

mod data;

use std::{net::SocketAddr, time::Duration};

use turnpike_proto::{
    ByFamily, Cause, ClientVerdict, Family, FiveTuple, Now, PortRequest, RelayRefused, Server,
};
use turnpike_relay_api::admin::Traffic;

use super::{
    super::input::Input,
    driver::{Driver, HELD, Sent},
    model::{Answer, MAX_CHANNELS, MAX_PERMISSIONS, Model, State, count},
    script::{Body, CLIENTS, Login, Request, USERS, client_leg, refusal, user_expires},
};
use crate::{
    message::*,
    world::{REALM_NAME, RELAY_IP, UNIX, User, config},
};

pub struct Play {
    driver: Driver,
    model: Model,
    clients: Vec<FiveTuple>,
    nonces: Vec<Vec<u8>>,
    users: Vec<User>,
    /// What each client asked last, to be sent again.
    last: Vec<Option<Request>>,
    transaction: u8,
}

impl Play {
    pub fn new(strict: bool, served: ByFamily<bool>) -> Self {
        let mut config = config();
        config.families = served;
        config.strict_permissions = strict;
        config.max_permissions = MAX_PERMISSIONS;
        config.max_channels = MAX_CHANNELS;
        let five_tuple = |client| {
            let (transport, client) = client_leg(client);
            FiveTuple { transport, client, server: SocketAddr::from((RELAY_IP, 3478)) }
        };
        let user = |user| User::expiring(0, &subject(user), user_expires(user));
        let mut play = Self {
            driver: Driver::new(Server::new(config, [1; 32], [2; 32])),
            model: Model::new(CLIENTS, strict, served),
            clients: (0..CLIENTS).map(five_tuple).collect(),
            nonces: vec![Vec::new(); CLIENTS],
            users: (0..USERS).map(user).collect(),
            last: vec![None; CLIENTS],
            transaction: 0,
        };
        for client in 0..CLIENTS {
            let answer = play.ask(client, &Builder::new(ALLOCATE, 0xFF).udp().bytes).expect("a challenge");
            assert_eq!(answer.code(), 401);
            play.keep_nonce(client, &answer);
        }
        play
    }

    pub fn operation(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let variant = choice / 32;
        match choice % 32 {
            0..=11 => {
                self.transaction = self.transaction.wrapping_add(1);
                self.request(Request::any(input, self.transaction));
            }
            12..=14 if input.one_in(4) => self.refuse(refusal(input)),
            12..=14 => self.open(match variant {
                1 => Some(Family::Ipv4),
                2 => Some(Family::Ipv6),
                _ => None,
            }),
            15..=17 => self.send(input),
            18..=20 => self.channel_data(input),
            21..=23 if variant == 1 => self.icmp(input),
            21..=23 => self.peer_data(input),
            24 | 25 => self.pass(input),
            26 => self.sweep(),
            27 => self.binding(usize::from(input.byte()) % CLIENTS),
            28 => {
                let client = usize::from(input.byte()) % CLIENTS;
                if let Some(again) = self.last[client].clone() {
                    self.request(again);
                }
            }
            29 => self.release(),
            30 if variant == 1 => self.disconnect(),
            30 => {
                self.model.draining = !self.model.draining;
                self.driver.server.set_draining(self.model.draining);
            }
            _ if variant == 1 => self.end_user(input, Cause::Revoked),
            _ if variant == 2 => self.end_user(input, Cause::Quota),
            _ => self.close_all(input.pick(&[Cause::Drain, Cause::Shutdown])),
        }
        self.compare();
    }

    /// Ends everything and compares the books.
    pub fn finish(&mut self) {
        while !self.driver.opening.is_empty() {
            self.open(None);
        }
        self.model.now += Duration::from_secs(100_000);
        self.driver.server.handle_timeout(self.now());
        self.expect_nothing_sent();
        self.compare();
        while !self.driver.closing.is_empty() {
            self.release();
        }
        self.compare();
        assert!(self.model.allocations.iter().all(|a| a.state == State::Gone), "each one is closed");
    }

    fn now(&self) -> Now {
        Now { mono: self.model.now, unix: UNIX + self.model.now.as_secs() }
    }

    fn pass(&mut self, input: &mut Input<'_>) {
        let (now, step) = (self.model.now, Duration::from_millis(1));
        let next = self.model.deadlines().get(usize::from(input.byte() % 4)).copied().unwrap_or(now);
        self.model.now = match input.byte() % 8 {
            0 => now + Duration::from_secs(1),
            1 => now + Duration::from_secs(59),
            2 => now + Duration::from_secs(299),
            3 => now + Duration::from_secs(3599),
            4 => next.saturating_sub(step).max(now),
            5 => next + step,
            _ => next,
        };
    }

    /// Hands a datagram over; the books are kept on both sides.
    fn give(&mut self, client: usize, datagram: &[u8]) -> (ClientVerdict, Vec<Sent>) {
        let from = self.clients[client];
        let owner = self.model.comes_from_client(client, datagram.len(), &from);
        let (verdict, sent) = self.driver.client(self.now(), from, datagram);
        match verdict {
            ClientVerdict::Reply { allocation } => assert_eq!(allocation, owner),
            ClientVerdict::Relay { allocation, .. } => assert_eq!(Some(allocation), owner),
            ClientVerdict::Handled | ClientVerdict::Drop(_) => {}
        }
        self.book(&sent);
        (verdict, sent)
    }

    fn book(&mut self, sent: &[Sent]) {
        for Sent { to, allocation, bytes } in sent {
            let family = Family::of(to.client.ip());
            let flow = match allocation {
                Some(key) => &mut self.model.by_key(*key).traffic[family].client_out,
                None => &mut self.model.unallocated_out,
            };
            count(flow, bytes.len(), family);
        }
    }

    /// Of what lives on, the addresses that have ended are closed by a sweep.
    fn sweep(&mut self) {
        let is_due = self.model.now >= self.driver.server.poll_timeout();
        self.driver.server.handle_timeout(self.now());
        self.expect_nothing_sent();
        let now = self.model.now;
        for allocation in self.model.allocations.iter().filter(|a| is_due && a.lives(now)) {
            let key = allocation.key.expect("a live one has a key");
            for (family, relayed) in allocation.relayed.iter() {
                let has_ended = relayed.is_some() && !allocation.serves(family, now);
                assert_eq!(self.driver.closed_addresses.contains(&(key, family)), has_ended);
            }
        }
    }

    fn expect_nothing_sent(&mut self) {
        let sent = self.driver.settle();
        assert!(sent.is_empty(), "{sent:?}");
    }

    /// The answer to what a client sends, if there is one.
    fn ask(&mut self, client: usize, datagram: &[u8]) -> Option<Parsed> {
        let (verdict, mut sent) = self.give(client, datagram);
        assert_eq!(sent.len(), usize::from(matches!(verdict, ClientVerdict::Reply { .. })), "{verdict:?}");
        let answer = self.read(client, &sent.pop()?);
        assert_eq!(answer.transaction, datagram[8..20]);
        assert_eq!(answer.kind & !0x0110, u16::from_be_bytes([datagram[0], datagram[1]]));
        Some(answer)
    }

    fn read(&self, client: usize, sent: &Sent) -> Parsed {
        assert_eq!(sent.to, self.clients[client]);
        Parsed::read(&sent.bytes)
    }

    fn keep_nonce(&mut self, client: usize, answer: &Parsed) {
        if let Some(nonce) = answer.get(NONCE) {
            self.nonces[client] = nonce.to_vec();
            self.model.nonce_given[client] = self.now().unix;
        }
    }

    fn request(&mut self, request: Request) {
        let datagram = self.signed(&request);
        let client = request.client;
        let current = self.model.current(client);
        let given = self.ask(client, &datagram);
        let expected = self.model.request(&request);
        if let Some(answer) = &given {
            self.keep_nonce(client, answer);
        }
        let key = &self.users[request.user].key;
        match (&expected, given) {
            (Answer::None, None) => {}
            (Answer::Waits, None) => {
                let (key, asked) = self.driver.opening.back().expect("a relay socket is asked for");
                let opening = self.model.allocations.last_mut().expect("the model opens it as well");
                opening.key = Some(*key);
                assert_eq!(*asked.subject, *subject(request.user));
                assert_eq!(asked.port, port_asked_for(&request));
                assert_eq!(asked.families, opening.asked);
            }
            (Answer::Unsigned(codes), Some(answer)) => {
                assert!(codes.contains(&answer.code()), "{request:?}: {codes:?}, {answer:?}");
                assert!(answer.get(INTEGRITY).is_none());
            }
            (Answer::Error(codes), Some(answer)) => {
                assert!(codes.contains(&answer.code()), "{request:?}: {codes:?}, {answer:?}");
                assert!(answer.is_signed_by(key));
            }
            (Answer::Success, Some(answer)) => {
                assert!(answer.is_success() && answer.is_signed_by(key), "{request:?}: {answer:?}");
                self.check_success(&request, current.expect("there is an allocation"), &answer);
            }
            (expected, given) => panic!("{request:?}: {expected:?}, {given:?}"),
        }
        self.last[client] = Some(request);
    }

    fn signed(&self, request: &Request) -> Vec<u8> {
        let builder = request.written();
        if request.login == Login::NoMac {
            return builder.bytes;
        }
        let user = &self.users[request.user];
        let nonce = match request.login {
            Login::AnothersNonce => &self.nonces[(request.client + 1) % CLIENTS],
            _ => &self.nonces[request.client],
        };
        let mut builder = builder.attr(USERNAME, user.name.as_bytes()).attr(NONCE, nonce);
        if request.login != Login::NoRealm {
            builder = builder.attr(REALM, REALM_NAME.as_bytes());
        }
        match request.login {
            Login::WrongKey => builder.integrity(b"another key").bytes,
            _ => builder.integrity(&user.key).bytes,
        }
    }

    fn check_success(&self, request: &Request, at: usize, answer: &Parsed) {
        match &request.body {
            Body::Allocate(_) => self.check_allocated(at, answer),
            Body::Refresh { lifetime, .. } => {
                assert_eq!(Duration::from_secs(answer.u32(LIFETIME).into()), lifetime.refreshed());
            }
            Body::CreatePermission { .. } | Body::ChannelBind { .. } => {}
        }
    }

    /// The addresses, what was asked for besides and not given, and the client's own address.
    fn check_allocated(&self, at: usize, answer: &Parsed) {
        let allocation = &self.model.allocations[at];
        let given: Vec<SocketAddr> = allocation.relayed.iter().filter_map(|(_, address)| *address).collect();
        assert_eq!(answer.addresses(XOR_RELAYED), given);
        let refused = answer.get(ADDRESS_ERROR).map(|error| (error[0], error[2], error[3]));
        let expected = allocation.refused.map(|(family, code)| {
            (if family == Family::Ipv4 { 1 } else { 2 }, (code / 100) as u8, (code % 100) as u8)
        });
        assert_eq!(refused, expected);
        assert_eq!(answer.address(XOR_MAPPED), self.clients[allocation.client].client);
    }

    /// The driver has bound relay sockets, but none of one family: the Allocate that waits is answered. What is held
    /// under a token is a port of the first family that there is.
    fn open(&mut self, without: Option<Family>) {
        let Some((key, asked)) = self.driver.opening.front().cloned() else { return };
        let held = Family::ALL.into_iter().find(|family| self.model.served[*family]);
        let families = match asked.port {
            PortRequest::Reserved(_) => ByFamily::from_fn(|family| held == Some(family)),
            _ => ByFamily::from_fn(|family| asked.families[family] && without != Some(family)),
        };
        if families == ByFamily::default() {
            return self.refuse(RelayRefused::NoPort);
        }
        self.driver.opening.pop_front();
        let (relayed, sent) = self.driver.open(self.now(), key, &families, asked.port);
        self.model.opened(key, relayed);
        self.book(&sent);
        let at = self.model.allocations.iter().position(|a| a.key == Some(key)).expect("the model has it");
        let allocation = &self.model.allocations[at];
        if allocation.is_lost {
            assert!(sent.is_empty(), "{sent:?}");
            return;
        }
        let (client, user, granted) = (allocation.client, allocation.user, allocation.granted);
        let [sent] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(sent.allocation, Some(key));
        let answer = self.read(client, sent);
        assert!(answer.is_success() && answer.is_signed_by(&self.users[user].key));
        self.check_allocated(at, &answer);
        assert_eq!(Duration::from_secs(answer.u32(LIFETIME).into()), granted);
        let reserves = asked.port == PortRequest::EvenAndReserveNext;
        assert_eq!(answer.get(TOKEN), reserves.then_some(HELD.as_slice()));
    }

    fn refuse(&mut self, why: RelayRefused) {
        let Some((key, _)) = self.driver.opening.pop_front() else { return };
        let sent = self.driver.refuse(self.now(), key, why);
        self.book(&sent);
        let allocation = self.model.by_key(key);
        let (client, user, is_lost) = (allocation.client, allocation.user, allocation.is_lost);
        self.model.refused(key);
        if is_lost {
            assert!(sent.is_empty(), "{sent:?}");
            return;
        }
        let [sent] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(sent.allocation, None);
        let answer = self.read(client, sent);
        self.keep_nonce(client, &answer);
        let code = match why {
            RelayRefused::Revoked => 401,
            RelayRefused::SubjectQuota | RelayRefused::ClientQuota | RelayRefused::ByteQuota => 486,
            RelayRefused::NodeFull
            | RelayRefused::Budget
            | RelayRefused::NoPort
            | RelayRefused::UnknownReservation
            | RelayRefused::Socket => 508,
        };
        assert_eq!(answer.code(), code);
        match code {
            401 => assert!(answer.get(INTEGRITY).is_none()),
            _ => assert!(answer.is_signed_by(&self.users[user].key)),
        }
    }

    fn binding(&mut self, client: usize) {
        let answer = self.ask(client, &Builder::new(BINDING, 1).bytes).expect("Binding is always answered");
        assert_eq!(answer.address(XOR_MAPPED), self.clients[client].client);
    }

    fn close_all(&mut self, cause: Cause) {
        self.driver.server.close_all(self.now(), cause);
        self.model.close_all(cause);
        self.expect_nothing_sent();
    }

    /// The connection of the client over TCP ends, and a new one comes from the same port.
    fn disconnect(&mut self) {
        let (client, leg) = self
            .clients
            .iter()
            .copied()
            .enumerate()
            .find(|(_, leg)| leg.transport.is_stream())
            .expect("one is");
        self.driver.server.handle_disconnected(self.now(), &leg);
        self.model.disconnect(client);
        self.expect_nothing_sent();
    }

    fn end_user(&mut self, input: &mut Input<'_>, cause: Cause) {
        let user = usize::from(input.byte()) % USERS;
        let name = subject(user);
        self.driver.server.close_where(self.now(), cause, |allocation| allocation.subject() == name);
        self.model.end_user(user, cause);
        self.expect_nothing_sent();
    }

    fn release(&mut self) {
        let Some((key, closed)) = self.driver.release() else { return };
        let now = self.model.now;
        let clients = &self.clients;
        let allocation = self.model.by_key(key);
        assert_eq!(Some((closed.cause, closed.closed)), allocation.end(now));
        assert_eq!((closed.traffic, closed.relayed), (allocation.traffic, allocation.relayed));
        assert_eq!(closed.five_tuple, clients[allocation.client]);
        assert_eq!(*closed.subject, *subject(allocation.user));
        allocation.state = State::Gone;
    }

    /// The server's books and the model's are the same.
    fn compare(&self) {
        let (server, now) = (&self.driver.server, self.model.now);
        let mut total = Traffic::default();
        for allocation in &self.model.allocations {
            total.add(&allocation.traffic.total());
            let theirs = allocation.key.and_then(|key| server.allocation(key));
            let bound = matches!(allocation.state, State::Live | State::Ended { .. });
            assert_eq!(theirs.is_some(), bound, "{:?}", allocation.state);
            let Some(theirs) = theirs else { continue };
            assert_eq!(theirs.traffic(), allocation.traffic);
            if allocation.state == State::Live {
                let mine =
                    (allocation.relayed, allocation.permissions(now), allocation.channels(now).count());
                assert_eq!((theirs.relayed(), theirs.permissions(now), theirs.channels(now)), mine);
            }
        }
        assert_eq!(server.traffic(), total);
        let counters = server.counters();
        assert_eq!(counters.unallocated_in, self.model.unallocated_in);
        assert_eq!(counters.unallocated_out, self.model.unallocated_out);
        for key in &self.driver.closing {
            assert!(self.model.find(*key).end(now).is_some(), "a live one is closed");
        }
        for (key, family) in &self.driver.closed_addresses {
            assert!(!self.model.find(*key).serves(*family, now), "a live one is closed");
        }
    }
}

fn subject(user: usize) -> String {
    format!("user{user}")
}

fn port_asked_for(request: &Request) -> PortRequest {
    let Body::Allocate(allocate) = &request.body else { panic!("only an Allocate opens") };
    match (allocate.token, allocate.even_port) {
        (Some(token), _) => PortRequest::Reserved(token),
        (None, Some(0x80)) => PortRequest::EvenAndReserveNext,
        (None, Some(_)) => PortRequest::Even,
        (None, None) => PortRequest::Any,
    }
}
