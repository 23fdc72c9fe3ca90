//! Metrics and logs.

use std::net::{Ipv4Addr, SocketAddr};

use crate::{
    Log, LogFormat, Metrics,
    check::{Checker, listener, unless_empty},
    raw,
};

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
    };
    if metrics.relay_listen.is_some() && metrics.relay_listen == metrics.signaling_listen {
        let refusal = "is the address of `metrics.relay_listen`: give each service its own";
        c.refuse("metrics.signaling_listen", signaling_span.as_ref(), refusal);
    }
    metrics
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
