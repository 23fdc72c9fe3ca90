//! Is the Redis that nodes share there?

use turnpike_signaling::store::Place;

use super::{Findings, Patient};

/// GETDEL, NOMKSTREAM and what scripts may do are there from 7 on in the way that they are used.
const OLDEST: u32 = 7;

pub(super) fn examine(patient: &Patient, findings: &mut Findings) {
    let Some(redis) = &patient.loaded.config.redis else {
        return findings.ok("this node is alone: redis.url names none, and none is needed");
    };
    match version(redis.url(), &redis.prefix) {
        Err(why) => findings.fail(format!(
            "Redis does not answer ({why}): see that it runs (`systemctl status redis-server`), that redis.url is right, \
             password included, and that a firewall lets this machine in; until then each node matches its own people \
             alone"
        )),
        Ok(version) => match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
            Some(major) if major >= OLDEST => findings.ok(format!("Redis {version} answers")),
            _ => findings.fail(format!("Redis {version} answers, and {OLDEST} is the oldest that serves: update it")),
        },
    }
}

fn version(url: &str, prefix: &str) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let place = Place::new(url, prefix)?;
    Ok(runtime.block_on(place.version())?)
}
