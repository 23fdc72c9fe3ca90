//! One way to a server, tried step by step; a step that fails ends it.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use turnpike_config::format_duration;
use turnpike_turn_client::{
    AllocateOptions, Allocation, Challenge, Connection, Endpoint, Error, Message, Retransmission, TlsClient,
    Transport, Writer, attribute, method,
};

use super::{
    Login, echo, refusal,
    report::{Figures, Report, ms},
    throughput,
};
use crate::screen::Verdict;

/// Sent at 0, 0.5 and 1.5 s, given up after 3.5 s.
const UDP: Retransmission = Retransmission { first: Duration::from_millis(500), transmissions: 3, last: 4 };
const STREAM: Retransmission = Retransmission { first: Duration::from_secs(5), transmissions: 1, last: 1 };

/// A way to a server.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) transport: Transport,
    pub(crate) server: SocketAddr,
    /// What its certificate is checked for.
    pub(crate) host: String,
    /// That it does not exist is no failure.
    pub(crate) is_optional: bool,
}

impl Way {
    pub(super) fn family(&self) -> &'static str {
        if self.server.is_ipv4() { "IPv4" } else { "IPv6" }
    }
}

/// Tries it; without a login only as far as anybody may go.
pub(crate) fn try_way(way: &Way, login: Option<&Login>, lasting: Duration) -> Report {
    let mut report = Report {
        transport: way.transport.to_string(),
        server: way.server.to_string(),
        findings: Vec::new(),
        figures: Figures::default(),
    };
    // What has failed is in the report.
    let _ = Trial { way, report: &mut report }.run(login, lasting);
    report
}

/// A step has failed, as reported.
struct Failed;

struct Trial<'a> {
    way: &'a Way,
    report: &'a mut Report,
}

