//! The example of two signaling nodes behind nginx, with one Redis: what it says is what runs.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    node::{SECRET, Service, Site, turnpike},
    session::Client,
};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples");
const PATIENCE: Duration = Duration::from_secs(20);
const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:x\r\na=fingerprint:sha-256 AA\r\n";

/// A program of others, killed when dropped.
struct Program(Child);

impl Program {
    fn start(mut command: Command, address: SocketAddr) -> Self {
        let process = Self(command.stdout(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "nobody listens on {address}");
            std::thread::sleep(Duration::from_millis(20));
        }
        process
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Pool {
    site: Site,
    /// nginx.
    front: SocketAddr,
    nodes: [SocketAddr; 2],
    metrics: [SocketAddr; 2],
    _redis: Program,
    _nginx: Program,
}

impl Pool {
    fn new() -> Self {
        let mut site = Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]");
        let mut local = || SocketAddr::from((Ipv4Addr::LOCALHOST, site.ports.listener()));
        let [front, redis, a, b, a_metrics, b_metrics] = std::array::from_fn(|_| local());
        let folder = site.folder.path();

        // The example as it is, with this machine's addresses, and the relay of the site.
        let example = fs::read_to_string(format!("{EXAMPLES}/two-nodes-redis.toml")).unwrap();
        let config = replaced(
            &example,
            &[
                (
                    "name = \"a\"\ndomain = \"turn.example.org\"",
                    "name = \"a\"\nallow_private_address = true\nstate_dir = \"a\"",
                ),
                ("192.0.2.10", "127.0.0.1"),
                ("[\"127.0.0.1:8081\"]", &format!("[\"{a}\"]")),
                ("redis://127.0.0.1:6379", &format!("redis://{redis}")),
            ],
        );
        let config = format!(
            "{config}\n[auth]\nsecret_file = \"secret\"\n[relay]\nlisten_udp = [\"{turn}\"]\nlisten_tcp = [\"{turn}\"]\n\
             admin_socket = \"relay.sock\"\n[metrics]\nrelay_listen = \"\"\n[log]\nformat = \"json\"\n",
            turn = site.turn
        );
        fs::write(folder.join("two-nodes.toml"), config).unwrap();

        let snippet = fs::read_to_string(format!("{EXAMPLES}/two-nodes-redis.nginx.conf")).unwrap();
        let snippet = replaced(
            &snippet,
            &[
                ("127.0.0.1:8081", &a.to_string()),
                ("127.0.0.1:8082", &b.to_string()),
                ("listen 80;", &format!("listen {front};")),
            ],
        );
        fs::write(folder.join("nginx.conf"), nginx_around(folder, &snippet)).unwrap();

        let mut server = Command::new("redis-server");
        server.args(["--port", &redis.port().to_string(), "--bind", "127.0.0.1", "--save", ""]);
        server.arg("--dir").arg(folder);
        let _redis = Program::start(server, redis);
        let mut nginx = Command::new("nginx");
        nginx.arg("-c").arg(folder.join("nginx.conf")).arg("-p").arg(folder);
        let _nginx = Program::start(nginx, front);
        Self { site, front, nodes: [a, b], metrics: [a_metrics, b_metrics], _redis, _nginx }
    }

    /// The second one by its environment, as the example says.
    fn start(&self, nth: usize) -> Service {
        let mut command = turnpike(&["signaling"]);
        command.arg("--config").arg(self.site.folder.path().join("two-nodes.toml"));
        command.env("TURNPIKE_METRICS__SIGNALING_LISTEN", self.metrics[nth].to_string());
        if nth == 1 {
            command
                .env("TURNPIKE_NODE__NAME", "b")
                .env("TURNPIKE_NODE__STATE_DIR", self.site.folder.path().join("b"))
                .env("TURNPIKE_SIGNALING__LISTEN", format!("[\"{}\"]", self.nodes[1]));
        }
        let service = self.site.start_beside_by(command);
        service.log.wait_for("Redis is there: strangers of all its nodes meet");
        service
    }

    /// By way of nginx; and the node that it has come to.
    async fn connect(&self) -> (Client, String) {
        let mut client = Client::open(&self.front.to_string(), &json!({"v": 1})).await;
        let hello = client.event("hello").await;
        client.greeted(&hello);
        (client, hello["node"].as_str().unwrap().to_owned())
    }
}

fn replaced(text: &str, parts: &[(&str, &str)]) -> String {
    parts.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} in {text}");
        text.replace(from, to)
    })
}

