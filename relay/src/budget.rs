//! The budget of the billing period: how far it is spent, and what holds because of it.
//!
//! It is worked out anew from the ledger's totals whenever they change, and those outlive a restart: there is no second
//! truth that could contradict them. The ledger writes them down before a new step holds, so that a crash does not take it
//! back.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use turnpike_config::{Budget as Config, BudgetLimit};
use turnpike_relay_api::{
    admin::Traffic,
    cost::{Budget as Report, Cost, Spent, Step, StepChange},
};

use crate::{
    cost::Prices,
    ledger::{Reading, day_name},
};

/// Read by every shard, written by the ledger's thread.
#[derive(Debug)]
pub(crate) struct Budget {
    /// The name of this one.
    node: String,
    config: Config,
    prices: Prices,
    step: AtomicU8,
    /// The bits of an `f64`.
    ratio: AtomicU64,
}

impl Budget {
    pub(crate) fn new(node: &str, config: &Config, prices: Prices) -> Self {
        let (step, ratio) = (AtomicU8::new(0), AtomicU64::new(0));
        Self { node: node.to_owned(), config: config.clone(), prices, step, ratio }
    }

    /// What holds now.
    pub(crate) fn step(&self) -> Step {
        Step::ALL[usize::from(self.step.load(Ordering::Relaxed))]
    }

    /// Most bits a second of an allocation now; 0 is no limit.
    pub(crate) fn bitrate(&self, step: Step) -> u64 {
        if step >= Step::Degrade { self.config.degraded_bitrate } else { 0 }
    }

    /// Whether live allocations are to end.
    pub(crate) fn cuts(&self, step: Step) -> bool {
        step == Step::Stop && self.config.cut
    }

    /// What of this traffic is on the bill.
    pub(crate) fn billed(&self, traffic: &Traffic) -> u64 {
        self.prices.billing().bytes(traffic)
    }

    /// Absent without a budget.
    pub(crate) fn spent(&self) -> Option<Spent> {
        self.config.limit?;
        Some(Spent { step: self.step(), ratio: f64::from_bits(self.ratio.load(Ordering::Relaxed)) })
    }

    /// What follows from these totals; absent without a budget.
    pub(crate) fn at(&self, reading: &Reading) -> Option<Spent> {
        let ratio = match self.config.limit? {
            BudgetLimit::Bytes(bytes) => self.prices.billing().bytes(&reading.period) as f64 / bytes as f64,
            BudgetLimit::Money(money) => self.prices.until_now(reading).unwrap_or(0.0) / money,
        };
        Some(Spent { step: self.step_at(ratio), ratio })
    }

    /// From now on this holds.
    pub(crate) fn enter(&self, spent: Spent) {
        self.ratio.store(spent.ratio.to_bits(), Ordering::Relaxed);
        let before = self.step.swap(spent.step as u8, Ordering::Relaxed);
        if before != spent.step as u8 {
            self.tell(spent.step, spent.ratio);
        }
    }

    fn step_at(&self, ratio: f64) -> Step {
        match ratio {
            _ if ratio >= 1.0 => Step::Stop,
            _ if ratio >= self.config.degrade_at => Step::Degrade,
            _ if ratio >= self.config.warn_at => Step::Warn,
            _ => Step::Ok,
        }
    }

    fn tell(&self, step: Step, ratio: f64) {
        let spent_percent = (ratio * 100.0).floor();
        match step {
            Step::Ok => tracing::info!(spent_percent, "the budget of the billing period is in order"),
            Step::Warn => tracing::warn!(
                code = "budget_warn",
                spent_percent,
                "the budget of the billing period is nearly spent; `turnpike budget` shows what will follow, and \
                 budget.per_period raises it"
            ),
            Step::Degrade => tracing::warn!(
                code = "budget_degrade",
                spent_percent,
                bits_per_second = self.config.degraded_bitrate,
                "the budget of the billing period is nearly spent: every allocation is slowed down to \
                 budget.degraded_bitrate"
            ),
            Step::Stop => tracing::warn!(
                code = "budget_stop",
                spent_percent,
                live_allocations = if self.config.cut { "end" } else { "go on" },
                "the budget of the billing period is spent: no TURN credentials are minted and new allocations are \
                 refused until it ends; raise budget.per_period and restart the relay to go on"
            ),
        }
    }

    /// What the webhook is told.
    pub(crate) fn change(&self, before: Step, spent: Spent, reading: &Reading) -> StepChange {
        let Spent { step, ratio } = spent;
        let holds = match step {
            Step::Ok => "all is in order",
            Step::Warn => "nothing is slower yet",
            Step::Degrade => "every allocation is slowed down",
            Step::Stop if self.config.cut => "no credentials, no new allocations, and live ones end",
            Step::Stop => "no credentials and no new allocations; live ones go on",
        };
        let spent_percent = (ratio * 100.0).floor();
        let (limit_bytes, limit_money) = self.limits();
        let period_end = day_name(reading.period_end);
        StepChange {
            text: format!(
                "{}: {spent_percent:.0} % of the TURN budget until {period_end} is spent ({}): {holds}",
                self.node,
                step.name()
            ),
            node: self.node.clone(),
            step,
            before,
            ratio,
            billed_bytes: self.billed(&reading.period),
            limit_bytes,
            limit_money,
            currency: limit_money.and_then(|_| self.prices.currency()).map(str::to_owned),
            period_start: day_name(reading.period_start),
            period_end,
            at: reading.at,
        }
    }

    /// In bytes, or in money.
    fn limits(&self) -> (Option<u64>, Option<f64>) {
        match self.config.limit {
            None => (None, None),
            Some(BudgetLimit::Bytes(bytes)) => (Some(bytes), None),
            Some(BudgetLimit::Money(money)) => (None, Some(money)),
        }
    }

    /// For the operator.
    pub(crate) fn report(&self, cost: Cost) -> Report {
        let (limit_bytes, limit_money) = self.limits();
        Report {
            spent: self.spent(),
            limit_bytes,
            limit_money,
            warn_at: self.config.warn_at,
            degrade_at: self.config.degrade_at,
            degraded_bitrate: self.config.degraded_bitrate,
            cut: self.config.cut,
            cost,
        }
    }
}
