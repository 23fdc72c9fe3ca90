//! What a TURN server does for a client, seen from where this runs: each way to it is tried from the first byte to a
//! stream of data through two allocations. Blocking; for `probe` and `doctor`.

mod echo;
mod login;
mod refusal;
mod report;
mod target;
mod throughput;
mod way;

pub(crate) use self::{
    login::Login,
    report::Report,
    target::Target,
    way::{Way, try_way},
};