/// What Debian's own nginx.conf has around a site, without its folders.
fn nginx_around(folder: &Path, site: &str) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    format!(
        "user root;\nworker_processes 1;\ndaemon off;\npid {folder}/nginx.pid;\nerror_log stderr;\n\
         events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{temporary}{site}\n}}\n"
    )
}

fn join() -> Value {
    json!({"mode": "video", "interests": [], "privacy": "all"})
}

async fn meet(one: &mut Client, other: &mut Client) -> String {
    let (to_one, to_other) = (one.event("match.found").await, other.event("match.found").await);
    assert_eq!(to_one["pair"], to_other["pair"]);
    let pair = to_one["pair"].as_str().unwrap().to_owned();
    for client in [&mut *one, &mut *other] {
        assert_eq!(client.ask("match.accept", json!({"pair": pair})).await["ok"], true);
    }
    one.event("match.start").await;
    other.event("match.start").await;
    pair
}

/// Takes a quarter of a minute: so long may a node that was killed seem to live.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_behind_nginx_are_one_and_one_of_them_may_be_killed() {
    let pool = Pool::new();
    let _relay = pool.site.start_beside("relay");
    let (_a, mut b) = (pool.start(0), pool.start(1));
    let ((first, of_first), (second, of_second)) = (pool.connect().await, pool.connect().await);
    let mut of = [of_first.as_str(), of_second.as_str()];
    of.sort_unstable();
    assert_eq!(of, ["a", "b"], "nginx takes one after the other");
    let (mut one, mut two) = if of_first == "a" { (first, second) } else { (second, first) };
    for client in [&mut one, &mut two] {
        assert_eq!(client.ask("queue.join", join()).await["ok"], true);
    }
    let pair = meet(&mut one, &mut two).await;
    // Whichever of the two is the initiator.
    let offer = json!({"pair": pair, "seq": 1, "gen": 0, "description": {"type": "offer", "sdp": SDP}});
    let (by, to) = match one.ask("signal", offer.clone()).await["ok"] == true {
        true => (&mut one, &mut two),
        false => {
            assert_eq!(two.ask("signal", offer).await["ok"], true);
            (&mut two, &mut one)
        }
    };
    assert_eq!(to.event("signal").await["description"]["type"], "offer");
    for n in 0..20 {
        let line = json!({"pair": pair, "id": n.to_string(), "text": format!("line {n}")});
        by.send("chat.send", line).await;
    }
    for n in 0..20 {
        assert_eq!(to.event("chat.message").await["text"], format!("line {n}"));
    }
    // The socket is lost; whatever node nginx chooses goes on.
    for _ in 0..3 {
        let lost = two.lose();
        let resumed;
        (two, resumed) = Client::take_over(&pool.front.to_string(), &lost).await;
        assert_eq!((&resumed["state"], &resumed["pair"]), (&json!("active"), &json!(pair)));
    }
    let here = two.state();
    drop(two);
    let (mut two, _) = Client::take_over(&pool.nodes[1].to_string(), &here).await;
    assert_eq!(
        two.ask("chat.send", json!({"pair": pair, "id": "x", "text": "still here"})).await["ok"],
        true
    );
    while one.event("chat.message").await["text"] != "still here" {}

    b.kill();
    let killed = Instant::now();
    let (mut again, of) = pool.connect().await;
    assert_eq!(of, "a", "nginx passes over a node that is gone");
    assert_eq!(again.ask("queue.join", join()).await["ok"], true);
    let (mut stranger, _) = pool.connect().await;
    assert_eq!(stranger.ask("queue.join", join()).await["ok"], true);
    meet(&mut again, &mut stranger).await;
    assert!(
        killed.elapsed() < Duration::from_secs(12),
        "who comes back meets others after {:?}",
        killed.elapsed()
    );
    assert_eq!(one.event("match.ended").await["reason"], "lost");
    assert!(
        killed.elapsed() < Duration::from_secs(20),
        "a dead partner is noticed after {:?}",
        killed.elapsed()
    );
    assert_eq!(fs::read_to_string(pool.site.folder.path().join("secret")).unwrap(), SECRET);
}
