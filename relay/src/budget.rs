//! The budget of the billing period: how far it is spent, and what holds because of it.
//!
//! It is worked out anew from the ledger's totals whenever they change, and those outlive a restart: there is no second
//! truth that could contradict them.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use turnpike_config::{Budget as Config, BudgetLimit};
use turnpike_relay_api::{
    admin::Traffic,
    cost::{Budget as Report, Cost, Spent, Step},
};

use crate::{cost::Prices, ledger::Reading};

/// Read by every shard, written by the ledger's thread.
#[derive(Debug)]
pub(crate) struct Budget {
    config: Config,
    prices: Prices,
    step: AtomicU8,
    /// The bits of an `f64`.
    ratio: AtomicU64,
}

impl Budget {
    pub(crate) fn new(config: &Config, prices: Prices) -> Self {
        Self { config: config.clone(), prices, step: AtomicU8::new(0), ratio: AtomicU64::new(0) }
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
        self.prices.count().bytes(traffic)
    }

    /// Absent without a budget.
    pub(crate) fn spent(&self) -> Option<Spent> {
        self.config.limit?;
        Some(Spent { step: self.step(), ratio: f64::from_bits(self.ratio.load(Ordering::Relaxed)) })
    }

    /// The ledger's totals have changed.
    pub(crate) fn look_at(&self, reading: &Reading) {
        let Some(limit) = self.config.limit else { return };
        let ratio = match limit {
            BudgetLimit::Bytes(bytes) => self.prices.count().bytes(&reading.period) as f64 / bytes as f64,
            BudgetLimit::Money(money) => self.prices.until_now(reading).unwrap_or(0.0) / money,
        };
        let step = self.step_at(ratio);
        self.ratio.store(ratio.to_bits(), Ordering::Relaxed);
        let before = self.step.swap(step as u8, Ordering::Relaxed);
        if before != step as u8 {
            self.tell(step, ratio);
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

    /// For the operator.
    pub(crate) fn report(&self, cost: Cost) -> Report {
        let (limit_bytes, limit_money) = match self.config.limit {
            None => (None, None),
            Some(BudgetLimit::Bytes(bytes)) => (Some(bytes), None),
            Some(BudgetLimit::Money(money)) => (None, Some(money)),
        };
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
