use std::{net::IpAddr, path::Path};

use turnpike_config::{ClientPrivacy, Usage, UserPrivacy};
use turnpike_proto::{AllocationId, Cause, Transport};
use turnpike_relay_api::{
    admin::Flow,
    cost::{Spent, Step},
    usage::{By, Count, UsageQuery},
};

use super::*;
use crate::ledger::query;

/// 2026-11-30 23:59:50.
const LATE: u64 = 1_796_083_190;

const BILLING: Billing = Billing { count: Count::Egress, headers: true };

fn labels(folder: &Path) -> Labels {
    let usage = Usage {
        interim: Duration::from_secs(5),
        retention_days: 35,
        client_address: ClientPrivacy::Prefix,
        user: UserPrivacy::Full,
    };
    Labels::new(&usage, &["shop".to_owned()], folder)
}

/// Of 10,000 bytes.
fn budget() -> Arc<Budget> {
    let budget = turnpike_config::Budget {
        limit: Some(turnpike_config::BudgetLimit::Bytes(10_000)),
        warn_at: 0.5,
        degrade_at: 0.75,
        degraded_bitrate: 64_000,
        cut: false,
        webhook: None,
    };
    let cost = turnpike_config::Cost {
        price: None,
        count: turnpike_config::Count::Egress,
        header_overhead: true,
        reset_day: 1,
        compare: Vec::new(),
    };
    Arc::new(Budget::new("node-1", &budget, crate::cost::Prices::new(&cost)))
}

fn keeper(folder: &Path) -> Keeper {
    let settings = Settings {
        file: folder.join("usage.db"),
        interim: Duration::from_secs(5),
        retention_days: 35,
        reset_day: 1,
        billing: BILLING,
        budget: budget(),
        webhook: None,
        labels: labels(folder),
    };
    let mut keeper = Keeper::open(settings, Clock::start(), Arc::new(Published::new(&["shop".to_owned()])));
    keeper.at = LATE;
    keeper.begin_day();
    keeper
}

fn ids<const N: usize>() -> [AllocationId; N] {
    std::array::from_fn(|nth| AllocationId::from([nth as u8; 16]))
}

fn traffic(bytes: u64) -> Traffic {
    let flow = |bytes| Flow { bytes, packets: bytes / 100 };
    Traffic {
        client_in: flow(bytes),
        client_out: flow(2 * bytes),
        peer_out: flow(bytes),
        ..Traffic::default()
    }
}

fn opened(id: AllocationId, subject: &str, at: u64) -> Opened {
    Opened {
        id,
        subject: subject.into(),
        transport: Transport::Udp,
        client: IpAddr::from([198, 18, 0, 7]),
        at,
    }
}

fn ended(id: AllocationId, bytes: u64, at: u64) -> Ended {
    Ended { id, cause: Cause::Client, at, traffic: traffic(bytes) }
}

fn batch(at: u64, opened: Vec<Opened>, live: Vec<(AllocationId, Traffic)>, closed: Vec<Ended>) -> Batch {
    Batch { at, opened, live, closed }
}

fn read(folder: &Path, by: By) -> turnpike_relay_api::usage::Usage {
    let database = Database::open_to_read(&folder.join("usage.db")).unwrap();
    query::read(&database, &UsageQuery { by, ..UsageQuery::default() }, &labels(folder), BILLING).unwrap()
}

fn period(folder: &Path, start: i64) -> Traffic {
    Database::open_to_read(&folder.join("usage.db")).unwrap().period(start).unwrap()
}

