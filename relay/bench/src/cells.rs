//! What is measured: one cell for each kind of load, and who takes part in it.

use crate::{
    forward::Mode,
    framing::Framing,
    load::{Pace, Path, Plan},
    servers::Kind,
};

/// Our server and coturn, as most cells have them.
pub const OURS: Kind = Kind::Turnpike { shards: 1 };
/// Two threads.
pub const TWO_SHARDS: Kind = Kind::Turnpike { shards: 2 };
/// The floors.
pub const PLAIN: Kind = Kind::Bare(Mode::Plain);
/// With batches.
pub const BATCHED: Kind = Kind::Bare(Mode::Batched);
/// With GRO and GSO.
pub const SEGMENTS: Kind = Kind::Bare(Mode::Segments);

/// How large it all is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Seconds that each load is measured.
    pub seconds: f64,
    /// Clients of a load.
    pub flows: usize,
    /// Bytes of payload.
    pub payload: usize,
    /// Relayed datagrams a second of the cells with an offered rate.
    pub rate: f64,
    /// Allocations of the cell that makes them.
    pub allocations: usize,
}

/// One cell.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Its name in the data.
    pub key: &'static str,
    /// Its name in the table.
    pub title: String,
    /// What is done.
    pub work: Work,
    /// Who takes part; in each round in another order.
    pub servers: Vec<Kind>,
}

/// What is done in a cell.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// This load.
    Load(Plan),
    /// This load at half of what the slowest server delivered in [`CAPACITY`].
    Half(Plan),
    /// So many allocations with the whole 401 exchange, which then lie idle.
    Allocate(usize),
}

/// The cell that says what half a load is.
pub const CAPACITY: &str = "thin_saturated";

/// All cells in the order of a round.
pub fn all(size: &Size) -> Vec<Cell> {
    let thin = Plan {
        flows: size.flows,
        payload: size.payload,
        burst: 1,
        in_one_piece: false,
        path: Path::Echo,
        framing: Framing::Channel,
        pace: Pace::Rate(size.rate),
        seconds: size.seconds,
    };
    let burst = Plan { burst: 16, in_one_piece: true, pace: Pace::Saturated, ..thin };
    let alone = Plan { in_one_piece: false, ..burst };
    let pairs = Plan { path: Path::Pairs, ..thin };
    let saturated = Plan { pace: Pace::Saturated, ..thin };
    let rate = format!("{} k/s", size.rate / 1000.0);
    let both = [Kind::Coturn, OURS];
    let cell = |key, title: String, work, more: &[Kind]| Cell {
        key,
        title,
        work,
        servers: both.iter().chain(more).copied().collect(),
    };
    let indications = |plan: Plan| Work::Load(Plan { framing: Framing::Indication, ..plan });
    vec![
        cell(
            "thin",
            format!("thin flows, {rate}"),
            Work::Load(thin),
            &[PLAIN, BATCHED, SEGMENTS, TWO_SHARDS],
        ),
        cell("burst", "bursts of 16, saturated".into(), Work::Load(burst), &[PLAIN, BATCHED, SEGMENTS]),
        cell("alone", "bursts of 16, sent one by one, saturated".into(), Work::Load(alone), &[BATCHED]),
        cell("pairs", format!("relay to relay, {rate}"), Work::Load(pairs), &[PLAIN]),
        cell("thin_send", format!("thin flows, {rate}, Send and Data"), indications(thin), &[]),
        cell("burst_send", "bursts of 16, saturated, Send and Data".into(), indications(burst), &[]),
        cell("pairs_send", format!("relay to relay, {rate}, Send and Data"), indications(pairs), &[]),
        cell(CAPACITY, "thin flows, saturated".into(), Work::Load(saturated), &[]),
        cell("half", "thin flows, half of coturn's most".into(), Work::Half(thin), &[]),
        cell("allocate", "allocations".into(), Work::Allocate(size.allocations), &[]),
    ]
}
