use std::{collections::HashSet, thread};

use super::*;
use crate::shared::tests::own_loopback_address;

/// Each test has a range of its own, below what the kernel gives to others.
fn pool(range: (u16, u16)) -> Arc<PortPool> {
    Arc::new(PortPool::new(own_loopback_address().into(), range))
}

fn hold(port: u16) -> UdpSocket {
    UdpSocket::bind((own_loopback_address(), port)).unwrap()
}

const NOW: Duration = Duration::ZERO;

#[test]
fn every_port_is_handed_out_once_and_comes_back() {
    let pool = pool((20_000, 20_015));
    for _ in 0..3 {
        let held: Vec<BoundPort> = (0..16).map(|_| pool.bind_any(NOW).unwrap()).collect();
        let numbers: HashSet<u16> = held.iter().map(BoundPort::number).collect();
        assert_eq!(numbers, (20_000..=20_015).collect());
        assert!(matches!(pool.bind_any(NOW), Err(BindError::NoPort)));
        assert_eq!(pool.in_use(), 16);
        drop(held);
        assert_eq!(pool.in_use(), 0);
    }
}

#[test]
fn ports_are_chosen_at_random() {
    let pool = pool((20_100, 20_899));
    let in_order = |ports: &[u16]| ports.windows(2).filter(|pair| pair[0] < pair[1]).count();
    let held: Vec<BoundPort> = (0..400).map(|_| pool.bind_any(NOW).unwrap()).collect();
    let numbers: Vec<u16> = held.iter().map(BoundPort::number).collect();
    // 399 neighbours of a random order rise half the time; 6 standard deviations are 60.
    assert!((140..260).contains(&in_order(&numbers)), "{numbers:?}");
}

#[test]
fn even_ports_are_even_and_leave_the_pool_whole() {
    let pool = pool((20_900, 20_907));
    for _ in 0..10_000 {
        assert!(pool.bind_even(NOW).unwrap().number().is_multiple_of(2));
    }
    assert_eq!(pool.in_use(), 0);
    let held: Vec<BoundPort> = (0..4).map(|_| pool.bind_even(NOW).unwrap()).collect();
    assert!(matches!(pool.bind_even(NOW), Err(BindError::NoPort)));
    assert!(pool.bind_any(NOW).is_ok());
    drop(held);
}

#[test]
fn a_pair_is_found_where_only_one_is_left() {
    let pool = pool((21_001, 21_100));
    let mut held: Vec<BoundPort> = (0..100).map(|_| pool.bind_any(NOW).unwrap()).collect();
    assert!(matches!(pool.bind_pair(NOW), Err(BindError::NoPort)));
    held.retain(|port| {
        !matches!(port.number(), 21_040 | 21_041 | 21_051 | 21_052 | 21_099 | 21_100 | 21_001)
    });
    let (even, odd) = pool.bind_pair(NOW).unwrap();
    assert_eq!((even.number(), odd.number()), (21_040, 21_041));
    assert!(matches!(pool.bind_pair(NOW), Err(BindError::NoPort)));
}

#[test]
fn a_port_that_others_hold_is_passed_over_and_tried_again_later() {
    let pool = pool((21_200, 21_203));
    let other = hold(21_202);
    let held: Vec<BoundPort> = (0..3).map(|_| pool.bind_any(NOW).unwrap()).collect();
    assert!(held.iter().all(|port| port.number() != 21_202));
    assert!(matches!(pool.bind_any(NOW), Err(BindError::NoPort)));
    drop(held);
    assert_eq!(pool.in_use(), 0);
    let (even, odd) = pool.bind_pair(NOW).unwrap();
    assert_eq!((even.number(), odd.number()), (21_200, 21_201));
    drop(other);
    assert!(matches!(pool.bind_even(NOW + SET_ASIDE / 2), Err(BindError::NoPort)));
    assert_eq!(pool.bind_even(NOW + SET_ASIDE).unwrap().number(), 21_202);
}

#[test]
fn an_odd_port_that_others_hold_breaks_only_its_own_pair() {
    let pool = pool((21_300, 21_303));
    let _other = hold(21_301);
    let (even, odd) = pool.bind_pair(NOW).unwrap();
    assert_eq!((even.number(), odd.number()), (21_302, 21_303));
    drop((even, odd));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn threads_never_share_a_port() {
    let pool = pool((21_400, 21_431));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..500 {
                    // A port that two held at once could not be bound twice: it would be set aside and missing below.
                    match round % 3 {
                        0 => drop((pool.bind_any(NOW).unwrap(), pool.bind_any(NOW).unwrap())),
                        1 => drop(pool.bind_even(NOW).unwrap()),
                        _ => drop(pool.bind_pair(NOW).unwrap()),
                    }
                }
            });
        }
    });
    let held: Vec<BoundPort> = (0..32).map(|_| pool.bind_any(NOW).unwrap()).collect();
    assert_eq!(held.len(), 32);
}
