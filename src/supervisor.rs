//! What the service manager is told over NOTIFY_SOCKET (sd_notify(3)): ready, stopping, and, while it is so, alive.
//! Without such a manager nothing is told.

use std::time::Duration;

use sd_notify::NotifyState;

/// A stop may take that much longer than the drain.
const BEYOND_DRAIN: Duration = Duration::from_secs(10);

/// Tells that everything is bound, and from then on that the service is alive, as often as it is wanted to
/// (`WatchdogSec=`) and for as long as `is_alive`.
pub(crate) fn started(is_alive: impl Fn() -> bool + Send + 'static) {
    ready();
    if let Some(within) = sd_notify::watchdog_enabled() {
        tokio::spawn(feed(within, is_alive));
    }
}

/// Tells that the configuration is being read again, until [`ready`] is told.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Tells that what was configured is in force.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells that the service ends, which takes up to `drain` if somebody is left.
pub(crate) fn stopping(drain: Duration) {
    let micros = (drain + BEYOND_DRAIN).as_micros();
    let status = format!("Draining for {} s at most", drain.as_secs());
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status(&status),
        NotifyState::ExtendTimeoutUsec(micros.try_into().unwrap_or(u32::MAX)),
    ]);
}

async fn feed(within: Duration, is_alive: impl Fn() -> bool) {
    let mut beat = tokio::time::interval(within / 4);
    let mut was_alive = true;
    loop {
        beat.tick().await;
        let alive = is_alive();
        match alive {
            true => tell(&[NotifyState::Watchdog]),
            false if was_alive => tracing::error!(
                code = "hangs",
                watchdog_seconds = within.as_secs_f64(),
                "a part of the service hangs: the service manager restarts it unless it goes on in time; \
                 please report what the log says before this"
            ),
            false => {}
        }
        was_alive = alive;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(
            code = "notify_failed",
            %error,
            "the service manager cannot be told by NOTIFY_SOCKET, and may take the service for one that hangs: \
             the unit needs Type=notify, and AF_UNIX in RestrictAddressFamilies"
        );
    }
}
