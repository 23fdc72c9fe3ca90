//! What a billing period may come to.

use crate::{
    Budget, BudgetLimit, Secret,
    check::{Checker, unless_empty},
    raw,
    units::{parse_bit_rate, parse_byte_size},
};

pub(super) fn resolve(c: &mut Checker<'_>, raw: raw::Budget, is_priced: bool) -> Budget {
    let span = raw.degrade_at.as_ref().map(toml::Spanned::span);
    let warn_at = c.take("budget.warn_at", raw.warn_at, 0.80, part);
    let degrade_at = c.take("budget.degrade_at", raw.degrade_at, 0.95, part);
    if degrade_at < warn_at {
        c.refuse(
            "budget.degrade_at",
            span.as_ref(),
            "is below `budget.warn_at`: raise it, or lower the other",
        );
    }
    Budget {
        limit: c.take("budget.per_period", raw.per_period, None, |text| limit(&text, is_priced)),
        warn_at,
        degrade_at,
        degraded_bitrate: c.take("budget.degraded_bitrate", raw.degraded_bitrate, 500_000, |text| {
            parse_bit_rate(&text).map_err(|error| format!("is \"{text}\": {error}"))
        }),
        cut: c.take("budget.on_exhausted", raw.on_exhausted, false, |word| match word.as_str() {
            "refuse" => Ok(false),
            "cut" => Ok(true),
            other => Err(format!("is \"{other}\": write \"refuse\" or \"cut\"")),
        }),
        webhook: c.take("budget.webhook", raw.webhook, None, unless_empty(webhook)),
    }
}

/// The URL is not told: it may hold a token.
fn webhook(text: &str) -> Result<Secret, String> {
    let url: Option<http::Uri> = text.parse().ok();
    let is_web = |url: &http::Uri| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    };
    match url.is_some_and(|url| is_web(&url)) {
        true => Ok(Secret::new(text)),
        false => {
            Err("is no URL of a web server: write one such as \"https://example.org/hooks/turnpike\""
                .to_owned())
        }
    }
}

fn part(part: f64) -> Result<f64, String> {
    match part > 0.0 && part <= 1.0 {
        true => Ok(part),
        false => Err(format!("is {part}: write a part of the budget above 0 and up to 1, such as 0.8")),
    }
}

fn limit(text: &str, is_priced: bool) -> Result<Option<BudgetLimit>, String> {
    if let Some(money) = text.strip_prefix("money:") {
        let money: Option<f64> = money.parse().ok().filter(|money: &f64| money.is_finite() && *money > 0.0);
        return match money {
            None => Err(format!("is \"{text}\": write an amount of money above 0, such as \"money:25\"")),
            Some(_) if !is_priced => {
                Err(format!("is \"{text}\", but [cost] has no price: set `cost.preset`, or write bytes"))
            }
            Some(money) => Ok(Some(BudgetLimit::Money(money))),
        };
    }
    let bytes = parse_byte_size(text)
        .map_err(|error| format!("is \"{text}\": {error}, or money as in \"money:25\""))?;
    Ok((bytes > 0).then_some(BudgetLimit::Bytes(bytes)))
}
