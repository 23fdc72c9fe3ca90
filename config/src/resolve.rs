//! From the file as written to the values that services get: defaults, checks, paths. No file is opened here.

mod auth;
pub(crate) mod authority;
mod budget;
mod cost;
mod ice;
mod node;
mod observe;
mod redis;
mod relay;
mod signaling;
mod tls;
mod usage;

use std::path::{Path, PathBuf};

pub use cost::preset;
pub(crate) use ice::auto_urls;

use crate::{Config, ConfigError, Host, Note, check::Checker, document::Origins, raw};

/// `sun_path` of a Unix socket holds 108 bytes, the last one zero.
const MAX_SOCKET_PATH: usize = 107;

/// What the values are resolved for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose<'a> {
    /// The file, when there is one: its folder is where relative paths start.
    pub(crate) file: Option<&'a Path>,
    /// `run --dev`: strangers are out of the picture.
    pub(crate) this_machine: bool,
}

/// A configuration without the contents of its secret files.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Everything but `auth.secrets` and the keys of `auth`, which are empty.
    pub(crate) config: Config,
    pub(crate) secret_file: PathBuf,
    pub(crate) api_keys_file: Option<PathBuf>,
    pub(crate) admin_keys_file: Option<PathBuf>,
    pub(crate) jwt_keys_file: Option<PathBuf>,
    pub(crate) notes: Vec<Note>,
}

pub(crate) fn resolve(
    origins: &Origins,
    file: raw::File,
    host: &Host,
    purpose: Purpose<'_>,
) -> Result<Resolved, ConfigError> {
    let mut checker = Checker::new(origins);
    let c = &mut checker;
    let (node, mut notes) = node::resolve(c, file.node, host, purpose);
    let (auth, files) = auth::resolve(c, file.auth, &node, purpose);
    let relay = relay::resolve(c, file.relay, &node, host, purpose);
    let tls = tls::resolve(c, file.tls, &node, &relay, purpose);
    let signaling = signaling::resolve(c, file.signaling, tls.as_ref(), &node, purpose);
    let ice = ice::resolve(c, file.ice, &node, &relay, tls.as_ref());
    let mint = signaling::mint(c, file.mint);
    let redis = redis::resolve(c, file.redis);
    let metrics = observe::metrics(c, file.metrics);
    let usage = usage::resolve(c, file.usage);
    let cost = cost::resolve(c, file.cost);
    let budget = budget::resolve(c, file.budget, cost.price.is_some());
    let log = observe::log(c, file.log);
    let problems = checker.into_problems();
    if !problems.is_empty() {
        return Err(ConfigError::new(problems));
    }
    if tls.is_some() && node.domain.is_none() {
        notes.push(Note::TlsWithoutDomain);
    }
    let config =
        Config { node, auth, relay, tls, signaling, ice, mint, redis, metrics, usage, cost, budget, log };
    Ok(Resolved {
        config,
        secret_file: files.secret,
        api_keys_file: files.api_keys,
        admin_keys_file: files.admin_keys,
        jwt_keys_file: files.jwt_keys,
        notes,
    })
}

impl Purpose<'_> {
    /// The path as written, seen from the folder of the file.
    fn path(&self, text: &str) -> Result<PathBuf, String> {
        if text.is_empty() {
            return Err("is empty: write a path, or leave the key out".to_owned());
        }
        Ok(self.file.and_then(Path::parent).unwrap_or(Path::new("")).join(text))
    }

    /// A path as above that a Unix socket can be bound to.
    fn socket_path(&self, text: &str) -> Result<PathBuf, String> {
        let path = self.path(text)?;
        match path.as_os_str().len() <= MAX_SOCKET_PATH {
            true => Ok(path),
            false => Err(format!(
                "is longer than the {MAX_SOCKET_PATH} bytes of a socket's path: choose a shorter one"
            )),
        }
    }

    /// A default that lies in the system's folders with a file, in the state folder without one.
    fn default_path(&self, system: &str, state_dir: &Path, name: &str) -> PathBuf {
        match self.file {
            Some(_) => PathBuf::from(system),
            None => state_dir.join(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InterfaceAddress, document};

    fn host() -> Host {
        let eth0 = InterfaceAddress {
            interface: "eth0".to_owned(),
            address: [198, 18, 0, 1].into(),
            is_passing: false,
        };
        Host { name: "node-1".to_owned(), cores: 4, addresses: vec![eth0], ..Host::default() }
    }

    fn resolved(text: &str) -> Resolved {
        let path = Path::new("/etc/turnpike/turnpike.toml");
        let (origins, file, _) = document::read(Some(path.into()), text, &host().environment).unwrap();
        resolve(&origins, file, &host(), Purpose { file: Some(path), this_machine: false }).unwrap()
    }

    const SAMPLE: &str = include_str!("../turnpike.toml");

    #[test]
    fn the_sample_is_the_defaults() {
        assert_eq!(format!("{:#?}", resolved(SAMPLE)), format!("{:#?}", resolved("")));
    }

    #[test]
    fn the_sample_names_every_key() {
        let (_, file, _) = document::read(None, SAMPLE, &host().environment).unwrap();
        let written = format!("{file:?}");
        assert!(!written.contains("None"), "a key that is None in {written}");
    }

    #[test]
    fn an_unknown_key_anywhere_in_the_sample_is_refused() {
        let with_user = format!(
            "{SAMPLE}\n[[auth.static_user]]\nusername = \"a\"\npassword = \"b\"\n\
             [[cost.compare]]\nvendor = \"cloudflare\"\n"
        );
        let lines: Vec<&str> = with_user.lines().collect();
        let headers = (1..).zip(&lines).filter(|(_, line)| line.starts_with('[')).map(|(number, _)| number);
        let headers: Vec<usize> = headers.collect();
        assert_eq!(headers.len(), 15, "every section, the user and the vendor");
        for number in headers {
            let text = [&lines[..number], &["zzz = 1"], &lines[number..]].concat().join("\n");
            let problem =
                document::read(Some("f".into()), &text, &host().environment).unwrap_err().to_string();
            let expected = format!("f:{}:1: unknown key `zzz`: remove it; known here: ", number + 1);
            assert!(problem.starts_with(&expected), "{problem}");
        }
        let problem = document::read(None, &format!("zzz = 1\n{SAMPLE}"), &host().environment).unwrap_err();
        assert!(problem.to_string().contains("unknown key `zzz`"), "{problem}");
    }
}
