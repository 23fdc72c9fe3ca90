use std::{
    fs,
    io::{Read as _, Write as _},
    sync::Arc,
};

use rcgen::{CertificateParams, date_time_ymd};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection, pki_types::ServerName};

use super::{
    Tls, check_certificate,
    files::{Files, params_for},
    watch::Watch,
};

/// A client and a server that are connected by memory.
struct Pair {
    client: ClientConnection,
    server: ServerConnection,
}

impl Pair {
    fn connect(client: &Arc<ClientConfig>, tls: &Tls) -> Result<Self, rustls::Error> {
        let name = ServerName::try_from("turn.example.org").unwrap();
        let mut pair = Self {
            client: ClientConnection::new(Arc::clone(client), name).unwrap(),
            server: ServerConnection::new(tls.current()).unwrap(),
        };
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            pair.exchange()?;
        }
        pair.exchange()?;
        Ok(pair)
    }

    /// Carries what each side has to say to the other.
    fn exchange(&mut self) -> Result<(), rustls::Error> {
        let mut wire = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut wire).unwrap();
        }
        let mut unread = wire.as_slice();
        while !unread.is_empty() {
            self.server.read_tls(&mut unread).unwrap();
            self.server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut wire).unwrap();
        }
        let mut unread = wire.as_slice();
        while !unread.is_empty() {
            self.client.read_tls(&mut unread).unwrap();
            self.client.process_new_packets()?;
        }
        Ok(())
    }

    fn carries(&mut self, bytes: &[u8]) -> bool {
        let mut arrived = vec![0; bytes.len()];
        self.client.writer().write_all(bytes).unwrap();
        self.exchange().unwrap();
        self.server.reader().read_exact(&mut arrived).unwrap();
        self.server.writer().write_all(&arrived).unwrap();
        self.exchange().unwrap();
        self.client.reader().read_exact(&mut arrived).unwrap();
        arrived == bytes
    }
}

