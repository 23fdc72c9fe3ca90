use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread,
};

use super::*;

const NOW: Duration = Duration::from_secs(1);

/// An address that no other process binds ports on, so that the tests of two of them do not meet.
pub(super) fn own_loopback_address() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 9, high, low)
}

fn shared(ports: (u16, u16), allocations: usize, allocations_per_subject: usize) -> Shared {
    let ipv4 = RelayAddress { bound: own_loopback_address().into(), advertised: [198, 18, 0, 1].into() };
    let relayed = ByFamily::from_fn(|family| (family == Family::Ipv4).then_some(ipv4));
    let (allocations_per_ip, bitrate_per_subject) = (0, 0);
    Shared::new(Limits {
        relayed,
        ports,
        allocations,
        allocations_per_subject,
        allocations_per_ip,
        bitrate_per_subject,
    })
}

/// Relayed addresses of both families.
fn dual(ports: (u16, u16), allocations_per_subject: usize) -> Shared {
    let ipv6 = RelayAddress { bound: Ipv6Addr::LOCALHOST.into(), advertised: "2001:db8::1".parse().unwrap() };
    let mut limits = shared(ports, 10, allocations_per_subject).limits;
    limits.relayed[Family::Ipv6] = Some(ipv6);
    Shared::new(limits)
}

fn request(subject: &str, port: PortRequest) -> RelayRequest {
    of_families(subject, port, &[Family::Ipv4])
}

fn of_families(subject: &str, port: PortRequest, families: &[Family]) -> RelayRequest {
    RelayRequest {
        subject: subject.into(),
        limit: None,
        credential: None,
        client: Ipv4Addr::LOCALHOST.into(),
        families: ByFamily::from_fn(|family| families.contains(&family)),
        port,
    }
}

/// The advertised IPv4 port.
fn port(relay: &RelaySockets) -> u16 {
    relay.advertised[Family::Ipv4].unwrap().port()
}

fn in_use(shared: &Shared) -> usize {
    shared.ports()[Family::Ipv4].in_use
}

#[test]
fn an_allocation_is_bound_on_one_address_and_advertised_by_another() {
    let shared = shared((22_000, 22_003), 10, 0);
    let relay = shared.open(&request("a", PortRequest::Any), NOW).unwrap();
    let bound = relay.socket(Family::Ipv4).unwrap().local_addr().unwrap();
    assert_eq!(bound, (own_loopback_address(), port(&relay)).into());
    assert_eq!(relay.advertised[Family::Ipv4].unwrap().ip(), IpAddr::from([198, 18, 0, 1]));
    let ports = shared.ports();
    assert_eq!(ports[Family::Ipv4], PortCount { in_use: 1, limit: 4 });
    assert_eq!((shared.allocations(), ports[Family::Ipv6]), (1, PortCount::default()));
    drop(relay);
    assert_eq!((shared.allocations(), in_use(&shared)), (0, 0));
}

#[test]
fn two_relayed_addresses_are_one_allocation_with_a_port_of_each_family() {
    let shared = dual((22_800, 22_801), 1);
    let both = |subject: &str| shared.open(&of_families(subject, PortRequest::Any, &Family::ALL), NOW);
    let mut relay = both("a").unwrap();
    assert_eq!(shared.allocations(), 1);
    assert_eq!(both("a").unwrap_err(), RelayRefused::SubjectQuota);
    for (family, advertised) in [(Family::Ipv4, "198.18.0.1"), (Family::Ipv6, "2001:db8::1")] {
        let bound = relay.socket(family).unwrap().local_addr().unwrap();
        assert_eq!(bound.ip(), shared.limits.relayed[family].unwrap().bound);
        assert_eq!(
            relay.advertised[family],
            Some((advertised.parse::<IpAddr>().unwrap(), bound.port()).into())
        );
        assert_eq!(shared.ports()[family], PortCount { in_use: 1, limit: 2 });
    }
    relay.close(Family::Ipv4);
    assert!(relay.socket(Family::Ipv4).is_none());
    assert_eq!(in_use(&shared), 0);
    assert_eq!(shared.ports()[Family::Ipv6].in_use, 1);
    assert_eq!(shared.allocations(), 1);
    drop(relay);
    assert_eq!((shared.allocations(), shared.ports()[Family::Ipv6].in_use), (0, 0));
}

