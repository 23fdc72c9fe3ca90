//! What traffic costs, and what it may come to.

use serde::{Deserialize, Serialize};

use crate::{admin::Traffic, usage::BytePrice};

/// `GET`: [`Cost`].
pub const COST: &str = "/v1/cost";
/// `GET`: [`Budget`].
pub const BUDGET: &str = "/v1/budget";

/// The billing period until now, and its end if things go on like this.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Its first day in UTC.
    pub period_start: String,
    /// The first day of the next one.
    pub period_end: String,
    /// Seconds until then.
    pub seconds_left: u64,
    /// What has flowed.
    pub traffic: Traffic,
    /// What of it is on the bill.
    pub billed_bytes: u64,
    /// What will be on the bill at the end, at the rate of the last seven days.
    pub projected_bytes: u64,
    /// The rate is that of less than a day.
    pub low_confidence: bool,
    /// What that costs; absent where no price is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Priced>,
    /// The same traffic elsewhere.
    pub comparison: Vec<Compared>,
    /// Today and the days before it, the last first.
    pub days: Vec<Day>,
}

/// What a period costs.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Priced {
    /// Whose price it is; absent where it is the operator's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Bytes that cost nothing more.
    pub included_bytes: u64,
    /// What the period costs without traffic.
    pub base: f64,
    /// What the traffic until now costs.
    pub traffic: f64,
    /// What the traffic of the whole period will cost.
    pub projected_traffic: f64,
    /// What a byte costs.
    pub byte: BytePrice,
}

impl Priced {
    /// Until now.
    pub fn total(&self) -> f64 {
        self.base + self.traffic
    }

    /// At the end of the period.
    pub fn projected_total(&self) -> f64 {
        self.base + self.projected_traffic
    }
}

/// What the same traffic costs elsewhere.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compared {
    /// Where.
    pub vendor: String,
    /// What is counted there of the traffic until now.
    pub billed_bytes: u64,
    /// What that costs there, in the currency of this node.
    pub cost: f64,
    /// What the whole period will cost there.
    pub projected_cost: f64,
    /// By how much less it will have cost here; negative where it is cheaper there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projected_saving: Option<f64>,
}

/// One day.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Day {
    /// In UTC.
    pub day: String,
    /// What is on the bill.
    pub billed_bytes: u64,
    /// Its part of what the period is projected to cost; absent where no price is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
}

/// The steps of a budget.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Nothing is to be done.
    #[default]
    Ok,
    /// The operator is told.
    Warn,
    /// Allocations are slowed down.
    Degrade,
    /// No new allocations.
    Stop,
}

impl Step {
    /// In rising order.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Warn, Self::Degrade, Self::Stop];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Degrade => "degrade",
            Self::Stop => "stop",
        }
    }
}

/// How far a budget is spent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// What holds now.
    pub step: Step,
    /// The spent part; above 1 when more was spent than there was.
    pub ratio: f64,
}

/// What `budget.webhook` is posted when the step of a budget changes.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepChange {
    /// For people, as chat services show it.
    pub text: String,
    /// Whose budget it is.
    pub node: String,
    /// What holds now.
    pub step: Step,
    /// What held before; the same where the relay has just started with it.
    pub before: Step,
    /// The spent part.
    pub ratio: f64,
    /// What of the period's traffic is on the bill.
    pub billed_bytes: u64,
    /// The limit in bytes, where it is one of bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// The limit in money, where it is one of money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_money: Option<f64>,
    /// Its currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The first day of the billing period in UTC.
    pub period_start: String,
    /// The first day of the next one.
    pub period_end: String,
    /// When it changed, in Unix seconds.
    pub at: u64,
}

/// The budget of the billing period.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Absent where there is no budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
    /// The limit in bytes, where it is one of bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// The limit in money, where it is one of money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_money: Option<f64>,
    /// The parts at which warn and degrade begin.
    pub warn_at: f64,
    /// The same of degrade.
    pub degrade_at: f64,
    /// Bits a second of an allocation from there on; 0 is no limit.
    pub degraded_bitrate: u64,
    /// Whether live allocations end at stop.
    pub cut: bool,
    /// What is spent.
    pub cost: Cost,
}
