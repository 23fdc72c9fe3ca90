//! The whole way: file, environment, checks, secrets.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use crate::{
    Config, ConfigError, Host, Place, Problem, PublicAddress, Secret,
    document::{self, Written},
    resolve::{Purpose, Resolved, resolve},
    secrets::{SecretError, is_open_to_all, make_secret, random_secret, read_keys, read_secrets},
};

/// What to load and for whom.
#[derive(Debug, Clone)]
pub struct Request {
    /// The file; without one, defaults under the user's own data folder.
    pub file: Option<PathBuf>,
    /// For clients on this machine only.
    pub this_machine: bool,
    /// What to do when there is no secret file yet.
    pub missing_secret: MissingSecret,
}

/// What to do when there is no secret file yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingSecret {
    /// Make it: a service starts.
    Make,
    /// Refuse: a credential under a new secret would be worth nothing.
    Refuse,
    /// Go on with a random one that is not kept: only a check.
    StandIn,
}

/// A configuration ready for use.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file they come from, when there is one.
    pub file: Option<PathBuf>,
    /// The file that holds the secrets.
    pub secret_file: PathBuf,
    /// What the operator should know.
    pub notes: Vec<Note>,
    /// What is set, for a comparison with a later load.
    pub written: Written,
}

/// What is in order but worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The advertised address is of use inside its own network only.
    PrivateAddress(PublicAddress),
    /// Clients of TURN over TLS need a name that the certificate covers.
    TlsWithoutDomain,
    /// Any user of the machine can mint credentials.
    SecretOpenToAll(PathBuf),
    /// The secret file was missing and was made.
    SecretMade(PathBuf),
    /// The secret file is missing and is made at the first start.
    SecretToBeMade(PathBuf),
}

impl Note {
    /// Whether the operator should do something about it.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::PrivateAddress(_) | Self::TlsWithoutDomain | Self::SecretOpenToAll(_))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrivateAddress(address) => {
                let family = if address.address.is_ipv4() { "ipv4" } else { "ipv6" };
                write!(
                    f,
                    "the advertised address is {address}: strangers on the internet cannot reach it; \
                     set node.public_{family} to the public one to serve them"
                )
            }
            Self::TlsWithoutDomain => f.write_str(
                "TLS is on, but without a name clients are given no turns: URL: \
                 set node.domain to a name that the certificate covers",
            ),
            Self::SecretOpenToAll(path) => {
                let path = path.display();
                write!(
                    f,
                    "every user of this machine can read {path} and mint credentials: run chmod o= {path}"
                )
            }
            Self::SecretMade(path) => write!(f, "made a new secret in {}", path.display()),
            Self::SecretToBeMade(path) => write!(f, "{} is made at the first start", path.display()),
        }
    }
}

/// Reads the file and the environment, checks all, and reads or makes the secret.
///
/// # Errors
/// [`ConfigError`] with every problem found; nothing was made then.
pub fn load(request: &Request, host: &Host) -> Result<Loaded, ConfigError> {
    let text = text_of(request)?;
    let (resolved, written) = resolve_text(request, &text, host)?;
    let Resolved { mut config, secret_file, api_keys_file, admin_keys_file, jwt_keys_file, mut notes } =
        resolved;
    let refused = |error: SecretError| ConfigError::from(Problem::nowhere(error.to_string()));
    if let Some(path) = api_keys_file {
        config.auth.api_keys = read_keys(&path, "API key").map_err(refused)?;
    }
    if let Some(path) = admin_keys_file {
        config.auth.admin_keys = read_keys(&path, "admin key").map_err(refused)?;
    }
    if let Some(path) = jwt_keys_file {
        config.auth.jwt_keys = read_keys(&path, "JWT key").map_err(refused)?;
    }
    config.auth.secrets = match read_secrets(&secret_file).map_err(refused)? {
        Some(secrets) => {
            notes.extend(is_open_to_all(&secret_file).then(|| Note::SecretOpenToAll(secret_file.clone())));
            secrets
        }
        None => {
            let (secrets, note) = without_secret_file(&secret_file, request.missing_secret)?;
            notes.push(note);
            secrets
        }
    };
    if request.this_machine {
        config.confine_to_this_machine(host);
    }
    Ok(Loaded { config, file: request.file.clone(), secret_file, notes, written })
}

/// Checks the text of a file and the environment as [`load`] does, and opens nothing: secrets and keys stay empty.
///
/// # Errors
/// [`ConfigError`] with every problem found.
pub fn check_text(request: &Request, text: &str, host: &Host) -> Result<Config, ConfigError> {
    let mut config = resolve_text(request, text, host)?.0.config;
    if request.this_machine {
        config.confine_to_this_machine(host);
    }
    Ok(config)
}

fn resolve_text(request: &Request, text: &str, host: &Host) -> Result<(Resolved, Written), ConfigError> {
    let (origins, raw, written) = document::read(request.file.clone(), text, &host.environment)?;
    let purpose = Purpose { file: request.file.as_deref(), this_machine: request.this_machine };
    Ok((resolve(&origins, raw, host, purpose)?, written))
}

/// What is in the file; nothing without one.
pub(crate) fn text_of(request: &Request) -> Result<String, Problem> {
    request.file.as_deref().map_or_else(|| Ok(String::new()), read)
}

fn read(path: &Path) -> Result<String, Problem> {
    let refused = |message: String| Problem { place: Some(Place::File(path.into())), message };
    let bytes = fs::read(path).map_err(|error| {
        refused(format!("cannot be read ({error}): name an existing file that you may read with --config"))
    })?;
    String::from_utf8(bytes).map_err(|_| refused("is not UTF-8 text: save it as UTF-8".to_owned()))
}

fn without_secret_file(path: &Path, missing: MissingSecret) -> Result<(Vec<Secret>, Note), Problem> {
    match missing {
        MissingSecret::Make => {
            let secrets = make_secret(path).map_err(|error| Problem::nowhere(error.to_string()))?;
            Ok((secrets, Note::SecretMade(path.into())))
        }
        MissingSecret::Refuse => Err(Problem::nowhere(format!(
            "there is no secret file {} yet: start `turnpike run` or `turnpike relay` once, and it is made",
            path.display()
        ))),
        MissingSecret::StandIn => Ok((vec![random_secret()], Note::SecretToBeMade(path.into()))),
    }
}
