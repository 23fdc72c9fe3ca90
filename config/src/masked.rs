//! Values as they may be shown to others: what is secret in them is not.

use toml::Value;

const MASK: &str = "***";

/// The value of a key as TOML, with passwords and what else is secret taken out.
pub fn masked(key: &str, value: &str) -> String {
    let parsed = format!("value = {value}").parse::<toml::Table>().ok();
    let Some(mut parsed) = parsed.and_then(|mut table| table.remove("value")) else {
        return format!("\"{MASK}\"");
    };
    mask(key, &mut parsed);
    parsed.to_string()
}

fn mask(key: &str, value: &mut Value) {
    match value {
        Value::String(text) if key == "password" => MASK.clone_into(text),
        Value::String(text) => {
            if let Some(shown) = masked_url(key, text) {
                *text = shown;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(key, item)),
        Value::Table(keys) => keys.iter_mut().for_each(|(key, value)| mask(key, value)),
        _ => {}
    }
}

/// Without user and password; a webhook's path is often as good as a password.
fn masked_url(key: &str, text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("{MASK}@{host}"));
    let path = if key.ends_with("webhook") && path.len() > 1 { format!("/{MASK}") } else { path.to_owned() };
    Some(format!("{scheme}://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_shown() {
        for (key, value, shown) in [
            ("relay.shards", "2", "2"),
            ("ice.urls", r#"["stun:a", "turn:b"]"#, r#"["stun:a", "turn:b"]"#),
            ("redis.url", r#""redis://user:word@host:6379/1""#, r#""redis://***@host:6379/1""#),
            (
                "budget.webhook",
                r#""https://hooks.example.org/T0/secret""#,
                r#""https://hooks.example.org/***""#,
            ),
            (
                "tls.acme_directory",
                r#""https://acme.example.org/directory""#,
                r#""https://acme.example.org/directory""#,
            ),
            (
                "auth.static_user",
                r#"[{ password = "word", username = "alice" }]"#,
                r#"[{ password = "***", username = "alice" }]"#,
            ),
            ("x", "no TOML", r#""***""#),
        ] {
            assert_eq!(masked(key, value), shown, "{key}");
        }
    }
}
