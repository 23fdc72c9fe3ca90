use std::{
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use super::Purpose;
use crate::{
    Relay, Tls,
    check::{Checker, by_family, listener, unless_empty},
    raw::{self, Key},
};

/// Where browsers look for HTTPS, and clients of TURN over TLS without a port (RFC 7065 §3.2).
const PORTS: [u16; 2] = [443, 5349];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Files,
    Off,
}

/// `None` where TLS is off; what the other keys say is checked all the same.
pub(super) fn resolve(
    c: &mut Checker<'_>,
    raw: raw::Tls,
    relay: &Relay,
    purpose: Purpose<'_>,
) -> Option<Tls> {
    let mode = c.take("tls.mode", raw.mode, Mode::Off, |mode| match mode.as_str() {
        "files" => Ok(Mode::Files),
        "off" => Ok(Mode::Off),
        "acme" => {
            Err("is \"acme\", and this version gets no certificate by itself: let certbot or another client \
                       get one, and write \"files\" with `tls.cert_file` and `tls.key_file`"
                .to_owned())
        }
        other => Err(format!("is \"{other}\": write \"files\" or \"off\"")),
    });
    let any = PORTS.map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    let span = raw.listen.as_ref().map(toml::Spanned::span);
    let listen = by_family(c.take_filled_list("tls.listen", raw.listen, any.into(), listener));
    let twice = listen.iter().find(|listener| relay.listen_tcp.contains(listener));
    if let Some(twice) = twice.filter(|_| mode == Mode::Files) {
        let refusal = format!("holds {twice}, which `relay.listen_tcp` has: TLS needs a port of its own");
        c.refuse("tls.listen", span.as_ref(), &refusal);
    }
    let cert_file = file(c, "tls.cert_file", raw.cert_file, mode, purpose);
    let key_file = file(c, "tls.key_file", raw.key_file, mode, purpose);
    (mode == Mode::Files).then(|| Tls {
        listen,
        cert_file: cert_file.unwrap_or_default(),
        key_file: key_file.unwrap_or_default(),
    })
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
