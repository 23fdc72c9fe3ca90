//! Watches this node's own relay over its admin socket: credentials of a relay that is away help nobody.

use std::{path::Path, time::Duration};

use tokio_util::sync::CancellationToken;
use turnpike_relay_api::{
    admin::{STATUS, Status},
    cost::Step,
};

use crate::{ice::RelayUp, relay_admin};

const EVERY: Duration = Duration::from_secs(2);
/// A relay that starts beside signaling gets this long before it is missed.
const GRACE: Duration = Duration::from_secs(3);

/// Asks the relay every two seconds until stopped.
pub(crate) async fn watch(socket: &Path, up: RelayUp, stop: CancellationToken) {
    let watching = async {
        let started = tokio::time::Instant::now();
        let mut answered = false;
        loop {
            let status = relay_admin::get::<Status>(socket, STATUS).await;
            let step = status.as_ref().ok().and_then(|status| status.budget).map(|spent| spent.step);
            let well = match status {
                Ok(status) if status.draining => Ok(Some("it is draining")),
                Ok(status) if status.budget.is_some_and(|spent| spent.step == Step::Stop) => {
                    Ok(Some("its budget of the billing period is spent"))
                }
                Ok(_) => Ok(None),
                Err(error) => Err(error.to_string()),
            };
            answered |= well.is_ok();
            up.set_budget(step);
            let early = !answered && started.elapsed() < GRACE;
            if !early {
                tell(&up, well, socket);
            }
            tokio::time::sleep(if early { Duration::from_millis(100) } else { EVERY }).await;
        }
    };
    stop.run_until_cancelled(watching).await;
}

/// `well` holds why it takes nobody, though it answers.
fn tell(up: &RelayUp, well: Result<Option<&str>, String>, socket: &Path) {
    let (now, why) = match well {
        Ok(None) => (true, String::new()),
        Ok(Some(why)) => (false, why.to_owned()),
        Err(error) => (false, error),
    };
    match (up.set(now), now) {
        (true, false) => tracing::warn!(
            code = "relay_unavailable",
            socket = %socket.display(),
            why,
            "the relay cannot be used: callers get no TURN server until it can; see `systemctl status \
             turnpike-relay`, and that relay.admin_socket is the same for both services"
        ),
        (false, true) => tracing::info!("the relay answers: callers get TURN credentials again"),
        _ => {}
    }
}
