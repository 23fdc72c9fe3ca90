//! Does the relay relay?

use std::time::Duration;

use zeroize::Zeroizing;

use super::{Findings, Patient};
use crate::{
    probe::{Login, Target, try_way},
    screen::Verdict,
};

/// Enough to see that data flows.
const LASTING: Duration = Duration::from_millis(200);

pub(super) fn examine(patient: &Patient, findings: &mut Findings) {
    let config = &patient.loaded.config;
    match &patient.relay {
        Err(why) => return findings.fail(why.clone()),
        Ok(status) if status.draining => {
            findings.warn("the relay drains: it makes no new allocation; `turnpike undrain` takes that back");
        }
        Ok(_) => {}
    }
    if config.ice.turn_urls.is_empty() {
        return findings.warn("clients are given no turn: URL: see [ice] urls");
    }
    let secret = config.auth.secrets.first().expect("a loaded configuration has a secret");
    let login = Login::Secret(Zeroizing::new(secret.expose().to_vec()));
    for url in &config.ice.turn_urls {
        examine_url(url, &login, findings);
    }
}

fn examine_url(url: &str, login: &Login, findings: &mut Findings) {
    let ways = match url.parse::<Target>().map_err(|error| error.to_string()) {
        Ok(target) => match target.resolve() {
            Ok(ways) => ways,
            Err(error) => return findings.fail(format!("{url}: its host has no address ({error})")),
        },
        Err(error) => return findings.fail(format!("{url}: {error}")),
    };
    for way in ways {
        let report = try_way(&way, Some(login), LASTING);
        let place = format!("{} {}", report.transport, report.server);
        let wrong: Vec<_> = report.findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
        for finding in &wrong {
            match finding.check {
                // A provider's 1:1 NAT need not lead a machine to itself.
                "answers" => findings.unknown(format!(
                    "{place} cannot be reached from here: {}; behind 1:1 NAT that may be so and yet work: run `turnpike \
                     probe {url}` on another machine",
                    finding.found
                )),
                _ => findings.say(finding.verdict, format!("{place}, {}: {}", finding.check, finding.found)),
            }
        }
        if wrong.is_empty() {
            findings.ok(format!("{place} allocates and relays"));
        }
    }
}
