use turnpike_config::{Compare, Price, Tier, preset};

use super::*;

const GB: u64 = 1_000_000_000;
const TB: u64 = 1_000 * GB;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

fn price(name: &str) -> Price {
    preset(name).unwrap().0
}

fn assert_money(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-6, "{what}: {found} instead of {expected}");
}

/// Bytes on the bill and what they cost, worked out by hand from the provider's own words.
#[test]
fn each_preset_prices_its_allowance_the_byte_after_it_its_tiers_and_its_rounding() {
    for (name, cases) in [
        // 20 TiB, then 1 EUR for each TB begun.
        (
            "hetzner-eu",
            &[(0, 0.0), (20 * TIB, 0.0), (20 * TIB + 1, 1.0), (20 * TIB + TB, 1.0), (20 * TIB + TB + 1, 2.0)]
                [..],
        ),
        // 500 GiB, then 0.01 USD for each GiB begun.
        (
            "digitalocean",
            &[
                (500 * GIB, 0.0),
                (500 * GIB + 1, 0.01),
                (501 * GIB, 0.01),
                (600 * GIB, 1.0),
                (600 * GIB + 1, 1.01),
            ],
        ),
        // 2 TB, then 0.01 USD for each GB begun.
        ("vultr", &[(2 * TB, 0.0), (2 * TB + 1, 0.01), (2 * TB + GB, 0.01), (3 * TB, 10.0)]),
        // 100 GB, then 0.09 USD/GB for 10 TB, 0.085 for 40 TB more, 0.07 for 100 TB more, 0.05 from there on.
        (
            "aws-ec2",
            &[
                (100 * GB, 0.0),
                (101 * GB, 0.09),
                (100 * GB + 10 * TB, 900.0),
                (101 * GB + 10 * TB, 900.085),
                (100 * GB + 50 * TB, 900.0 + 3_400.0),
                (101 * GB + 50 * TB, 4_300.07),
                (100 * GB + 150 * TB, 4_300.0 + 7_000.0),
                (101 * GB + 150 * TB, 11_300.05),
            ],
        ),
        // 1 TB, then 0.09 USD/GB.
        ("lightsail", &[(TB, 0.0), (TB + GB, 0.09), (2 * TB, 90.0)]),
        // 1,000 GB, then 0.05 USD/GB.
        ("cloudflare", &[(1_000 * GB, 0.0), (1_001 * GB, 0.05), (3 * TB, 100.0)]),
    ] {
        for (billed, cost) in cases {
            assert_money(of(&price(name), *billed), *cost, &format!("{name} at {billed}"));
        }
    }
    let one_byte = of(&price("aws-ec2"), 100 * GB + 1);
    assert!((one_byte - 9e-11).abs() < 1e-15, "no rounding: {one_byte}");
}

#[test]
fn the_next_byte_costs_nothing_inside_the_allowance_and_its_tier_s_price_beyond() {
    let aws = price("aws-ec2");
    for (billed, per_gb) in [
        (0, 0.0),
        (100 * GB - 1, 0.0),
        (100 * GB, 0.09),
        (100 * GB + 10 * TB - 1, 0.09),
        (100 * GB + 10 * TB, 0.085),
        (100 * GB + 50 * TB, 0.07),
        (900 * TB, 0.05),
    ] {
        assert_money(marginal(&aws, billed) * 1e9, per_gb, &billed.to_string());
    }
}

fn flow(bytes: u64) -> Flow {
    Flow { bytes, packets: bytes / 1_000 }
}

fn to_clients(bytes: u64) -> Traffic {
    Traffic { client_out: flow(bytes), ..Traffic::default() }
}

/// Day 0 of the period is 2026-11-01.
const NOVEMBER: i64 = 20_758;

fn november(at_day: i64, began_day: i64, per_day: u64) -> Reading {
    let days: Vec<_> = (began_day..at_day).map(|day| (NOVEMBER + day, to_clients(per_day))).collect();
    Reading {
        period_start: NOVEMBER,
        period_end: NOVEMBER + 30,
        period: to_clients(per_day * (at_day - began_day.max(0)) as u64),
        days: days.into_iter().filter(|(day, _)| *day > NOVEMBER + at_day - 8).collect(),
        at: (NOVEMBER + at_day) as u64 * DAY,
        began: (NOVEMBER + began_day) as u64 * DAY,
        ..Reading::default()
    }
}

fn prices(name: &str, compare: Vec<Compare>) -> Prices {
    let (price, count) = preset(name).unwrap();
    Prices::new(&config::Cost { price: Some(price), count, header_overhead: true, reset_day: 1, compare })
}

