//! A small ACME server (RFC 8555) of the tests' own: it asks over HTTP as a real one does, and signs what it is content
//! with. Signatures of requests are not checked, nonces are.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::CertificateSigningRequestParams;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::authority::{Authority, DOMAIN};

/// Where it is and what it has seen.
pub(crate) struct AcmeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    authority: Authority,
    /// Where it asks for what proves the name.
    asks: SocketAddr,
    base: String,
    lasting: Duration,
    refuses: AtomicBool,
    accounts: AtomicU32,
    issued: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nonces: HashSet<String>,
    serial: u32,
    thumbprint: String,
    /// By their numbers.
    orders: Vec<Order>,
    bound_to: Option<String>,
}

#[derive(Default)]
struct Order {
    /// `None` until it was asked; then whether the answer was right, or why not.
    proven: Option<Result<(), String>>,
    certificate: Option<String>,
}

impl AcmeServer {
    /// Starts one that asks at an address, and whose certificates last so long. Its own HTTPS certificate, and those that
    /// it issues, are signed by the authority that it writes into the folder.
    pub(crate) fn start(asks: SocketAddr, lasting: Duration, folder: &Path) -> Self {
        let authority = Authority::new();
        let own = tempfile::tempdir().unwrap();
        authority.sign(own.path(), &["127.0.0.1"]);
        std::fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
        let chain = vec![CertificateDer::from_pem_file(own.path().join("cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(own.path().join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = Arc::new(tls.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            authority,
            asks,
            base: format!("https://{address}"),
            lasting,
            refuses: AtomicBool::new(false),
            accounts: AtomicU32::new(0),
            issued: AtomicU32::new(0),
            state: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (shared, tls) = (Arc::clone(&serving), Arc::clone(&tls));
                thread::spawn(move || {
                    shared.serve(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream))
                });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://{}/directory", self.address)
    }

    /// From now on it says that nobody has answered.
    pub(crate) fn refuse(&self) {
        self.shared.refuses.store(true, Ordering::SeqCst);
    }

    pub(crate) fn accounts(&self) -> u32 {
        self.shared.accounts.load(Ordering::SeqCst)
    }

    pub(crate) fn issued(&self) -> u32 {
        self.shared.issued.load(Ordering::SeqCst)
    }

    /// The id of the key that the account was bound to.
    pub(crate) fn bound_to(&self) -> Option<String> {
        self.shared.state.lock().unwrap().bound_to.clone()
    }
}

/// Status, value of Location, body.
type Answer = (u16, Option<String>, Value);

impl Shared {
    /// One request a connection.
    fn serve(&self, mut stream: StreamOwned<ServerConnection, TcpStream>) {
        let mut reader = BufReader::new(&mut stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            // Whoever does not trust this server goes away.
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let length = lines.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let path = lines[0].split(' ').nth(1).unwrap().to_owned();
        let (status, location, answer) = self.answer(&path, &body);
        let text = match &answer {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let nonce = self.nonce();
        let location = location.map(|url| format!("location: {url}\r\n")).unwrap_or_default();
        let content = if lines[0].starts_with("HEAD ") { "" } else { text.as_str() };
        let head = format!(
            "HTTP/1.1 {status} x\r\nreplay-nonce: {nonce}\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n",
            content.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(content.as_bytes()).unwrap();
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }

    fn nonce(&self) -> String {
        let mut state = self.state.lock().unwrap();
        state.serial += 1;
        let nonce = format!("nonce-{}", state.serial);
        state.nonces.insert(nonce.clone());
        nonce
    }

    fn answer(&self, path: &str, body: &[u8]) -> Answer {
        let url = |path: &str| format!("{}{path}", self.base);
        if path == "/directory" {
            let directory = json!({ "newNonce": url("/nonce"), "newAccount": url("/account"), "newOrder": url("/order") });
            return (200, None, directory);
        }
        if path == "/nonce" {
            return (200, None, json!(""));
        }
        let jws: Value = serde_json::from_slice(body).unwrap();
        let part = |name: &str| URL_SAFE_NO_PAD.decode(jws[name].as_str().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&part("protected")).unwrap();
        assert_eq!(header["url"], url(path), "a request is for the URL that it is sent to");
        let is_fresh = self.state.lock().unwrap().nonces.remove(header["nonce"].as_str().unwrap());
        assert!(is_fresh, "a nonce is taken once");
        let payload: Value = serde_json::from_slice(&part("payload")).unwrap_or_default();
        let (kind, number) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        let number: usize = number.parse().unwrap_or(0);
        match kind {
            "account" => self.account(&header, &payload),
            "order" if path == "/order" => {
                assert_eq!(payload["identifiers"], json!([{ "type": "dns", "value": DOMAIN }]));
                let number = {
                    let mut state = self.state.lock().unwrap();
                    state.orders.push(Order::default());
                    state.orders.len() - 1
                };
                (201, Some(url(&format!("/order/{number}"))), self.order(number))
            }
            "order" => (200, None, self.order(number)),
            "authz" => (200, None, self.authorization(number)),
            "challenge" => {
                let proven = self.ask(number);
                // Content or not, it says so later.
                let challenge = self.authorization(number)["challenges"][0].clone();
                self.state.lock().unwrap().orders[number].proven = Some(proven);
                (200, None, challenge)
            }
            "finalize" => {
                let csr = URL_SAFE_NO_PAD.decode(payload["csr"].as_str().unwrap()).unwrap();
                let certificate = self.issue(&csr);
                self.state.lock().unwrap().orders[number].certificate = Some(certificate);
                (200, Some(url(&format!("/order/{number}"))), self.order(number))
            }
            "certificate" => {
                let certificate = self.state.lock().unwrap().orders[number].certificate.clone();
                (200, None, Value::String(certificate.unwrap()))
            }
            other => panic!("{other} is asked for"),
        }
    }

    fn account(&self, header: &Value, payload: &Value) -> Answer {
        assert_eq!(payload["termsOfServiceAgreed"], true);
        let jwk = &header["jwk"];
        // The members in this order, without white space (RFC 7638 §3).
        let canonical =
            format!(r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#, jwk["crv"], jwk["kty"], jwk["x"], jwk["y"]);
        let mut state = self.state.lock().unwrap();
        state.thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        if let Some(protected) = payload["externalAccountBinding"]["protected"].as_str() {
            let binding: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(protected).unwrap()).unwrap();
            state.bound_to = binding["kid"].as_str().map(str::to_owned);
        }
        self.accounts.fetch_add(1, Ordering::SeqCst);
        (201, Some(format!("{}/account/1", self.base)), json!({ "status": "valid" }))
    }

    fn order(&self, number: usize) -> Value {
        let state = self.state.lock().unwrap();
        let order = &state.orders[number];
        let url = |kind: &str| format!("{}/{kind}/{number}", self.base);
        let status = match (&order.proven, &order.certificate) {
            (_, Some(_)) => "valid",
            (None, _) => "pending",
            (Some(Ok(())), _) => "ready",
            (Some(Err(_)), _) => "invalid",
        };
        let mut shown = json!({
            "status": status,
            "identifiers": [{ "type": "dns", "value": DOMAIN }],
            "authorizations": [url("authz")],
            "finalize": url("finalize"),
        });
        if order.certificate.is_some() {
            shown["certificate"] = url("certificate").into();
        }
        shown
    }

    fn authorization(&self, number: usize) -> Value {
        let state = self.state.lock().unwrap();
        let url = format!("{}/challenge/{number}", self.base);
        let mut challenge = json!({ "type": "http-01", "url": url, "token": format!("token-{number}") });
        let status = match &state.orders[number].proven {
            None => "pending",
            Some(Ok(())) => "valid",
            Some(Err(why)) => {
                challenge["error"] =
                    json!({ "type": "urn:ietf:params:acme:error:connection", "detail": why, "status": 400 });
                "invalid"
            }
        };
        challenge["status"] = status.into();
        json!({ "identifier": { "type": "dns", "value": DOMAIN }, "status": status, "challenges": [challenge] })
    }

    /// RFC 8555 §8.3.
    fn ask(&self, number: usize) -> Result<(), String> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(format!("{DOMAIN}: Connection refused"));
        }
        let expected = format!("token-{number}.{}", self.state.lock().unwrap().thumbprint);
        let mut stream = TcpStream::connect(self.asks).map_err(|error| error.to_string())?;
        let path = format!("/.well-known/acme-challenge/token-{number}");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if body == expected { Ok(()) } else { Err(format!("{body:?} is not {expected:?}")) }
    }

    /// The chain.
    fn issue(&self, csr: &[u8]) -> String {
        let mut request = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        let now = OffsetDateTime::now_utc();
        request.params.not_before = now - Duration::from_secs(1);
        request.params.not_after = now + self.lasting;
        self.issued.fetch_add(1, Ordering::SeqCst);
        self.authority.sign_request(&request) + &self.authority.pem()
    }
}
