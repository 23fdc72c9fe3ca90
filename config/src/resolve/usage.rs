//! The ledger of what was relayed, and for whom.

use std::time::Duration;

use crate::{ClientPrivacy, Usage, UserPrivacy, check::Checker, raw};

pub(super) fn resolve(c: &mut Checker<'_>, raw: raw::Usage) -> Usage {
    let interim = Duration::from_secs(2)..=Duration::from_secs(60);
    Usage {
        interim: c.duration("usage.interim", raw.interim, Duration::from_secs(5), interim),
        retention_days: c.number("usage.retention_days", raw.retention_days, 35, 1..=3_660),
        client_address: c.take("usage.client_address", raw.client_address, ClientPrivacy::Prefix, |word| {
            match word.as_str() {
                "full" => Ok(ClientPrivacy::Full),
                "prefix" => Ok(ClientPrivacy::Prefix),
                "none" => Ok(ClientPrivacy::None),
                other => Err(format!("is \"{other}\": write \"full\", \"prefix\" or \"none\"")),
            }
        }),
        user: c.take("usage.user", raw.user, UserPrivacy::Hash, |word| match word.as_str() {
            "full" => Ok(UserPrivacy::Full),
            "hash" => Ok(UserPrivacy::Hash),
            "none" => Ok(UserPrivacy::None),
            other => Err(format!("is \"{other}\": write \"full\", \"hash\" or \"none\"")),
        }),
    }
}