#[test]
fn a_month_is_projected_by_the_rate_of_its_last_seven_days() {
    assert_eq!(day_name(NOVEMBER), "2026-11-01");
    let prices = prices("vultr", Vec::new());
    let even = prices.report(&november(10, -20, 100 * GB));
    assert_eq!((even.billed_bytes, even.projected_bytes, even.low_confidence), (TB, 3 * TB, false));
    let price = even.price.unwrap();
    assert_money(price.total(), 0.0, "inside the allowance");
    assert_money(price.projected_total(), 10.0, "1 TB beyond it");
    assert_money(price.byte.blended * 3e12, 10.0, "all bytes together cost what the month does");
    assert_eq!(price.byte.marginal, 0.0);
    assert_eq!((even.period_end.as_str(), even.seconds_left), ("2026-12-01", 20 * DAY));
    assert_money(even.days[0].cost.unwrap(), 10.0 / 30.0, "a day");

    // Nothing for a long time, then a busy week.
    let mut busy = november(10, -20, 0);
    busy.days = (3..10).map(|day| (NOVEMBER + day, to_clients(200 * GB))).collect();
    busy.period = to_clients(1_400 * GB);
    assert_eq!(prices.report(&busy).projected_bytes, 1_400 * GB + 20 * 200 * GB);

    // What is older than a week says nothing about the rate.
    let mut quiet = november(20, -20, 0);
    quiet.period = to_clients(5 * TB);
    quiet.days.clear();
    assert_eq!(prices.report(&quiet).projected_bytes, 5 * TB);
}

#[test]
fn a_node_of_less_than_a_day_is_projected_with_little_confidence_and_one_of_three_days_by_those() {
    let prices = prices("vultr", Vec::new());
    let mut first = november(9, 9, 0);
    first.at += DAY / 4;
    first.period = to_clients(10 * GB);
    first.days = vec![(NOVEMBER + 9, to_clients(10 * GB))];
    let report = prices.report(&first);
    assert!(report.low_confidence);
    assert_eq!(report.projected_bytes, 10 * GB + 83 * 10 * GB, "a quarter of a day, and 83 more of them");
    let third = prices.report(&november(12, 9, 10 * GB));
    assert_eq!((third.projected_bytes, third.low_confidence), (30 * GB + 18 * 10 * GB, false));
}

#[test]
fn others_are_held_to_their_own_terms_and_may_be_cheaper() {
    let cloudflare = preset("cloudflare").unwrap();
    let vendor = |rate| Compare {
        vendor: "cloudflare".to_owned(),
        price: cloudflare.0.clone(),
        count: cloudflare.1,
        rate,
    };
    let own = Price {
        source: None,
        currency: "EUR".to_owned(),
        base: 40.0,
        included: 0,
        tiers: vec![Tier { up_to: None, per_byte: 0.0 }],
        round_up_to: 0,
    };
    let at_home = |compare| {
        Prices::new(&config::Cost {
            price: Some(own),
            count: config::Count::Both,
            header_overhead: true,
            reset_day: 1,
            compare,
        })
    };
    let mut reading = november(30, 0, 0);
    reading.period = Traffic { peer_in: flow(9 * TB), ..to_clients(2 * TB) };
    let report = at_home(vec![vendor(0.9)]).report(&reading);
    assert_eq!(report.billed_bytes, 11 * TB);
    let [there] = &report.comparison[..] else { panic!("one vendor") };
    assert_eq!(there.billed_bytes, 2 * TB, "only what goes to clients");
    assert_money(there.cost, 45.0, "1 TB beyond the free one, 50 USD");
    assert_money(there.projected_saving.unwrap(), 5.0, "at the end of the month");
    reading.period = to_clients(TB + 500 * GB);
    let prices =
        Prices { config: config::Cost { compare: vec![vendor(1.0)], ..prices("vultr", Vec::new()).config } };
    let saving = |reading: &Reading| prices.report(reading).comparison[0].projected_saving.unwrap();
    assert_money(saving(&reading), 25.0, "inside the allowance here, 25 there");
    reading.period = Traffic { peer_out: flow(9 * TB), ..to_clients(500 * GB) };
    assert_money(saving(&reading), -75.0, "7.5 TB beyond the allowance here, nothing there");
}

#[test]
fn without_headers_each_packet_is_28_bytes_less_here_and_elsewhere() {
    let bare = |headers| {
        let cloudflare = Compare {
            vendor: "cloudflare".to_owned(),
            price: price("cloudflare"),
            count: config::Count::ClientOut,
            rate: 1.0,
        };
        let config = config::Cost { header_overhead: headers, ..prices("vultr", vec![cloudflare]).config };
        let report = Prices { config }.report(&november(10, 0, GB));
        [report.billed_bytes, report.comparison[0].billed_bytes]
    };
    assert_eq!(bare(true), [10 * GB; 2]);
    assert_eq!(bare(false), [10 * GB - 28 * 10_000_000; 2], "of packets of 1,000 bytes");
}