#[test]
fn a_record_goes_from_start_to_stop_and_sums_are_what_the_records_say() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    let [one, two] = ids();
    keeper.take(batch(LATE, vec![opened(one, "shop.alice", LATE), opened(two, "bob", LATE)], vec![], vec![]));
    keeper.write();
    keeper.take(batch(LATE + 1, vec![], vec![(one, traffic(1_000)), (two, traffic(0))], vec![]));
    keeper.write();
    keeper.take(batch(LATE + 3, vec![], vec![(two, traffic(500))], vec![ended(one, 3_000, LATE + 3)]));
    keeper.write();

    let usage = read(folder.path(), By::Allocation);
    let [alice, bob] = &usage.records[..] else { panic!("{usage:?}") };
    assert_eq!(
        (alice.subject.as_str(), alice.tenant.as_str(), alice.client.as_str()),
        ("shop.alice", "shop", "198.18.0.0/24")
    );
    assert_eq!((alice.sequence, alice.status(), alice.cause.as_deref()), (3, "stop", Some("client")));
    assert_eq!((alice.seconds, alice.traffic, alice.billed_bytes), (3, traffic(3_000), 9_000));
    assert_eq!((bob.tenant.as_str(), bob.ended, bob.traffic, bob.sequence), ("other", None, traffic(500), 2));
    assert_eq!((usage.total.allocations, usage.total.billed_bytes, usage.truncated), (2, 10_500, false));

    let days = read(folder.path(), By::Day).sums;
    assert_eq!(days.len(), 1);
    assert_eq!((days[0].name.as_str(), days[0].allocations, days[0].billed_bytes), ("2026-11-30", 2, 10_500));
    let tenants = read(folder.path(), By::Tenant).sums;
    let tenants: Vec<_> = tenants.iter().map(|sum| (sum.name.as_str(), sum.billed_bytes)).collect();
    assert_eq!(tenants, [("shop", 9_000), ("other", 1_500)]);
    let reading = keeper.published.reading();
    assert_eq!(Count::Egress.bytes(&reading.period), 10_500);
    assert_eq!(reading.tenants, [("shop", 9_000), ("other", 1_500)]);
    assert_eq!(period(folder.path(), reading.period_start), reading.period);
    assert_eq!(Status::ALL.map(|status| keeper.published.written(status)), [2, 2, 1]);
    assert_eq!(keeper.entries.len(), 1, "what has ended is forgotten once it is written");
}

#[test]
fn a_record_that_is_written_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    let [one] = ids();
    keeper.take(batch(LATE, vec![opened(one, "alice", LATE)], vec![(one, traffic(100))], vec![]));
    keeper.write();
    let record = keeper.entries[&one].record.clone();
    let before = read(folder.path(), By::Day);
    let writing = keeper.database.as_mut().unwrap().begin().unwrap();
    let again = writing.put(&record).unwrap();
    assert_eq!((again.began, again.traffic), (0, Traffic::default()));
    let later = Record { sequence: 9, traffic: traffic(150), ..record.clone() };
    assert_eq!(writing.put(&later).unwrap().traffic, traffic(50));
    assert_eq!(writing.put(&record).unwrap().traffic, Traffic::default(), "the older one comes late");
    drop(writing);
    assert_eq!(read(folder.path(), By::Day), before, "nothing was committed");
}

#[test]
fn what_a_crash_left_open_is_lost_at_the_next_start_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = keeper(folder.path());
    let [one, two] = ids();
    first.take(batch(LATE, vec![opened(one, "alice", LATE)], vec![(one, traffic(100))], vec![]));
    first.write();
    first.take(batch(LATE + 5, vec![opened(two, "bob", LATE + 4)], vec![(one, traffic(100))], vec![]));
    first.write();
    first.take(batch(LATE + 6, vec![], vec![(one, traffic(900))], vec![]));
    drop(first);
    let second = keeper(folder.path());
    let records = read(folder.path(), By::Allocation).records;
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!((record.cause.as_deref(), record.ended), (Some("lost"), Some(LATE + 5)), "{record:?}");
    }
    assert_eq!(Count::Egress.bytes(&second.published.reading().period), 300, "without what was not written");
    assert_eq!(second.published.written(Status::Stop), 2);
    drop(second);
    let third = keeper(folder.path());
    assert_eq!(third.published.written(Status::Stop), 0);
    assert_eq!(read(folder.path(), By::Allocation).records, records);
}

