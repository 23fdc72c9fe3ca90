use std::{
    net::{Ipv6Addr, SocketAddr},
    ops::Range,
    path::PathBuf,
};

use super::Purpose;
use crate::{
    Acme, ExternalAccount, Node, Relay, Tls,
    check::{Checker, by_family, listener, unless_empty},
    raw::{self, Key},
};

/// Where browsers look for HTTPS, and clients of TURN over TLS without a port (RFC 7065 §3.2).
const PORTS: [u16; 2] = [443, 5349];
/// Where an authority asks (RFC 8555 §8.3).
const ACME_PORT: u16 = 80;

/// Directories that have a name.
const DIRECTORIES: [(&str, &str); 2] = [
    ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
    ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Acme,
    Files,
    Off,
}

/// `None` where TLS is off; what the other keys say is checked all the same.
pub(super) fn resolve(
    c: &mut Checker<'_>,
    raw: raw::Tls,
    node: &Node,
    relay: &Relay,
    purpose: Purpose<'_>,
) -> Option<Tls> {
    let mode_span = raw.mode.as_ref().map(toml::Spanned::span);
    let mode = c.take("tls.mode", raw.mode, Mode::Off, |mode| match mode.as_str() {
        "acme" => Ok(Mode::Acme),
        "files" => Ok(Mode::Files),
        "off" => Ok(Mode::Off),
        other => Err(format!("is \"{other}\": write \"acme\", \"files\" or \"off\"")),
    });
    let any = PORTS.map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    let span = raw.listen.as_ref().map(toml::Spanned::span);
    let listen = by_family(c.take_filled_list("tls.listen", raw.listen, any.into(), listener));
    let twice = listen.iter().find(|listener| relay.listen_tcp.contains(listener));
    if let Some(twice) = twice.filter(|_| mode != Mode::Off) {
        let refusal = format!("holds {twice}, which `relay.listen_tcp` has: TLS needs a port of its own");
        c.refuse("tls.listen", span.as_ref(), &refusal);
    }
    let cert_file = file(c, "tls.cert_file", raw.cert_file, mode, purpose);
    let key_file = file(c, "tls.key_file", raw.key_file, mode, purpose);

    let any = vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, ACME_PORT))];
    let span = raw.acme_http_listen.as_ref().map(toml::Spanned::span);
    let http_listen =
        by_family(c.take_filled_list("tls.acme_http_listen", raw.acme_http_listen, any, listener));
    let twice = http_listen.iter().find(|http| listen.contains(http) || relay.listen_tcp.contains(http));
    if let Some(twice) = twice.filter(|_| mode == Mode::Acme) {
        let refusal = format!(
            "holds {twice}, which `tls.listen` or `relay.listen_tcp` has: the authority asks over plain HTTP, which \
             needs a port of its own"
        );
        c.refuse("tls.acme_http_listen", span.as_ref(), &refusal);
    }
    let email = c.take("tls.acme_email", raw.acme_email, None, unless_empty(email));
    let directory = c.take("tls.acme_directory", raw.acme_directory, DIRECTORIES[0].1.to_owned(), directory);
    let external_account = external_account(c, raw.acme_eab_key_id, raw.acme_eab_key_file, purpose);
    if mode == Mode::Acme && node.domain.is_none() {
        let refusal = "is \"acme\", but `node.domain` is not set: write the name that the certificate is for";
        c.refuse("tls.mode", mode_span.as_ref(), refusal);
    }
    let folder = node.state_dir.join("acme");
    match mode {
        Mode::Off => None,
        Mode::Files => Some(Tls {
            listen,
            cert_file: cert_file.unwrap_or_default(),
            key_file: key_file.unwrap_or_default(),
            acme: None,
        }),
        Mode::Acme => Some(Tls {
            listen,
            cert_file: folder.join("fullchain.pem"),
            key_file: folder.join("privkey.pem"),
            acme: Some(Acme {
                domain: node.domain.clone().unwrap_or_default(),
                http_listen,
                email,
                directory,
                folder,
                external_account,
            }),
        }),
    }
}

/// The path of a file that mode "files" needs.
fn file(
    c: &mut Checker<'_>,
    key: &str,
    raw: Key<String>,
    mode: Mode,
    purpose: Purpose<'_>,
) -> Option<PathBuf> {
    let span = raw.as_ref().map(toml::Spanned::span);
    let is_set = raw.as_ref().is_some_and(|raw| !raw.get_ref().is_empty());
    let path = c.take(key, raw, None, unless_empty(|text| purpose.path(text)));
    if mode == Mode::Files && !is_set {
        let refusal = "is not set, but `tls.mode` is \"files\": write the path of a PEM file";
        c.refuse(key, span.as_ref(), refusal);
    }
    path
}

/// Both keys or neither.
fn external_account(
    c: &mut Checker<'_>,
    key_id: Key<String>,
    key_file: Key<String>,
    purpose: Purpose<'_>,
) -> Option<ExternalAccount> {
    let span = |raw: &Key<String>| -> Option<Range<usize>> { raw.as_ref().map(toml::Spanned::span) };
    let spans = [span(&key_id), span(&key_file)];
    let key_id = c.take("tls.acme_eab_key_id", key_id, None, unless_empty(|id| Ok(id.to_owned())));
    let path = |text: &str| purpose.path(text);
    let key_file = c.take("tls.acme_eab_key_file", key_file, None, unless_empty(path));
    let missing =
        |other: &str| format!("is set alone: write `{other}` too, as the authority has given them out");
    match (key_id, key_file) {
        (Some(key_id), Some(key_file)) => Some(ExternalAccount { key_id, key_file }),
        (Some(_), None) => {
            c.refuse("tls.acme_eab_key_id", spans[0].as_ref(), &missing("tls.acme_eab_key_file"));
            None
        }
        (None, Some(_)) => {
            c.refuse("tls.acme_eab_key_file", spans[1].as_ref(), &missing("tls.acme_eab_key_id"));
            None
        }
        (None, None) => None,
    }
}

fn email(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '?' | '%');
    match text.split_once('@') {
        Some((user, host)) if !user.is_empty() && !host.is_empty() && text.chars().all(plain) => {
            Ok(text.to_owned())
        }
        _ => Err(format!("is \"{text}\": write an address such as \"admin@example.org\"")),
    }
}

fn directory(text: String) -> Result<String, String> {
    let named = DIRECTORIES.iter().find(|(name, _)| *name == text);
    let plain = |url: &str| url.len() > "https://".len() && url.chars().all(|c| c.is_ascii_graphic());
    match named {
        Some((_, url)) => Ok((*url).to_owned()),
        None if text.starts_with("https://") && plain(&text) => Ok(text),
        None => Err(format!(
            "is \"{text}\": write \"letsencrypt\", \"letsencrypt-staging\" or the https:// URL of a directory"
        )),
    }
}
