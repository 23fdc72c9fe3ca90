//! The sample file explains every key; here it is taken apart, so that the command line can do the same.

use crate::{ConfigError, Problem, problem::nearest};

/// The annotated file with every key and its default.
pub const SAMPLE: &str = include_str!("../turnpike.toml");

/// What the sample says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// With its section: `relay.shards`.
    pub key: String,
    /// As TOML; `None` for a list of sections such as `[[auth.static_user]]`, of which there are none by default.
    pub default: Option<String>,
    /// What it is for.
    pub text: String,
}

/// Every key in the order of the sample.
pub fn sample_keys() -> Vec<Explained> {
    let mut keys = Vec::new();
    let mut section = String::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut is_comment_open = false;
    for line in SAMPLE.lines() {
        if let Some(text) = line.strip_prefix('#').map(str::trim) {
            if !is_comment_open {
                comment.clear();
                is_comment_open = true;
            }
            match text.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
                Some(name) => {
                    keys.push(Explained { key: name.to_owned(), default: None, text: comment.join(" ") });
                    comment.clear();
                }
                None => comment.push(text),
            }
            continue;
        }
        is_comment_open = false;
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, value)) = line.split_once(" = ") {
            // A key without a comment of its own shares the one before it.
            let key = format!("{section}.{key}");
            keys.push(Explained { key, default: Some(value.to_owned()), text: comment.join(" ") });
        }
    }
    keys
}

/// What the sample says of a key, which may be named without its section where only one section has it.
///
/// # Errors
/// That there is no such key, with the nearest name, or several.
pub fn explain_key(name: &str) -> Result<Explained, ConfigError> {
    let keys = sample_keys();
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let named: Vec<&Explained> =
        keys.iter().filter(|known| known.key == name || last(&known.key) == name).collect();
    match named[..] {
        [found] => Ok(found.clone()),
        [] => {
            let names: Vec<&str> = keys.iter().map(|known| known.key.as_str()).collect();
            let lasts: Vec<String> = keys.iter().map(|known| last(&known.key)).collect();
            let lasts: Vec<&str> = lasts.iter().map(String::as_str).collect();
            let hint = match nearest(name, &names).or_else(|| nearest(name, &lasts)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`turnpike config show --effective` lists all".to_owned(),
            };
            Err(Problem::nowhere(format!("there is no key `{name}`: {hint}")).into())
        }
        [..] => {
            let names: Vec<&str> = named.iter().map(|known| known.key.as_str()).collect();
            Err(Problem::nowhere(format!(
                "`{name}` is in several sections: write one of {}",
                names.join(", ")
            ))
            .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_sample_is_explained() {
        let keys = sample_keys();
        let assigned = SAMPLE.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")).count();
        let commented = SAMPLE.lines().filter(|line| line.starts_with("# [[")).count();
        assert_eq!(keys.len(), assigned + commented);
        let unexplained: Vec<_> = keys.iter().filter(|key| key.text.is_empty()).map(|key| &key.key).collect();
        assert!(unexplained.is_empty(), "{unexplained:?}");
        let mut names: Vec<_> = keys.iter().map(|key| &key.key).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), keys.len(), "no key is there twice");
    }

    #[test]
    fn a_key_is_found_with_and_without_its_section_and_a_misspelt_one_with_its_neighbour() {
        let found = explain_key("relay.port_range").unwrap();
        assert_eq!(found.default.as_deref(), Some("[49152, 65535]"));
        assert!(found.text.starts_with("First and last relay port."), "{}", found.text);
        assert_eq!(explain_key("port_range").unwrap(), found);
        let shared = explain_key("relay.max_channels_per_allocation").unwrap();
        assert_eq!(shared.text, "Most permissions and channels of one allocation.");
        let users = explain_key("auth.static_user").unwrap();
        assert_eq!(
            (users.default, users.text.as_str()),
            (None, "Users with a fixed password, for tests and old clients. None by default.")
        );
        let refused = |name: &str| explain_key(name).unwrap_err().to_string();
        assert_eq!(refused("port_rage"), "there is no key `port_rage`: did you mean `port_range`?");
        assert_eq!(refused("relay.shard"), "there is no key `relay.shard`: did you mean `relay.shards`?");
        assert!(refused("listen").contains("write one of tls.listen, signaling.listen"));
    }
}
