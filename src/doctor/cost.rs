//! Will the bill surprise anybody?

use turnpike_relay_api::cost::{Budget, Spent, Step};

use super::{Findings, Patient};
use crate::quantity;

pub(super) fn examine(patient: &Patient, findings: &mut Findings) {
    let Some(budget) = &patient.budget else {
        return findings.unknown("what is spent: no relay answers");
    };
    price(budget, findings);
    match budget.spent {
        None => findings.warn(
            "no budget is set: nothing stops the relay from spending more than you want; budget.per_period = \"900GiB\" \
             does",
        ),
        Some(Spent { step, ratio }) => spent(step, ratio, findings),
    }
}

fn price(budget: &Budget, findings: &mut Findings) {
    let cost = &budget.cost;
    let Some(price) = &cost.price else {
        return findings.unknown("what a byte costs: no price is set; see cost.preset");
    };
    let projected = quantity::bytes(cost.projected_bytes);
    match cost.projected_bytes > price.included_bytes && price.included_bytes > 0 {
        true => findings.warn(format!(
            "{projected} are projected for this period, and {} are included: the rest is billed by the byte",
            quantity::bytes(price.included_bytes)
        )),
        false => findings.ok(format!("{projected} are projected for this period, and a price is set")),
    }
}

fn spent(step: Step, ratio: f64, findings: &mut Findings) {
    let said = format!("{:.0} % of the budget is spent", (ratio * 100.0).floor());
    match step {
        Step::Ok => findings.ok(said),
        Step::Warn => findings.warn(format!("{said}: raise budget.per_period in time, or let it slow down and stop")),
        Step::Degrade => findings.warn(format!("{said}: calls are slowed to budget.degraded_bitrate")),
        Step::Stop => findings.fail(format!(
            "{said}: nobody is given credentials, and no allocation is made; raise budget.per_period and restart"
        )),
    }
}
