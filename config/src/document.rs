//! The file and the environment merged to one TOML table, in which every value knows where it was written.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    path::PathBuf,
};

use serde::Deserialize as _;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use crate::{
    problem::{Place, Problem, explain},
    raw,
};

const PREFIX: &str = "TURNPIKE_";

/// Where the values of one document come from.
///
/// Offsets up to the length of the text are places in it; each override has one offset of its own behind.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    file: Option<PathBuf>,
    text: String,
    overrides: Vec<String>,
}

impl Origins {
    /// Where the value at `span` was written; the file as a whole when it was not.
    pub(crate) fn place(&self, span: Option<&Range<usize>>) -> Option<Place> {
        let Some(at) = span.map(|span| span.start) else {
            return self.file.clone().map(Place::File);
        };
        if at > self.text.len() {
            return self.overrides.get(at - self.text.len() - 1).cloned().map(Place::Variable);
        }
        let before = self.text.get(..at)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[line_start..].chars().count() + 1;
        let line = before.matches('\n').count() + 1;
        Some(Place::Line { file: self.file.clone()?, line, column })
    }

    fn problem(&self, error: &toml::de::Error) -> Problem {
        Problem { place: self.place(error.span().as_ref()), message: explain(error) }
    }
}

/// Every key that is set, in the file or the environment, with what it is set to as TOML; `[[auth.static_user]]` and its
/// like are one value. Its `Debug` names keys alone: values may be secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Written(BTreeMap<String, Setting>);

/// What a key is set to, and where.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// As TOML.
    pub value: String,
    /// The line of the file, or the variable.
    pub place: Option<Place>,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Written {
    fn of(table: &Spanned<DeTable<'_>>, origins: &Origins) -> Result<Self, toml::de::Error> {
        let mut written = BTreeMap::new();
        let setting = |value: &toml::Value, span: Option<Range<usize>>| {
            let place = span.and_then(|span| origins.place(Some(&span)));
            Setting { value: value.to_string(), place }
        };
        for (section, value) in toml::Table::deserialize(toml::Deserializer::from(table.clone()))? {
            let found = table.get_ref().get(section.as_str());
            match value {
                toml::Value::Table(keys) => {
                    let spans = found.and_then(|found| found.get_ref().as_table());
                    written.extend(keys.iter().map(|(key, value)| {
                        let span = spans.and_then(|spans| spans.get(key.as_str())).map(Spanned::span);
                        (format!("{section}.{key}"), setting(value, span))
                    }));
                }
                value => _ = written.insert(section, setting(&value, found.map(Spanned::span))),
            }
        }
        Ok(Self(written))
    }

    /// What a key such as `relay.shards` is set to; `None` where it has its default.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.0.get(key)
    }

    /// Every key that is set, by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.0.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    /// The keys that are set to something else in the other one, or in one of the two only.
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let value = |written: &Self, key: &String| written.0.get(key).map(|setting| setting.value.clone());
        keys.into_iter().filter(|key| value(self, key) != value(other, key)).cloned().collect()
    }
}

/// Reads the text of the file, then the overrides `TURNPIKE_SECTION__KEY`.
///
/// A value of the environment is TOML where it can be read as such (`8`, `true`, `["a", "b"]`), else a string.
pub(crate) fn read(
    file: Option<PathBuf>,
    text: &str,
    environment: &BTreeMap<String, String>,
) -> Result<(Origins, raw::File, Written), Problem> {
    let mut origins = Origins { file, text: text.to_owned(), overrides: Vec::new() };
    let mut table = DeTable::parse(text).map_err(|error| origins.problem(&error))?;
    for (name, value) in environment {
        let Some((section, key)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once("__")) else {
            continue;
        };
        origins.overrides.push(name.clone());
        let at = text.len() + origins.overrides.len();
        overlay(table.get_mut(), section.to_lowercase(), key.to_lowercase(), value, at..at + 1);
    }
    let written = Written::of(&table, &origins);
    let read = raw::File::deserialize(toml::Deserializer::from(table));
    let both = read.and_then(|file| Ok((file, written?)));
    both.map_err(|error| origins.problem(&error)).map(|(file, written)| (origins, file, written))
}

