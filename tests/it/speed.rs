//! The benchmark in small: every cell against the real binary. Nothing here depends on how fast the machine is.

use std::{path::PathBuf, time::Duration};

use turnpike_bench::{
    cells::{self, Size, TWO_SHARDS, Work},
    compare::{Comparison, compare},
    load::{Pace, Plan},
    measure::Measured,
    report::{Report, figures},
    scenarios::{many, soak},
    servers::Programs,
};

fn programs() -> Programs {
    Programs {
        turnpike: PathBuf::from(env!("CARGO_BIN_EXE_turnpike")),
        coturn: "turnserver".into(),
        bench: "turnpike-bench".into(),
        server_processors: vec![],
        generator_processors: vec![],
    }
}

/// 400 relayed datagrams a second, which any machine carries.
const SIZE: Size = Size { seconds: 0.3, flows: 10, payload: 1000, rate: 400.0, allocations: 50 };

#[test]
fn every_cell_is_carried_out_and_what_is_offered_at_a_low_rate_arrives() {
    let mut cells = cells::all(&SIZE);
    for cell in &mut cells {
        // Half of what a machine can is no low rate.
        if let Work::Half(plan) = cell.work {
            cell.work = Work::Load(Plan { pace: Pace::Rate(SIZE.rate), ..plan });
        }
    }
    let keys: Vec<&str> = cells.iter().map(|cell| cell.key).collect();
    let comparison = Comparison {
        cells: cells.clone(),
        rounds: 1,
        servers: vec![cells::OURS, TWO_SHARDS],
        syscalls: false,
    };
    let report = compare(&comparison, &programs(), |_| {}).unwrap_or_else(|error| panic!("{error:#}"));
    for (cell, key) in cells.iter().zip(&keys) {
        let servers = report.servers_of(key);
        assert!(servers.contains(&"turnpike"), "{key}: {servers:?}");
        assert_eq!(servers.contains(&"turnpike, 2 shards"), *key == "thin");
        for sample in servers.into_iter().flat_map(|server| report.of(key, server)) {
            match (&sample.measured, cell.work) {
                (Measured::Load(seen), Work::Load(plan)) => {
                    assert!(seen.sent > 0 && seen.arrived <= seen.sent, "{key}: {seen:?}");
                    assert_eq!(seen.astray, 0, "{key}: {seen:?}");
                    assert!(seen.cpu_us.is_some_and(|cpu| cpu > 0.0), "{key}: {seen:?}");
                    let latency = seen.latency_us;
                    assert!(latency.p50 <= latency.p99 && latency.p99 <= latency.p999, "{key}: {seen:?}");
                    if plan.pace != Pace::Saturated {
                        assert_eq!(seen.arrived, seen.sent, "{key}: {seen:?}");
                    }
                }
                (Measured::Allocations(made), Work::Allocate(count)) => {
                    assert_eq!(made.count, count);
                    assert!(made.per_second > 0.0 && made.memory >= 0.0, "{made:?}");
                }
                (measured, work) => panic!("{key}: {measured:?} of {work:?}"),
            }
        }
    }
    let markdown = report.markdown();
    for (_, title) in report.cells.iter().filter(|(key, _)| key != "allocate") {
        assert!(markdown.contains(&format!("| {title} | turnpike |")), "{title} in {markdown}");
    }
    assert!(markdown.contains("listen_udp"), "the configuration in {markdown}");
    // Ours by ours: three of Send and Data, two shards, memory.
    assert_eq!(figures(&report).len(), 5, "{markdown}");
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap().markdown(), markdown);
}

#[test]
fn many_allocations_are_live_beside_a_flow_and_end_with_the_process() {
    let seen = many(300, 0.3, &programs()).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(seen.count, 300);
    assert_eq!((seen.flow.arrived, seen.flow.astray), (seen.flow.sent, 0), "{seen:?}");
    assert!(seen.flow.sent > 0 && seen.set_up_seconds > 0.0 && seen.shut_down_seconds > 0.0);
}

#[test]
fn a_soak_counts_every_datagram_that_is_lost() {
    let soaked = soak(Duration::from_secs(1), 0.25, 0.2, &programs(), |_| {});
    let soaked = soaked.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(soaked.slices.len() > 1 && soaked.capacity > 0.0);
    assert!(soaked.slope_kib_a_minute.is_finite());
    let sent: u64 = soaked.slices.iter().map(|slice| slice.seen.sent).sum();
    assert!(sent > 0 && soaked.uncounted == 0, "{soaked:?}");
}

/// The full figures: eight minutes, at most 0.5 MiB a minute, no loss that is not counted. Then 10,000 allocations.
#[test]
#[ignore = "nine minutes: make soak"]
fn soak_of_eight_minutes_and_ten_thousand_allocations() {
    let programs = Programs { server_processors: vec![0], generator_processors: vec![1], ..programs() };
    let soaked = soak(Duration::from_secs(480), 10.0, 0.7, &programs, |line| eprintln!("{line}"));
    let soaked = soaked.unwrap_or_else(|error| panic!("{error:#}"));
    eprintln!("slope {:.1} KiB a minute, {} uncounted", soaked.slope_kib_a_minute, soaked.uncounted);
    assert!(soaked.slope_kib_a_minute <= 512.0, "{soaked:?}");
    assert_eq!(soaked.uncounted, 0, "{soaked:?}");
    let seen = many(10_000, 5.0, &programs).unwrap_or_else(|error| panic!("{error:#}"));
    eprintln!("{}", serde_json::to_string_pretty(&seen).unwrap());
    assert_eq!(seen.flow.astray, 0);
}