#[test]
fn where_one_family_has_no_port_left_the_other_is_given() {
    let shared = dual((22_810, 22_810), 0);
    let open = |families: &[Family]| shared.open(&of_families("a", PortRequest::Any, families), NOW);
    let v6 = open(&[Family::Ipv6]).unwrap();
    let relay = open(&Family::ALL).unwrap();
    assert!(relay.socket(Family::Ipv4).is_some() && relay.socket(Family::Ipv6).is_none());
    assert_eq!(relay.advertised[Family::Ipv6], None);
    assert_eq!(open(&Family::ALL).unwrap_err(), RelayRefused::NoPort);
    assert_eq!(shared.allocations(), 2, "one that is refused keeps no place");
    drop((v6, relay));
}

#[test]
fn a_token_gives_the_family_that_was_held() {
    let shared = dual((22_820, 22_821), 0);
    let even = shared.open(&of_families("a", PortRequest::EvenAndReserveNext, &[Family::Ipv6]), NOW).unwrap();
    let token = even.reservation.unwrap();
    assert_eq!(shared.ports()[Family::Ipv6].in_use, 2);
    let odd = shared.open(&of_families("b", PortRequest::Reserved(token), &[]), NOW).unwrap();
    assert_eq!(odd.advertised[Family::Ipv4], None);
    assert_eq!(odd.advertised[Family::Ipv6].unwrap().port(), 22_821);
    drop((even, odd));
}

#[test]
fn each_limit_refuses_by_its_own_reason_and_keeps_nothing() {
    let shared = shared((22_100, 22_102), 3, 2);
    let any = |subject: &str| shared.open(&request(subject, PortRequest::Any), NOW);
    let held = [any("a").unwrap(), any("a").unwrap()];
    assert_eq!(any("a").unwrap_err(), RelayRefused::SubjectQuota);
    let third = any("b").unwrap();
    assert_eq!(any("b").unwrap_err(), RelayRefused::NodeFull);
    drop(third);
    assert_eq!((shared.allocations(), in_use(&shared)), (2, 2));
    drop(held);
    let pair = shared.open(&request("a", PortRequest::EvenAndReserveNext), NOW).unwrap();
    let last = any("b").unwrap();
    assert_eq!(any("b").unwrap_err(), RelayRefused::NoPort);
    drop((pair, last));
}

#[test]
fn a_reserved_port_goes_to_whoever_brings_the_token_once() {
    let shared = shared((22_200, 22_201), 10, 0);
    let even = shared.open(&request("a", PortRequest::EvenAndReserveNext), NOW).unwrap();
    let token = even.reservation.unwrap();
    assert_eq!((port(&even), in_use(&shared)), (22_200, 2));
    assert!(UdpSocket::bind((own_loopback_address(), 22_201)).is_err(), "the held port is bound");
    let unknown = shared.open(&request("b", PortRequest::Reserved([1; 8])), NOW);
    assert_eq!(unknown.unwrap_err(), RelayRefused::UnknownReservation);
    let odd =
        shared.open(&request("b", PortRequest::Reserved(token)), NOW + Duration::from_secs(29)).unwrap();
    assert_eq!((port(&odd), odd.reservation), (22_201, None));
    let again = shared.open(&request("b", PortRequest::Reserved(token)), NOW);
    assert_eq!(again.unwrap_err(), RelayRefused::UnknownReservation);
    drop((even, odd));
    assert_eq!(in_use(&shared), 0);
}