#[test]
fn what_flows_is_of_the_day_and_the_period_that_it_flows_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    let [one] = ids();
    keeper.take(batch(LATE, vec![opened(one, "alice", LATE)], vec![(one, traffic(100))], vec![]));
    let november = keeper.published.reading().period_start;
    keeper.take(batch(LATE + 9, vec![], vec![(one, traffic(200))], vec![]));
    keeper.take(batch(LATE + 10, vec![], vec![(one, traffic(250))], vec![]));
    let reading = keeper.published.reading();
    assert_eq!((reading.period_start, reading.period_end), (november + 30, november + 61));
    assert_eq!(reading.period, traffic(50));
    keeper.write();
    let days = read(folder.path(), By::Day).sums;
    let days: Vec<_> = days.iter().map(|day| (day.name.as_str(), day.allocations, day.traffic)).collect();
    assert_eq!(days, [("2026-12-01", 0, traffic(50)), ("2026-11-30", 1, traffic(200))]);
    assert_eq!(
        [november, november + 30].map(|start| period(folder.path(), start)),
        [traffic(200), traffic(50)]
    );
    assert_eq!(reading.days, [(november + 29, traffic(200)), (november + 30, traffic(50))]);
}

#[test]
fn without_a_database_everything_is_kept_until_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usage.db");
    std::fs::create_dir(&file).unwrap();
    let mut keeper = keeper(folder.path());
    let [one, two] = ids();
    keeper.take(batch(LATE, vec![opened(one, "alice", LATE)], vec![(one, traffic(100))], vec![]));
    keeper.write();
    keeper.take(batch(LATE + 1, vec![opened(two, "bob", LATE)], vec![], vec![ended(one, 300, LATE + 1)]));
    keeper.write();
    let published = Arc::clone(&keeper.published);
    assert_eq!((published.lost(Status::Interim), published.last_write()), (2, 0));
    assert_eq!(published.reading().period, traffic(300));
    std::fs::remove_dir(&file).unwrap();
    keeper.write();
    assert_eq!(published.last_write(), LATE + 1);
    let records = read(folder.path(), By::Allocation).records;
    assert_eq!(records.iter().map(|r| r.status()).collect::<Vec<_>>(), ["stop", "start"], "{records:?}");
    assert_eq!(published.reading().period, traffic(300));
    assert_eq!(period(folder.path(), published.reading().period_start), traffic(300));
}

#[test]
fn a_file_that_is_no_database_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usage.db");
    std::fs::write(&file, vec![b'x'; 9_000]).unwrap();
    let mut keeper = keeper(folder.path());
    keeper.write();
    assert_eq!(keeper.published.last_write(), LATE);
    assert_eq!(std::fs::read(folder.path().join("usage.db.unreadable")).unwrap().len(), 9_000);
}

#[test]
fn records_past_their_time_go_and_the_sums_of_their_days_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    let [one, two] = ids();
    keeper.take(batch(LATE, vec![opened(one, "a", LATE)], vec![], vec![ended(one, 100, LATE)]));
    let later = LATE + 20 * DAY;
    keeper.take(batch(later, vec![opened(two, "b", later)], vec![], vec![ended(two, 100, later)]));
    keeper.write();
    keeper.take(batch(LATE + 36 * DAY, vec![], vec![], vec![]));
    keeper.sweep_at = Duration::ZERO;
    keeper.write();
    let records = read(folder.path(), By::Allocation).records;
    assert_eq!(records.iter().map(|record| record.subject.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(read(folder.path(), By::Day).sums.len(), 2);
}

#[test]
fn a_budget_goes_up_its_steps_is_kept_over_a_restart_and_begins_anew_with_the_period() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = keeper(folder.path());
    let [one] = ids();
    first.take(batch(LATE, vec![opened(one, "alice", LATE)], vec![], vec![]));
    let mut seen = Vec::new();
    for bytes in [1_000, 1_666, 1_667, 2_499, 2_500, 3_333, 3_334] {
        first.take(batch(LATE + 1, vec![], vec![(one, traffic(bytes))], vec![]));
        seen.push(first.settings.budget.step().name());
    }
    assert_eq!(seen, ["ok", "ok", "warn", "warn", "degrade", "degrade", "stop"], "of three bytes for each");
    // As by a kill -9: what follows from a step was written before the step held.
    drop(first);
    let mut second = keeper(folder.path());
    // The clock of the machine is in another month than the records of the test.
    second.take(batch(LATE + 2, vec![], vec![], vec![]));
    assert_eq!(second.settings.budget.spent().unwrap().step, Step::Stop);
    second.take(batch(LATE + 10, vec![], vec![], vec![]));
    assert_eq!(second.settings.budget.spent().unwrap(), Spent { step: Step::Ok, ratio: 0.0 });
}
