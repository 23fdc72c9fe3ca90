//! What traffic costs: a provider's preset, and what the operator writes over it.

use std::{collections::BTreeMap, sync::LazyLock};

use toml::Spanned;

use crate::{
    Compare, Cost, Count, Price, Tier,
    check::Checker,
    raw::{self, Amount},
    units::parse_byte_size,
};

static PRESETS: LazyLock<BTreeMap<String, raw::Preset>> = LazyLock::new(|| {
    toml::from_str(include_str!("../../presets.toml")).expect("the presets are in order, as tested")
});

/// Each is a series in metrics.
const MOST_COMPARED: usize = 8;
/// A period begins on a day that every month has, or on its last.
const RESET_DAYS: std::ops::RangeInclusive<u64> = 1..=31;
const GB: f64 = 1e9;

/// The price of a preset, and which bytes it counts.
pub fn preset(name: &str) -> Option<(Price, Count)> {
    PRESETS.get(name).map(|preset| (price_of(preset), count_of(preset)))
}

pub(super) fn resolve(c: &mut Checker<'_>, raw: raw::Cost) -> Cost {
    let preset = c.take("cost.preset", raw.preset, None, |name| match name.as_str() {
        "" | "none" => Ok(None),
        name => match PRESETS.get(name) {
            Some(preset) => Ok(Some(preset)),
            None => Err(format!("is \"{name}\": write \"none\" or one of {}", names())),
        },
    });
    let count = c.take("cost.count", raw.count, None, |word| {
        if word.is_empty() { Ok(None) } else { count(&word).map(Some) }
    });
    let currency = c.take("cost.currency", raw.currency, None, |text| {
        let letters = text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase());
        match text.as_str() {
            "" => Ok(None),
            _ if letters => Ok(Some(text)),
            _ => Err(format!("is \"{text}\": write three capital letters, such as \"EUR\"")),
        }
    });
    let base = c.take("cost.base_per_period", raw.base_per_period, None, amount);
    let included = c.take("cost.included", raw.included, None, size);
    let round_up_to = c.take("cost.round_up_to", raw.round_up_to, None, size);
    let own_tiers = tiers(c, raw.tiers);
    let reset_day = c.number("cost.reset_day", raw.reset_day, 1, RESET_DAYS);
    let is_priced = preset.is_some() || base.is_some() || !own_tiers.is_empty();
    let of_preset = preset.map(price_of);
    let default_count = preset.map_or(Count::Egress, count_of);
    let none = Price {
        source: None,
        currency: "EUR".to_owned(),
        base: 0.0,
        included: 0,
        tiers: Vec::new(),
        round_up_to: 0,
    };
    let preset = of_preset.unwrap_or(none);
    let price = is_priced.then(|| Price {
        source: preset.source,
        currency: currency.unwrap_or(preset.currency),
        base: base.unwrap_or(preset.base),
        included: included.unwrap_or(preset.included),
        tiers: if own_tiers.is_empty() { preset.tiers } else { own_tiers },
        round_up_to: round_up_to.unwrap_or(preset.round_up_to),
    });
    let compare = compare(c, raw.compare);
    let header_overhead = c.flag(raw.header_overhead, true);
    Cost { price, count: count.unwrap_or(default_count), header_overhead, reset_day, compare }
}

