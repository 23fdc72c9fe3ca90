//! What traffic costs: tiers, rounding, the end of the period at the rate of the last days, other providers.

use turnpike_config as config;
use turnpike_relay_api::{
    admin::{Flow, Traffic},
    cost::{Compared, Cost, Day, Priced},
    usage::{Billing, BytePrice, Count},
};

use crate::ledger::{DAY, Reading, day_name, day_of};

/// The rate is taken from today and as many days before it.
const RATE_DAYS: i64 = 7;
/// A rate of less than a minute says nothing.
const SHORTEST: u64 = 60;

/// What this node and others ask for traffic.
#[derive(Debug, Clone)]
pub(crate) struct Prices {
    config: config::Cost,
}

impl Prices {
    pub(crate) fn new(config: &config::Cost) -> Self {
        Self { config: config.clone() }
    }

    /// Which bytes are on the bill here.
    pub(crate) fn billing(&self) -> Billing {
        self.billing_by(self.config.count)
    }

    fn billing_by(&self, by: config::Count) -> Billing {
        Billing { count: count(by), headers: self.config.header_overhead }
    }

    /// Absent without a price.
    pub(crate) fn currency(&self) -> Option<&str> {
        self.config.price.as_ref().map(|price| price.currency.as_str())
    }

    /// The names of those that are compared with.
    pub(crate) fn vendors(&self) -> impl Iterator<Item = &str> {
        self.config.compare.iter().map(|vendor| vendor.vendor.as_str())
    }

    /// What the period has cost until now; absent without a price.
    pub(crate) fn until_now(&self, reading: &Reading) -> Option<f64> {
        let price = self.config.price.as_ref()?;
        Some(price.base + of(price, self.billing().bytes(&reading.period)))
    }

    /// The whole account.
    pub(crate) fn report(&self, reading: &Reading) -> Cost {
        let end = reading.period_end.max(0) as u64 * DAY;
        let left = end.saturating_sub(reading.at);
        let (rate, low_confidence) = rate(reading);
        let projected = after(&reading.period, &rate, left);
        let (billed, projected_billed) =
            (self.billing().bytes(&reading.period), self.billing().bytes(&projected));
        let price = self.config.price.as_ref().map(|price| priced(price, billed, projected_billed));
        let compare = |vendor: &config::Compare| {
            let there = self.billing_by(vendor.count);
            let cost = |traffic: &Traffic| {
                (vendor.price.base + of(&vendor.price, there.bytes(traffic))) * vendor.rate
            };
            let projected_cost = cost(&projected);
            Compared {
                vendor: vendor.vendor.clone(),
                billed_bytes: there.bytes(&reading.period),
                cost: cost(&reading.period),
                projected_cost,
                projected_saving: price.as_ref().map(|here| projected_cost - here.projected_total()),
            }
        };
        let day = |(day, traffic): &(i64, Traffic)| {
            let billed_bytes = self.billing().bytes(traffic);
            let cost = price.as_ref().map(|price| price.byte.blended * billed_bytes as f64);
            Day { day: day_name(*day), billed_bytes, cost }
        };
        Cost {
            period_start: day_name(reading.period_start),
            period_end: day_name(reading.period_end),
            seconds_left: left,
            traffic: reading.period,
            billed_bytes: billed,
            projected_bytes: projected_billed,
            low_confidence,
            comparison: self.config.compare.iter().map(compare).collect(),
            days: reading.days.iter().rev().map(day).collect(),
            price,
        }
    }
}

fn count(count: config::Count) -> Count {
    match count {
        config::Count::Egress => Count::Egress,
        config::Count::Both => Count::Both,
        config::Count::Max => Count::Max,
        config::Count::ClientOut => Count::ClientOut,
    }
}

fn priced(price: &config::Price, billed: u64, projected: u64) -> Priced {
    let projected_traffic = of(price, projected);
    let blended = match projected {
        0 => 0.0,
        bytes => (price.base + projected_traffic) / bytes as f64,
    };
    Priced {
        source: price.source.clone(),
        included_bytes: price.included,
        base: price.base,
        traffic: of(price, billed),
        projected_traffic,
        byte: BytePrice { currency: price.currency.clone(), blended, marginal: marginal(price, billed) },
    }
}

/// What so many billed bytes cost, without the base.
fn of(price: &config::Price, billed: u64) -> f64 {
    let beyond = billed.saturating_sub(price.included);
    let step = price.round_up_to.max(1);
    let mut left = u128::from(beyond).div_ceil(u128::from(step)) * u128::from(step);
    let (mut cost, mut below) = (0.0, 0_u128);
    for tier in &price.tiers {
        let width = tier.up_to.map_or(u128::MAX, |end| u128::from(end) - below);
        let here = left.min(width);
        cost += here as f64 * tier.per_byte;
        left -= here;
        below += here;
    }
    cost
}

/// What one more byte costs by its tier.
fn marginal(price: &config::Price, billed: u64) -> f64 {
    let Some(beyond) = billed.checked_sub(price.included) else { return 0.0 };
    let tier = price.tiers.iter().find(|tier| tier.up_to.is_none_or(|end| beyond < end));
    tier.map_or(0.0, |tier| tier.per_byte)
}

/// Traffic of the last days and the seconds that it took; whether that is less than a day.
fn rate(reading: &Reading) -> ((Traffic, u64), bool) {
    let first = day_of(reading.at) - RATE_DAYS;
    let mut traffic = Traffic::default();
    reading.days.iter().filter(|(day, _)| *day >= first).for_each(|(_, of_day)| traffic.add(of_day));
    let since = reading.began.max(first.max(0) as u64 * DAY);
    let seconds = reading.at.saturating_sub(since);
    ((traffic, seconds.max(SHORTEST)), seconds < DAY)
}

/// So many seconds later.
fn after(now: &Traffic, (of_rate, over): &(Traffic, u64), seconds: u64) -> Traffic {
    let scale = |number: u64| (u128::from(number) * u128::from(seconds) / u128::from(*over)) as u64;
    let flow = |flow: &Flow| Flow { bytes: scale(flow.bytes), packets: scale(flow.packets) };
    let mut later = *now;
    later.add(&Traffic {
        client_in: flow(&of_rate.client_in),
        client_out: flow(&of_rate.client_out),
        peer_in: flow(&of_rate.peer_in),
        peer_out: flow(&of_rate.peer_out),
        hairpin: flow(&of_rate.hairpin),
    });
    later
}

#[cfg(test)]
mod tests;
