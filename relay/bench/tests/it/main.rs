//! The servers that ours is held against: coturn and the bare forwarders, loaded at a low rate, where all of it arrives.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use turnpike_bench::{
    cells::{self, Cell, Size, Work},
    framing::Framing,
    load::{Pace, Path},
    measure::{Measured, measure, syscalls},
    servers::{Kind, Programs},
};

const SIZE: Size = Size { seconds: 0.3, flows: 10, payload: 1000, rate: 400.0, allocations: 20 };

fn programs() -> Programs {
    Programs {
        turnpike: "unused".into(),
        coturn: "turnserver".into(),
        bench: env!("CARGO_BIN_EXE_turnpike-bench").into(),
        server_processors: vec![],
        generator_processors: vec![],
    }
}

fn cell(key: &str) -> Cell {
    cells::all(&SIZE).into_iter().find(|cell| cell.key == key).unwrap()
}

/// Carries a cell out, and holds that nothing went astray, and at an offered rate that everything arrived.
fn carry_out(cell: &Cell, kind: Kind) {
    let (measured, config) = measure(cell.work, kind, &programs(), Some(SIZE.rate))
        .unwrap_or_else(|error| panic!("{} at {}: {error:#}", cell.key, kind.name()));
    assert!(!config.is_empty());
    match (measured, cell.work) {
        (Measured::Allocations(made), _) => assert_eq!(made.count, SIZE.allocations),
        (Measured::Load(seen), Work::Load(plan)) if plan.pace == Pace::Saturated => {
            assert!(seen.arrived > 0 && seen.astray == 0, "{} at {}: {seen:?}", cell.key, kind.name());
        }
        (Measured::Load(seen), _) => {
            assert_eq!((seen.arrived, seen.astray), (seen.sent, 0), "{} at {}", cell.key, kind.name());
        }
    }
}

#[test]
fn every_bare_forwarder_carries_both_paths() {
    for kind in [cells::PLAIN, cells::BATCHED, cells::SEGMENTS] {
        for key in ["thin", "burst", "pairs"] {
            carry_out(&cell(key), kind);
        }
    }
}

#[test]
fn coturn_takes_part_in_every_cell() {
    for cell in cells::all(&SIZE) {
        assert!(cell.servers.contains(&Kind::Coturn));
        carry_out(&cell, Kind::Coturn);
    }
}

#[test]
fn system_calls_are_counted_for_each_datagram() {
    let Work::Load(plan) = cell("thin").work else { unreachable!("a load") };
    assert_eq!((plan.path, plan.framing), (Path::Echo, Framing::Channel));
    let calls = syscalls(plan, cells::PLAIN, &programs()).unwrap_or_else(|error| panic!("{error:#}"));
    let of = |name: &str| calls.iter().find(|(called, _)| called == name).map_or(0.0, |(_, count)| *count);
    assert!(of("sendto") >= 0.9 && of("recvfrom") >= 0.9, "one of each for a datagram: {calls:?}");
}