fn certificate_seen(pair: &Pair) -> Vec<u8> {
    pair.client.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn turn_and_http_are_told_apart_by_their_protocol_and_no_other_is_taken() {
    let files = Files::new();
    let tls = files.load();
    let chosen = |alpn: &[&[u8]]| {
        Pair::connect(&files.client(alpn), &tls).map(|pair| pair.server.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(chosen(&[b"stun.turn"]).unwrap().unwrap(), b"stun.turn");
    assert_eq!(chosen(&[b"h2", b"http/1.1"]).unwrap().unwrap(), b"http/1.1");
    assert_eq!(chosen(&[]).unwrap(), None);
    assert!(matches!(chosen(&[b"h2"]), Err(rustls::Error::NoApplicationProtocol)));
}

#[test]
fn a_new_certificate_is_served_and_a_live_connection_goes_on() {
    let files = Files::new();
    let tls = files.load();
    let mut watch = Watch::since(tls.loaded);
    let client = files.client(&[]);
    let mut before = Pair::connect(&client, &tls).unwrap();
    let (first_expiry, first_read) = (tls.not_after(), tls.last_reload());

    let mut params = params_for("turn.example.org");
    params.not_after = date_time_ymd(2999, 1, 1);
    files.renew(params);
    watch.look(&tls);
    assert_eq!(tls.last_reload(), first_read, "files that have just changed may be half written");
    watch.look(&tls);

    assert!(first_expiry != tls.not_after());
    assert_eq!(tls.not_after(), Some(date_time_ymd(2999, 1, 1).unix_timestamp() as u64));
    assert!(before.carries(b"still here"));
    let after = Pair::connect(&files.client(&[]), &tls).unwrap();
    assert_ne!(certificate_seen(&before), certificate_seen(&after));
}

#[test]
fn until_acme_has_brought_a_certificate_handshakes_are_refused_and_then_served() {
    let files = Files::new();
    let config = turnpike_config::Tls {
        acme: Some(turnpike_config::Acme {
            domain: "turn.example.org".to_owned(),
            http_listen: Vec::new(),
            email: None,
            directory: "https://acme.example.org/directory".to_owned(),
            folder: files.path(""),
            external_account: None,
        }),
        ..files.config()
    };
    let key = fs::read(files.path("key.pem")).unwrap();
    fs::remove_file(files.path("key.pem")).unwrap();
    let tls = Tls::load(&config, Some("turn.example.org")).unwrap();
    assert_eq!((tls.not_after(), tls.acme_failures()), (None, 0));
    assert!(Pair::connect(&files.client(&[]), &tls).is_err());

    fs::write(files.path("key.pem"), key).unwrap();
    tls.reload().unwrap();
    assert!(Pair::connect(&files.client(&[]), &tls).unwrap().carries(b"now"));
    assert!(tls.not_after().is_some());
}

#[test]
fn a_session_is_resumed_under_the_next_certificate() {
    let files = Files::new();
    let tls = files.load();
    let client = files.client(&[b"stun.turn"]);
    let mut pair = Pair::connect(&client, &tls).unwrap();
    assert_eq!(pair.client.handshake_kind(), Some(HandshakeKind::Full));
    assert!(pair.carries(b"the ticket has come with this"));
    files.renew(params_for("turn.example.org"));
    tls.reload().unwrap();
    let pair = Pair::connect(&client, &tls).unwrap();
    assert_eq!(pair.client.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn a_broken_pair_leaves_the_one_before_in_use_until_it_is_mended() {
    let files = Files::new();
    let tls = files.load();
    let mut watch = Watch::since(tls.loaded);
    let served = |tls: &Tls| certificate_seen(&Pair::connect(&files.client(&[]), tls).unwrap());
    let first = served(&tls);
    let key = fs::read(files.path("key.pem")).unwrap();
    files.renew(params_for("turn.example.org"));
    let new_key = fs::read(files.path("key.pem")).unwrap();

    fs::write(files.path("key.pem"), key).unwrap();
    watch.look(&tls);
    watch.look(&tls);
    assert!(!tls.last_reload().0);
    assert_eq!(served(&tls), first);

    fs::remove_file(files.path("key.pem")).unwrap();
    watch.look(&tls);
    watch.look(&tls);
    assert!(!tls.last_reload().0);
    assert_eq!(served(&tls), first);

    fs::write(files.path("key.pem"), new_key).unwrap();
    watch.look(&tls);
    watch.look(&tls);
    assert!(tls.last_reload().0);
    assert_ne!(served(&tls), first);
}

#[test]
fn a_link_that_points_elsewhere_is_a_change() {
    let files = Files::new();
    fs::create_dir(files.path("archive")).unwrap();
    for name in ["cert.pem", "key.pem"] {
        fs::rename(files.path(name), files.path("archive").join(name)).unwrap();
        std::os::unix::fs::symlink(files.path("archive").join(name), files.path(name)).unwrap();
    }
    let tls = files.load();
    let mut watch = Watch::since(tls.loaded);
    let first = tls.current();
    for name in ["cert.pem", "key.pem"] {
        fs::remove_file(files.path(name)).unwrap();
    }
    files.renew(params_for("turn.example.org"));
    watch.look(&tls);
    watch.look(&tls);
    assert!(!Arc::ptr_eq(&first, &tls.current()));
}

#[test]
fn each_fault_of_a_certificate_has_its_sentence() {
    let files = Files::new();
    let certificate = check_certificate(&files.config(), Some("turn.example.org")).unwrap();
    assert!(certificate.to_string().starts_with("for turn.example.org until "), "{certificate}");
    assert!(!certificate.expires_soon());

    files.renew(CertificateParams::new(["*.example.org".to_owned()]).unwrap());
    assert!(check_certificate(&files.config(), Some("turn.example.org")).is_ok());

    files.renew(CertificateParams::new(["a.example.org".to_owned(), "198.18.0.1".to_owned()]).unwrap());
    assert_eq!(
        files.refusal(),
        "the TLS certificate in cert.pem is for a.example.org, 198.18.0.1, not for turn.example.org, which \
         node.domain says: get one for that name, or set node.domain to a name that it covers"
    );
    assert!(check_certificate(&files.config(), None).is_ok());

    let mut params = params_for("turn.example.org");
    params.not_after = date_time_ymd(2020, 2, 3);
    files.renew(params);
    assert_eq!(
        files.refusal(),
        "the TLS certificate in cert.pem expired on 2020-02-03, and every client would turn away: renew it, as \
         `certbot renew` does, or set tls.mode to \"off\""
    );

    let mut params = params_for("turn.example.org");
    params.not_before = date_time_ymd(2999, 1, 1);
    files.renew(params);
    assert!(files.refusal().starts_with("the TLS certificate in cert.pem is good from 2999-01-01 on"));

    files.renew(params_for("turn.example.org"));
    files.renew_key();
    assert!(
        files
            .refusal()
            .starts_with("the key in key.pem does not belong to the first certificate in cert.pem: ")
    );

    fs::write(
        files.path("key.pem"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    assert_eq!(
        files.refusal(),
        "key.pem holds no private key without a passphrase in PEM: tls.key_file names a file with a block that begins \
         with -----BEGIN PRIVATE KEY-----"
    );

    fs::write(files.path("cert.pem"), "").unwrap();
    assert!(files.refusal().starts_with("cert.pem holds no certificate in PEM: tls.cert_file names"));

    fs::write(files.path("cert.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    files.renew_key();
    assert!(
        files
            .refusal()
            .starts_with("the TLS certificate in cert.pem with the key in key.pem cannot be used (")
    );

    fs::remove_file(files.path("cert.pem")).unwrap();
    assert!(files.refusal().starts_with(
        "the TLS file cert.pem cannot be read (No such file or directory (os error 2)): write the path"
    ));
}

#[test]
fn an_expiry_within_two_weeks_is_soon() {
    let files = Files::new();
    let in_days = |days: i64| {
        let mut params = params_for("turn.example.org");
        let today = date_time_ymd(1970, 1, 1) + std::time::UNIX_EPOCH.elapsed().unwrap();
        params.not_after = today + std::time::Duration::from_secs(days.unsigned_abs() * 86_400);
        files.renew(params);
        check_certificate(&files.config(), None).unwrap().expires_soon()
    };
    assert!(in_days(13));
    assert!(!in_days(15));
}