fn names() -> String {
    PRESETS.keys().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn price_of(preset: &raw::Preset) -> Price {
    let size = |text: &str| parse_byte_size(text).expect("a preset's sizes are in order, as tested");
    Price {
        source: Some(format!("{}, as of {}", preset.title, preset.as_of)),
        currency: preset.currency.clone(),
        base: preset.base_per_period,
        included: size(&preset.included),
        tiers: preset
            .tiers
            .iter()
            .map(|raw| tier(raw).expect("a preset's tiers are in order, as tested"))
            .collect(),
        round_up_to: size(&preset.round_up_to),
    }
}

fn count_of(preset: &raw::Preset) -> Count {
    count(&preset.count).expect("a preset's count is in order, as tested")
}

fn count(word: &str) -> Result<Count, String> {
    match word {
        "egress" => Ok(Count::Egress),
        "both" => Ok(Count::Both),
        "max" => Ok(Count::Max),
        "client_out" => Ok(Count::ClientOut),
        other => Err(format!("is \"{other}\": write \"egress\", \"both\", \"max\" or \"client_out\"")),
    }
}

fn amount(raw: Amount) -> Result<Option<f64>, String> {
    let number = match raw {
        Amount::Text(text) if text.is_empty() => return Ok(None),
        Amount::Text(text) => {
            return Err(format!("is \"{text}\": write an amount of money without quotes, such as 4.5"));
        }
        Amount::Whole(number) => number as f64,
        Amount::Number(number) => number,
    };
    is_money(number)
        .then_some(Some(number))
        .ok_or_else(|| format!("is {number}: write an amount of money, 0 or more"))
}

fn size(text: String) -> Result<Option<u64>, String> {
    match text.is_empty() {
        true => Ok(None),
        false => parse_byte_size(&text).map(Some).map_err(|error| format!("is \"{text}\": {error}")),
    }
}

fn is_money(number: f64) -> bool {
    number.is_finite() && number >= 0.0
}

fn tier(raw: &raw::Tier) -> Result<Tier, String> {
    let prices = [(raw.per_gb, GB), (raw.per_tb, 1e12), (raw.per_gib, f64::from(1 << 30))];
    let prices: Vec<f64> = prices.into_iter().filter_map(|(price, bytes)| Some(price? / bytes)).collect();
    let [per_byte] = prices[..] else {
        return Err("holds a tier that has not exactly one of per_gb, per_tb, per_gib".to_owned());
    };
    if !is_money(per_byte) {
        return Err("holds a tier whose price is no amount of money, 0 or more".to_owned());
    }
    Ok(Tier {
        up_to: size(raw.up_to.clone()).map_err(|refusal| format!("holds a tier whose up_to {refusal}"))?,
        per_byte,
    })
}

fn tiers(c: &mut Checker<'_>, raw: raw::Key<Vec<Spanned<raw::Tier>>>) -> Vec<Tier> {
    let Some(raw) = raw else { return Vec::new() };
    let span = raw.span();
    let mut tiers: Vec<Tier> = Vec::new();
    for item in raw.into_inner() {
        match tier(item.get_ref()) {
            Ok(tier) => tiers.push(tier),
            Err(refusal) => c.refuse("cost.tiers", Some(&item.span()), &refusal),
        }
    }
    let rising = tiers
        .windows(2)
        .all(|pair| pair[0].up_to.is_some() && pair[1].up_to.is_none_or(|end| Some(end) > pair[0].up_to));
    if !rising || tiers.last().is_some_and(|last| last.up_to.is_some()) {
        let refusal = "must rise, and its last tier have no up_to: what lies above is priced too";
        c.refuse("cost.tiers", Some(&span), refusal);
    }
    tiers
}

fn compare(c: &mut Checker<'_>, raw: Vec<Spanned<raw::Compare>>) -> Vec<Compare> {
    let mut compared: Vec<Compare> = Vec::new();
    for item in raw {
        let span = item.span();
        match vendor(item.into_inner()) {
            Ok(vendor) if compared.iter().any(|other| other.vendor == vendor.vendor) => {
                c.refuse(
                    "cost.compare",
                    Some(&span),
                    &format!("names \"{}\" twice: remove one", vendor.vendor),
                );
            }
            Ok(_) if compared.len() == MOST_COMPARED => {
                c.refuse(
                    "cost.compare",
                    Some(&span),
                    &format!("holds more than {MOST_COMPARED} vendors: remove some"),
                );
            }
            Ok(vendor) => compared.push(vendor),
            Err(refusal) => c.refuse("cost.compare", Some(&span), &refusal),
        }
    }
    compared
}

fn vendor(raw: raw::Compare) -> Result<Compare, String> {
    let raw::Compare { vendor, per_gb, free_gb, count: word, rate } = raw;
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if !(1..=32).contains(&vendor.len()) || !vendor.bytes().all(named) {
        return Err(format!("names \"{vendor}\": write 1 to 32 characters of A-Z a-z 0-9 . _ -"));
    }
    let rate = rate.unwrap_or(1.0);
    if [Some(rate), per_gb, Some(free_gb)].into_iter().flatten().any(|number| !is_money(number)) {
        return Err(format!("has a number for {vendor} that is negative or none"));
    }
    let preset = PRESETS.get(&vendor);
    let (price, default_count) = match (per_gb, preset) {
        (Some(per_gb), _) => {
            let tiers = vec![Tier { up_to: None, per_byte: per_gb / GB }];
            let included = (free_gb * GB) as u64;
            (
                Price { source: None, currency: String::new(), base: 0.0, included, tiers, round_up_to: 0 },
                Count::Egress,
            )
        }
        (None, Some(preset)) => (price_of(preset), count_of(preset)),
        (None, None) => {
            return Err(format!("has no per_gb for {vendor}, which is none of {}: write its price", names()));
        }
    };
    let count = word.map_or(Ok(default_count), |word| {
        count(&word).map_err(|refusal| format!("has a count for {vendor} that {refusal}"))
    })?;
    Ok(Compare { vendor, price, count, rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_in_order_and_dated() {
        assert_eq!(PRESETS.len(), 6);
        for (name, preset) in PRESETS.iter() {
            let price = price_of(preset);
            assert!(price.source.is_some_and(|source| source.contains("as of 20")), "{name}");
            assert!(price.tiers.last().is_some_and(|last| last.up_to.is_none()), "{name}");
            assert!(
                price.tiers.windows(2).all(|pair| pair[0].up_to < pair[1].up_to || pair[1].up_to.is_none()),
                "{name}"
            );
            count_of(preset);
        }
    }
}
