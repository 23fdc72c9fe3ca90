//! Ports held for whoever brings their token (RFC 8656 §7.2).

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{admission::SubjectPermit, ports::BoundPort};

/// A held port. It is bound all the time, so that nobody else takes it.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) port: BoundPort,
    /// Who asked for it.
    pub(crate) subject: SubjectPermit,
    pub(crate) expires: Duration,
}

/// The held ports of the process by their tokens.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    held: Mutex<HashMap<[u8; 8], Reserved>>,
}

impl Reservations {
    /// Holds a port and gives its token; `None` when the system has no randomness.
    pub(crate) fn hold(&self, reserved: Reserved) -> Option<[u8; 8]> {
        let mut held = self.held();
        loop {
            let mut token = [0; 8];
            getrandom::fill(&mut token).ok()?;
            if let Entry::Vacant(place) = held.entry(token) {
                place.insert(reserved);
                return Some(token);
            }
        }
    }

    /// Takes what is held under a token; each serves once.
    pub(crate) fn take(&self, token: [u8; 8], now: Duration) -> Option<Reserved> {
        self.held().remove(&token).filter(|reserved| reserved.expires > now)
    }

    /// Holds a port again that its taker could not use.
    pub(crate) fn put_back(&self, token: [u8; 8], reserved: Reserved) {
        self.held().insert(token, reserved);
    }

    /// Frees what was not redeemed in time.
    pub(crate) fn sweep(&self, now: Duration) {
        self.held().retain(|_, reserved| reserved.expires > now);
    }

    fn held(&self) -> MutexGuard<'_, HashMap<[u8; 8], Reserved>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
