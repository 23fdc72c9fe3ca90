//! The failures of authentication, gathered by source and told once a minute in a few lines: a flood of them must not
//! become a flood of log lines.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use turnpike_proto::{AuthFailure, AuthFailures, Tally};

const TELL_EVERY: Duration = Duration::from_secs(60);
/// Sources with a line of their own; the others share one.
const LINES: usize = 10;

/// What the shards have seen since it was last told.
#[derive(Debug, Default)]
pub(crate) struct FailureLog {
    gathered: Mutex<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    failures: AuthFailures,
    told: Duration,
}

impl FailureLog {
    /// Takes what one shard has seen.
    pub(crate) fn add(&self, failures: &AuthFailures) {
        if !failures.is_empty() {
            self.lock().failures.add(failures);
        }
    }

    /// Tells what was gathered, if a minute is over.
    pub(crate) fn tell_each_minute(&self, now: Duration) {
        let mut gathered = self.lock();
        if now.saturating_sub(gathered.told) >= TELL_EVERY {
            gathered.told = now;
            let failures = std::mem::take(&mut gathered.failures);
            drop(gathered);
            tell(&failures);
        }
    }

    /// Tells what was gathered.
    pub(crate) fn tell(&self) {
        let failures = std::mem::take(&mut self.lock().failures);
        tell(&failures);
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(failures: &AuthFailures) {
    let worst = failures.worst();
    let (told, rest) = worst.split_at(worst.len().min(LINES));
    told.iter().for_each(|(source, failures)| tell_source(*source, failures));
    let others = rest.iter().map(|(_, failures)| failures.total()).sum::<u64>() + failures.elsewhere();
    if others > 0 {
        tracing::warn!(
            code = "auth_failures",
            failures = others,
            "requests of many other sources were not let in; turnpike_auth_failures_total tells why"
        );
    }
}

fn tell_source(source: IpAddr, failures: &Tally<AuthFailure>) {
    let of = |failure| Some(failures.get(failure)).filter(|count| *count > 0);
    tracing::warn!(
        code = "auth_failures",
        %source,
        failures = failures.total(),
        incomplete = of(AuthFailure::Incomplete),
        realm = of(AuthFailure::Realm),
        unknown_user = of(AuthFailure::UnknownUser),
        expired = of(AuthFailure::Expired),
        revoked = of(AuthFailure::Revoked),
        integrity = of(AuthFailure::Integrity),
        "requests of one source were not let in"
    );
}
