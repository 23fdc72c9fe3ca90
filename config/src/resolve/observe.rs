//! Metrics and logs.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use crate::{
    Log, LogFormat, Metrics,
    check::{Checker, listener, unless_empty},
    raw::{self, List},
    units::parse_duration,
};

/// Each is a series of its own in metrics.
const MAX_TENANTS: usize = 16;

pub(super) fn metrics(c: &mut Checker<'_>, raw: raw::Metrics) -> Metrics {
    let signaling_span = raw.signaling_listen.as_ref().map(toml::Spanned::span);
    let local = |port: u16| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let metrics = Metrics {
        relay_listen: c.take("metrics.relay_listen", raw.relay_listen, local(9650), unless_empty(listener)),
        signaling_listen: c.take(
            "metrics.signaling_listen",
            raw.signaling_listen,
            local(9651),
            unless_empty(listener),
        ),
        selftest: c.take("metrics.selftest", raw.selftest, Some(Duration::from_secs(60)), selftest),
        tenants: tenants(c, raw.tenants),
    };
    if metrics.relay_listen.is_some() && metrics.relay_listen == metrics.signaling_listen {
        let refusal = "is the address of `metrics.relay_listen`: give each service its own";
        c.refuse("metrics.signaling_listen", signaling_span.as_ref(), refusal);
    }
    metrics
}

fn selftest(text: String) -> Result<Option<Duration>, String> {
    let every = parse_duration(&text).map_err(|error| format!("is \"{text}\": {error}"))?;
    match every.as_secs() {
        0 if every.is_zero() => Ok(None),
        1..=3_600 => Ok(Some(every)),
        _ => Err(format!("is {text}: write a duration from 1s to 1h, or \"0s\" for never")),
    }
}

fn tenants(c: &mut Checker<'_>, raw: List) -> Vec<String> {
    let span = raw.as_ref().map(toml::Spanned::span);
    let mut tenants = c.take_list("metrics.tenants", raw, Vec::new(), tenant);
    tenants.sort();
    tenants.dedup();
    if tenants.len() > MAX_TENANTS {
        let refusal = format!(
            "holds {} tenants: list at most {MAX_TENANTS}, the others are counted together as \"other\"",
            tenants.len()
        );
        c.refuse("metrics.tenants", span.as_ref(), &refusal);
    }
    tenants
}

/// The part of a subject before its first dot.
fn tenant(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    match (1..=32).contains(&text.len()) && text.bytes().all(allowed) && text != "other" {
        true => Ok(text.to_owned()),
        false => {
            Err(format!("holds \"{text}\": write 1 to 32 characters of A-Z a-z 0-9 _ -, and not \"other\""))
        }
    }
}

pub(super) fn log(c: &mut Checker<'_>, raw: raw::Log) -> Log {
    Log {
        level: c.take("log.level", raw.level, "info".to_owned(), level),
        format: c.take("log.format", raw.format, LogFormat::Text, |format| match format.as_str() {
            "auto" | "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("is \"{other}\": write \"auto\", \"text\" or \"json\"")),
        }),
    }
}

/// A level, and levels of single modules, parted by commas.
fn level(text: String) -> Result<String, String> {
    let is_level = |word: &str| matches!(word, "off" | "error" | "warn" | "info" | "debug" | "trace");
    let is_module = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
    };
    let is_directive = |directive: &str| match directive.split_once('=') {
        Some((module, word)) => is_module(module) && is_level(word),
        None => is_level(directive),
    };
    match text.split(',').all(is_directive) {
        true => Ok(text),
        false => Err(format!(
            "is \"{text}\": write off, error, warn, info, debug or trace, \
             or levels of modules as in \"info,turnpike_relay=debug\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused_and_not_taken_for_a_module() {
        for text in ["info", "off", "info,turnpike_relay=debug", "warn,turnpike_relay::shard=trace"] {
            assert!(level(text.to_owned()).is_ok(), "{text}");
        }
        for text in ["", "inof", "INFO ", "turnpike_relay", "info,", "=info", "a=b", "a b=info"] {
            assert!(level(text.to_owned()).is_err(), "{text}");
        }
    }
}