fn overlay<'a>(table: &mut DeTable<'a>, section: String, key: String, value: &'a str, at: Range<usize>) {
    let spanned = |name: String| Spanned::new(at.clone(), Cow::Owned(name));
    if !table.contains_key(section.as_str()) {
        let empty = DeValue::Table(DeTable::new());
        table.insert(spanned(section.clone()), Spanned::new(at.clone(), empty));
    }
    // A section that is no table is left as it is: reading the whole refuses it.
    if let Some(DeValue::Table(keys)) = table.get_mut(section.as_str()).map(Spanned::get_mut) {
        // The key goes too, or a misspelt one would keep its place in the file.
        keys.remove(key.as_str());
        let value = DeValue::parse(value)
            .map_or_else(|_| DeValue::String(Cow::Borrowed(value)), |parsed| moved(parsed.into_inner(), &at));
        keys.insert(spanned(key), Spanned::new(at.clone(), value));
    }
}

/// The value with all its parts at one place.
fn moved<'a>(value: DeValue<'a>, at: &Range<usize>) -> DeValue<'a> {
    let part = |value: Spanned<DeValue<'a>>| Spanned::new(at.clone(), moved(value.into_inner(), at));
    match value {
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(part).collect::<DeArray<'a>>()),
        DeValue::Table(keys) => {
            let keys = keys.into_iter();
            DeValue::Table(
                keys.map(|(key, value)| (Spanned::new(at.clone(), key.into_inner()), part(value))).collect(),
            )
        }
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn refused(text: &str, environment: &BTreeMap<String, String>) -> String {
        read(Some("a.toml".into()), text, environment).unwrap_err().to_string()
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let set = environment([
            ("TURNPIKE_RELAY__SHARDS", "8"),
            ("TURNPIKE_RELAY__PORT_RANGE", "[50000, 50100]"),
            ("TURNPIKE_NODE__PUBLIC_IPV4", "198.18.0.1"),
            ("TURNPIKE_AUTH__STATIC_USER", "[{ username = 'a', password = 'b' }]"),
            ("TURNPIKE_CONFIG", "not a key"),
            ("PATH", "/bin"),
        ]);
        let (origins, file, _) = read(None, "[relay]\nshards = 2", &set).unwrap();
        let shards = file.relay.shards.unwrap();
        assert_eq!(*shards.get_ref(), 8);
        assert_eq!(
            origins.place(Some(&shards.span())),
            Some(Place::Variable("TURNPIKE_RELAY__SHARDS".into()))
        );
        assert_eq!(file.relay.port_range.unwrap().into_inner(), [50_000, 50_100]);
        assert_eq!(file.node.public_ipv4.unwrap().into_inner(), "198.18.0.1");
        assert_eq!(file.auth.static_user[0].username.get_ref(), "a");
    }

    #[test]
    fn what_is_set_otherwise_is_named_wherever_it_is_set() {
        let written = |text: &str, set: &BTreeMap<String, String>| read(None, text, set).unwrap().2;
        let none = environment([]);
        let text = "[relay]\nshards = 2\nport_range = [1, 2]\n[log]\nlevel = \"info\"";
        let before = written(text, &none);
        assert!(before.changed(&written(text, &none)).is_empty());
        assert!(
            before
                .changed(&written(
                    "log = { level = 'info' }\nrelay = { shards = 2, port_range = [1, 2] }",
                    &none
                ))
                .is_empty()
        );
        let after =
            written("[relay]\nshards = 3\n[[auth.static_user]]\nusername = 'a'\npassword = 'b'", &none);
        assert_eq!(
            before.changed(&after),
            ["auth.static_user", "log.level", "relay.port_range", "relay.shards"]
        );
        let by_environment = written(text, &environment([("TURNPIKE_RELAY__SHARDS", "4")]));
        assert_eq!(before.changed(&by_environment), ["relay.shards"]);
    }

    #[test]
    fn a_variable_that_names_no_key_is_refused_under_its_own_name() {
        assert_eq!(
            refused("", &environment([("TURNPIKE_RELAY__SHARD", "8")])),
            "TURNPIKE_RELAY__SHARD: unknown key `shard`: did you mean `shards`?"
        );
        assert_eq!(
            refused("", &environment([("TURNPIKE_RELAYS__SHARDS", "8")])),
            "TURNPIKE_RELAYS__SHARDS: unknown key `relays`: did you mean `relay`?"
        );
        assert_eq!(
            refused("", &environment([("TURNPIKE_RELAY__SHARDS", "many")])),
            "TURNPIKE_RELAY__SHARDS: found text: write a whole number without quotes"
        );
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(
            refused("[node]\nname = \"ä\" # é\n[relay]\n shard = 1\n", &BTreeMap::new()),
            "a.toml:4:2: unknown key `shard`: did you mean `shards`?"
        );
        assert!(refused("node = 5", &BTreeMap::new()).starts_with("a.toml:1:8: "));
    }
}
