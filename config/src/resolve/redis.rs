use super::authority;
use crate::{Redis, Secret, check::Checker, raw};

const MAX_PREFIX: usize = 64;

pub(super) fn resolve(c: &mut Checker<'_>, raw: raw::Redis) -> Option<Redis> {
    let url = c.take("redis.url", raw.url, None, url);
    let prefix = c.take("redis.prefix", raw.prefix, "turnpike".to_owned(), |prefix| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        match (1..=MAX_PREFIX).contains(&prefix.len()) && prefix.bytes().all(plain) {
            true => Ok(prefix),
            false => Err(format!("is \"{prefix}\": write 1 to {MAX_PREFIX} characters of A-Z a-z 0-9 . _ -")),
        }
    });
    url.map(|url| Redis { url, prefix })
}

/// What is wrong is told without the address, which may hold a password.
fn url(text: String) -> Result<Option<Secret>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", &text));
    match scheme {
        "redis" | "rediss" => tcp(rest),
        "unix" => unix(rest),
        "redis+sentinel" => sentinel(rest),
        _ => {
            Err("is no address of Redis: write redis://, rediss:// (TLS), unix:///path or redis+sentinel://"
                .to_owned())
        }
    }?;
    Ok(Some(Secret::new(text)))
}

fn tcp(rest: &str) -> Result<(), String> {
    let refusal = "names no host: write redis://[user:password@]host[:6379][/database]";
    let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
    let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
    match authority::parse(host).is_some() && is_database(database) {
        true => Ok(()),
        false => Err(refusal.to_owned()),
    }
}

fn unix(rest: &str) -> Result<(), String> {
    match rest.starts_with('/') {
        true => Ok(()),
        false => Err("names no socket: write unix:///run/redis/redis.sock".to_owned()),
    }
}

fn sentinel(rest: &str) -> Result<(), String> {
    let refusal = "names no sentinel and master: write \
                   redis+sentinel://[user:password@]host:26379[,host:26379]/master[/database]";
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let hosts = place.rsplit_once('@').map_or(place, |(_, hosts)| hosts);
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    let fit = hosts.split(',').all(|host| authority::parse(host).is_some());
    match fit && !master.is_empty() && is_database(database) {
        true => Ok(()),
        false => Err(refusal.to_owned()),
    }
}

fn is_database(text: &str) -> bool {
    text.is_empty() || text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_kind_are_taken_and_mistakes_are_told_without_the_password() {
        for text in [
            "redis://127.0.0.1",
            "redis://:word@redis.example.org:6380/3",
            "rediss://user:word@[2001:db8::1]:6379",
            "unix:///run/redis/redis.sock",
            "redis+sentinel://:word@a.example.org:26379,b.example.org:26379/main/1",
        ] {
            assert!(url(text.to_owned()).unwrap().is_some(), "{text}");
        }
        let shown = |text: &str| Redis { url: Secret::new(text), prefix: String::new() }.place();
        assert_eq!(shown("rediss://user:w@rd@[2001:db8::1]:6379/1"), "rediss://[2001:db8::1]:6379/1");
        assert_eq!(shown("unix:///run/redis.sock"), "unix:///run/redis.sock");
        assert_eq!(shown("redis+sentinel://:w@a:1,b:2/main"), "redis+sentinel://a:1,b:2/main");
        assert_eq!(url(String::new()), Ok(None));
        for text in [
            "127.0.0.1:6379",
            "http://:hunter2@a.example.org",
            "redis://",
            "redis://:hunter2@a.example.org:99999",
            "redis://:hunter2@a.example.org/db",
            "unix://redis.sock",
            "redis+sentinel://:hunter2@a.example.org:26379",
            "redis+sentinel://a.example.org:26379,/main",
        ] {
            let refusal = url(text.to_owned()).unwrap_err();
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }
}