#[test]
fn a_held_port_counts_against_its_subject_until_it_is_redeemed_or_expires() {
    let shared = shared((22_300, 22_303), 10, 2);
    let even = shared.open(&request("a", PortRequest::EvenAndReserveNext), NOW).unwrap();
    let token = even.reservation.unwrap();
    let refused = shared.open(&request("a", PortRequest::Any), NOW);
    assert_eq!(refused.unwrap_err(), RelayRefused::SubjectQuota);
    let odd = shared.open(&request("a", PortRequest::Reserved(token)), NOW).unwrap();
    drop((even, odd));

    let even = shared.open(&request("a", PortRequest::EvenAndReserveNext), NOW).unwrap();
    drop(even);
    assert_eq!(in_use(&shared), 1);
    shared.sweep(NOW + HOLD - Duration::from_millis(1));
    assert_eq!(in_use(&shared), 1);
    shared.sweep(NOW + HOLD);
    assert_eq!(in_use(&shared), 0);
    let pair = [(); 2].map(|()| shared.open(&request("a", PortRequest::Any), NOW).unwrap());
    drop(pair);
}

#[test]
fn an_expired_token_is_unknown_even_before_the_sweep() {
    let shared = shared((22_400, 22_401), 10, 0);
    let token =
        shared.open(&request("a", PortRequest::EvenAndReserveNext), NOW).unwrap().reservation.unwrap();
    let late = shared.open(&request("a", PortRequest::Reserved(token)), NOW + HOLD);
    assert_eq!(late.unwrap_err(), RelayRefused::UnknownReservation);
    assert_eq!(in_use(&shared), 0);
}

#[test]
fn a_token_that_its_taker_may_not_use_is_kept() {
    let shared = shared((22_500, 22_503), 10, 2);
    let even = shared.open(&request("a", PortRequest::EvenAndReserveNext), NOW).unwrap();
    let token = even.reservation.unwrap();
    let held = [(); 2].map(|()| shared.open(&request("b", PortRequest::Any), NOW).unwrap());
    let refused = shared.open(&request("b", PortRequest::Reserved(token)), NOW);
    assert_eq!(refused.unwrap_err(), RelayRefused::SubjectQuota);
    drop(held);
    assert!(shared.open(&request("b", PortRequest::Reserved(token)), NOW).is_ok());
}

#[test]
fn even_port_without_reservation_leaves_the_pool_whole() {
    let shared = shared((22_600, 22_607), 10, 0);
    for _ in 0..10_000 {
        drop(shared.open(&request("a", PortRequest::Even), NOW).unwrap());
    }
    assert_eq!((in_use(&shared), shared.allocations()), (0, 0));
}

#[test]
fn threads_that_allocate_at_once_never_share_a_port_or_pass_a_limit() {
    let shared = shared((22_700, 22_763), 48, 10);
    thread::scope(|scope| {
        for thread in 0..4 {
            let shared = &shared;
            scope.spawn(move || {
                for round in 0..60 {
                    let kinds = [PortRequest::Any, PortRequest::Even, PortRequest::EvenAndReserveNext];
                    let subject = format!("subject {}", (thread + round) % 3);
                    let held: Vec<RelaySockets> = (0..6)
                        .filter_map(|n| shared.open(&request(&subject, kinds[n % 3]), NOW).ok())
                        .collect();
                    let ports: HashSet<u16> = held.iter().map(port).collect();
                    assert_eq!(ports.len(), held.len());
                    for relay in &held {
                        assert_eq!(
                            relay.socket(Family::Ipv4).unwrap().local_addr().unwrap().port(),
                            port(relay)
                        );
                    }
                    assert!(shared.allocations() <= 48);
                    drop(held);
                    shared.sweep(NOW + HOLD);
                }
            });
        }
    });
    assert_eq!((in_use(&shared), shared.allocations()), (0, 0));
    assert_eq!(shared.open(&request("x", PortRequest::Any), NOW).map(|_| ()), Ok(()));
}