impl Trial<'_> {
    fn run(&mut self, login: Option<&Login>, lasting: Duration) -> Result<(), Failed> {
        let mut connection = self.open()?;
        self.answers(&mut connection)?;
        self.asks_for_login(&mut connection)?;
        let Some(login) = login else {
            let how = "not tried: give --secret-file, or --user and --pass, to try the relay itself";
            self.report.say(Verdict::Warn, "relay", how);
            return Ok(());
        };
        let (mut there, mut back) = self.allocate(login)?;
        self.connects(&mut there, &mut back, login)?;
        self.echoes(&mut there, &mut back)?;
        self.bears(&mut there, &mut back, lasting)?;
        // They expire by themselves where that does not arrive.
        let _ = (there.close(), back.close());
        Ok(())
    }

    fn fail<T>(&mut self, check: &'static str, found: impl Into<String>) -> Result<T, Failed> {
        self.report.say(Verdict::Fail, check, found);
        Err(Failed)
    }

    fn endpoint(&self, tls: Option<TlsClient>) -> Endpoint {
        Endpoint { server: self.way.server, transport: self.way.transport, tls, bind: None }
    }

    /// A connection; over TLS with a certificate that a browser would take, or else with any.
    fn open(&mut self) -> Result<Connection, Failed> {
        if self.way.transport != Transport::Tls {
            return self.connect(None);
        }
        let checked =
            TlsClient::system(&self.way.host).and_then(|tls| Connection::open(&self.endpoint(Some(tls))));
        match checked {
            Ok(connection) => {
                self.report.say(Verdict::Ok, "certificate", format!("good for {}", self.way.host));
                Ok(quick(connection))
            }
            Err(Error::Tls(why)) => {
                let found = format!(
                    "browsers refuse it ({why}): {} needs a certificate of that name, with its whole chain, from an \
                     authority that this machine trusts",
                    self.way.host
                );
                self.report.say(Verdict::Fail, "certificate", found);
                let any = TlsClient::unverified(&self.way.host);
                match any {
                    Ok(any) => self.connect(Some(any)),
                    Err(error) => self.fail("certificate", error.to_string()),
                }
            }
            Err(error) => self.missing(&error),
        }
    }

    fn connect(&mut self, tls: Option<TlsClient>) -> Result<Connection, Failed> {
        Connection::open(&self.endpoint(tls)).map(quick).or_else(|error| self.missing(&error))
    }

    /// There is nothing to talk to.
    fn missing<T>(&mut self, error: &Error) -> Result<T, Failed> {
        let verdict = if self.way.is_optional { Verdict::Warn } else { Verdict::Fail };
        self.report.say(verdict, "answers", refusal::unreachable(self.way, error));
        Err(Failed)
    }

    /// RFC 8489 §5: Binding.
    fn answers(&mut self, connection: &mut Connection) -> Result<(), Failed> {
        let asked = Instant::now();
        let answer = match connection.ask(Writer::request(method::BINDING).bytes()) {
            Ok(answer) => answer,
            Err(error) => return self.missing(&error),
        };
        let took = asked.elapsed();
        self.report.figures.answer_ms = Some(took);
        match answer.xor_address(attribute::XOR_MAPPED_ADDRESS) {
            Some(mapped) => {
                let mapped = SocketAddr::new(mapped.ip().to_canonical(), mapped.port());
                self.report.say(Verdict::Ok, "answers", format!("after {}; you are {mapped}", ms(took)));
                Ok(())
            }
            None => self.fail(
                "answers",
                format!("without your address (code {}): it is no STUN server", answer.code()),
            ),
        }
    }

    /// RFC 8489 §9.2: whoever does not log in is asked to.
    fn asks_for_login(&mut self, connection: &mut Connection) -> Result<(), Failed> {
        let request = Writer::request(method::ALLOCATE).requested_transport(17);
        let answer: Message = match connection.ask(request.bytes()) {
            Ok(answer) => answer,
            Err(error) => {
                return self.fail(
                    "login",
                    format!("an Allocate gets no answer ({error}): is it a STUN server only?"),
                );
            }
        };
        match (answer.code(), Challenge::of(&answer)) {
            (401, Some(challenge)) => {
                let realm = String::from_utf8_lossy(&challenge.realm).into_owned();
                self.report.say(Verdict::Ok, "login", format!("asked for, realm {realm:?}"));
                Ok(())
            }
            _ if answer.is_success() => self.fail(
                "login",
                "not asked for: anybody may relay through this server, and its owner pays; set a secret",
            ),
            (code, _) => {
                self.fail("login", refusal::explain(&Error::Refused { code }, "no realm or nonce in its 401"))
            }
        }
    }

    fn allocate(&mut self, login: &Login) -> Result<(Allocation, Allocation), Failed> {
        let asked = Instant::now();
        let there = self.allocate_one(login)?;
        let took = asked.elapsed();
        let back = self.allocate_one(login)?;
        self.report.figures.allocation_ms = Some(took);
        let (relayed, lifetime) = (there.relayed(), format_duration(there.session().lifetime()));
        let found = format!("{relayed} for {lifetime}, after {}", ms(took));
        match is_private(relayed.ip()) && !is_private(self.way.server.ip()) {
            true => {
                let found = format!(
                    "{found}: nobody outside reaches that address; the server stands behind 1:1 NAT and must advertise \
                     its public one (node.public_ipv4; coturn: external-ip)"
                );
                self.report.say(Verdict::Fail, "allocation", found);
            }
            false => self.report.say(Verdict::Ok, "allocation", found),
        }
        Ok((there, back))
    }

    fn allocate_one(&mut self, login: &Login) -> Result<Allocation, Failed> {
        let tls = match self.way.transport {
            Transport::Tls => TlsClient::unverified(&self.way.host).ok(),
            Transport::Udp | Transport::Tcp => None,
        };
        let options = AllocateOptions { ipv6: self.way.server.is_ipv6(), ..AllocateOptions::default() };
        let opened = Connection::open(&self.endpoint(tls)).and_then(|connection| {
            let connection = quick(connection);
            Allocation::open(connection, login.credentials(), None, &options)
        });
        opened.or_else(|error| self.fail("allocation", refusal::explain(&error, login.cure())))
    }

    /// RFC 8656 §12: each binds a channel to the other.
    fn connects(
        &mut self,
        there: &mut Allocation,
        back: &mut Allocation,
        login: &Login,
    ) -> Result<(), Failed> {
        let (one, other) = (there.relayed(), back.relayed());
        let bound = there.bind(other).and_then(|_| back.bind(one));
        match bound {
            Ok(_) => Ok(()),
            Err(error) => self.fail("channel", refusal::explain(&error, login.cure())),
        }
    }

    fn echoes(&mut self, there: &mut Allocation, back: &mut Allocation) -> Result<(), Failed> {
        let echo = match echo::run(there, back) {
            Ok(echo) => echo,
            Err(error) => return self.fail("echo", error.to_string()),
        };
        self.report.figures.echo_lost = Some(echo.lost());
        self.report.figures.echo_median_ms = echo.within(0.5);
        let (Some(median), Some(slow)) = (echo.within(0.5), echo.within(0.95)) else {
            return self.fail(
                "echo",
                "nothing comes through two allocations: the relayed ports do not reach each other; is the port range \
                 open in the firewall, and does the server reach its own public address?",
            );
        };
        let found = format!(
            "{} of {} came back, half within {}, 95 % within {}",
            echo.times.len(),
            echo.sent,
            ms(median),
            ms(slow)
        );
        let verdict = if echo.lost() > 0.02 { Verdict::Warn } else { Verdict::Ok };
        self.report.say(verdict, "echo", found);
        Ok(())
    }

    fn bears(
        &mut self,
        there: &mut Allocation,
        back: &mut Allocation,
        lasting: Duration,
    ) -> Result<(), Failed> {
        if lasting.is_zero() {
            return Ok(());
        }
        let flow = match throughput::run(there, back, lasting) {
            Ok(flow) => flow,
            Err(error) => return self.fail("throughput", error.to_string()),
        };
        let rate = flow.megabits_per_second();
        self.report.figures.megabits_per_second = Some(rate);
        let found = format!("{rate:.1} Mbit/s through two allocations, {:.1} % lost", flow.lost() * 100.0);
        // A video call takes one or two.
        let verdict = if rate < 2.0 { Verdict::Warn } else { Verdict::Ok };
        self.report.say(verdict, "throughput", found);
        Ok(())
    }
}

fn quick(mut connection: Connection) -> Connection {
    connection.set_retransmission(if connection.transport().is_stream() { STREAM } else { UDP });
    connection
}

fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    }
}
