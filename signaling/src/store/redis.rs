//! The way to Redis: one connection that tells, in order, and one that reads this node's stream.
//!
//! It begins anew after any failure. The crate's connection manager would reconnect behind our back; here the moments of
//! loss and return are what matters: the node matches alone in between, and tells all again afterwards.

use std::{
    fmt, iter,
    sync::Mutex,
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, Pipeline, RedisError, RedisResult, Value,
    aio::MultiplexedConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use serde_json::Map;
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;
use turnpike_matching::{Id, Mode, Wishes};

use super::{
    News, Outgoing,
    note::{self, Command, Left, Note},
};

/// A node that has not said for so long that it lives is dead.
const LIFE: Duration = Duration::from_secs(10);
const BEAT: Duration = Duration::from_secs(3);
/// A connection that is not made, or a command that is not answered, within this time has failed.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);
const READ_FOR: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(250);
/// In the end, Redis is told within this time that this node is no more.
const FAREWELL_WITHIN: Duration = Duration::from_millis(500);
/// Commands that go together.
const BATCH: usize = 128;
const READ_AT_ONCE: usize = 512;
/// Messages that a node's stream holds; what is cut off is asked for again.
const STREAM: usize = 65_536;
/// A stream that nobody renews is of a dead node.
const STREAM_LIFE: Duration = Duration::from_secs(60);
/// What Redis knows of who waits lasts this long, unless it is renewed.
const LEASE: Duration = Duration::from_secs(60);
/// What Redis knows of who is in which offer lasts so much longer than the offer.
const OFFER: Duration = Duration::from_secs(2);
/// What Redis knows of who owns which session.
const OWNED: Duration = Duration::from_secs(2 * 3600);
/// How long a block holds between nodes; the node that was asked for it keeps it for longer.
const APART: Duration = Duration::from_secs(90 * 86_400);
/// How many of a line are looked at, so that someone new behind those met lately is seen: as many as in memory.
const LOOKS: usize = 33;

/// Where Redis is.
pub struct Place {
    kind: Kind,
    prefix: String,
}

enum Kind {
    Direct(Client),
    Sentinel(AsyncMutex<SentinelClient>),
}

/// Why an address of Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It is none.
    #[error(
        "redis.url is no address of Redis ({0}): write redis://, rediss://, unix:// or redis+sentinel://"
    )]
    Url(#[from] RedisError),
    /// No master is named.
    #[error(
        "redis.url names no master: write redis+sentinel://[user:password@]host:26379[,host:26379]/master[/database]"
    )]
    NoMaster,
}

/// Who hears of Redis.
pub trait Watch: Send + Sync {
    /// Something is new; to be given to [`super::Shared::take`].
    fn news(&self, news: News);
    /// A command was answered after this time.
    fn took(&self, time: Duration);
    /// A connection or a command has failed; `connect`, `command` or `read`.
    fn failed(&self, what: &'static str);
}

impl Place {
    /// Reads an address.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn new(url: &str, prefix: &str) -> Result<Self, PlaceError> {
        let kind = match url.strip_prefix("redis+sentinel://") {
            Some(rest) => Kind::Sentinel(AsyncMutex::new(sentinel(rest)?)),
            None => Kind::Direct(Client::open(url)?),
        };
        Ok(Self { kind, prefix: prefix.to_owned() })
    }

    /// Asks Redis which version it is.
    ///
    /// # Errors
    /// Why it does not answer.
    pub async fn version(&self) -> Result<String, RedisError> {
        let mut connection = self.connect(ANSWER_WITHIN).await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(version.unwrap_or("unknown").trim().to_owned())
    }

    async fn connect(&self, answer_within: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_WITHIN))
            .set_response_timeout(Some(answer_within));
        match &self.kind {
            Kind::Direct(client) => client.get_multiplexed_async_connection_with_config(&config).await,
            Kind::Sentinel(client) => client.lock().await.get_async_connection_with_config(&config).await,
        }
    }
}

impl fmt::Debug for Place {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// `[user:password@]host:port[,host:port]/master[/database]`
fn sentinel(rest: &str) -> Result<SentinelClient, PlaceError> {
    let (authority, path) = rest.split_once('/').ok_or(PlaceError::NoMaster)?;
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() {
        return Err(PlaceError::NoMaster);
    }
    let address = |host: &str| {
        let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
        ConnectionAddr::Tcp(name.trim_matches(['[', ']']).to_owned(), port.parse().unwrap_or(26379))
    };
    let mut builder =
        SentinelClientBuilder::new(hosts.split(',').map(address), master, SentinelServerType::Master)?;
    if let Some((user, password)) = login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        if !user.is_empty() {
            builder = builder.set_client_to_redis_username(user);
        }
        builder = builder.set_client_to_redis_password(password);
    }
    if let Ok(database) = database.parse() {
        builder = builder.set_client_to_redis_db(database);
    }
    Ok(builder.build()?)
}

/// The scripts, by the names under which Redis knows them.
struct Scripts {
    seek: String,
    leave: String,
    accept: String,
    own: String,
    disown: String,
    claim: String,
    tell_all: String,
}

/// What is said to Redis, under one prefix.
struct Words<'a> {
    prefix: &'a str,
    node: Id,
    offer: Duration,
    scripts: Scripts,
}

/// Keeps up the way to Redis until stopped.
pub async fn run(
    place: Place,
    node: Id,
    accept_within: Duration,
    outgoing: Outgoing,
    watch: &dyn Watch,
    stop: CancellationToken,
) {
    let Outgoing { mut commands, overrun } = outgoing;
    let cursor = Mutex::new(String::new());
    let mut told = false;
    while !stop.is_cancelled() {
        let beginning = begin(&place, node, accept_within + OFFER, &cursor);
        let begun = match stop.run_until_cancelled(tokio::time::timeout(3 * ANSWER_WITHIN, beginning)).await {
            None => return,
            Some(Ok(Ok(begun))) => Ok(begun),
            Some(Ok(Err(error))) => Err(error.to_string()),
            Some(Err(_)) => Err("no answer".to_owned()),
        };
        match begun {
            Err(error) => {
                watch.failed("connect");
                if !told {
                    told = true;
                    tell_away(&error);
                }
            }
            Ok((words, mut writer, mut reader)) => {
                // What was to be told before is told anew.
                while commands.try_recv().is_ok() {}
                tracing::info!(%node, "Redis is there: strangers of all its nodes meet");
                told = false;
                watch.news(News(note::News::Up));
                let mut heart = writer.clone();
                let ended = tokio::select! {
                    ended = write(&words, &mut writer, &mut commands, watch) => Some(("command", ended)),
                    ended = read(&words, &mut reader, &cursor, watch) => Some(("read", ended)),
                    ended = beat(&words, &mut heart, &cursor, watch) => Some(("command", ended)),
                    () = overrun.notified() => None,
                    () = stop.cancelled() => {
                        let farewell = farewell(&words, &mut writer);
                        let _ = tokio::time::timeout(FAREWELL_WITHIN, farewell).await;
                        return;
                    }
                };
                if let Some((what, Err(error))) = ended {
                    watch.failed(what);
                    told = true;
                    tell_away(&error.to_string());
                }
                watch.news(News(note::News::Down));
                while commands.try_recv().is_ok() {}
            }
        }
        stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
    }
}

fn tell_away(error: &str) {
    tracing::warn!(
        code = "redis_away",
        error,
        "Redis does not answer: pairs go on, and this node matches its own people alone until it is back. See that it \
         runs, and that redis.url is right"
    );
}

/// Makes both connections, and begins anew in Redis.
async fn begin<'a>(
    place: &'a Place,
    node: Id,
    offer: Duration,
    cursor: &Mutex<String>,
) -> RedisResult<(Words<'a>, MultiplexedConnection, MultiplexedConnection)> {
    let mut writer = place.connect(ANSWER_WITHIN).await?;
    let reader = place.connect(READ_FOR + ANSWER_WITHIN).await?;
    let mut pipe = redis::pipe();
    for script in [
        include_str!("lua/seek.lua"),
        include_str!("lua/leave.lua"),
        include_str!("lua/accept.lua"),
        include_str!("lua/own.lua"),
        include_str!("lua/disown.lua"),
        include_str!("lua/claim.lua"),
        include_str!("lua/tell_all.lua"),
        include_str!("lua/forget.lua"),
    ] {
        pipe.cmd("SCRIPT").arg("LOAD").arg(script);
    }
    let [seek, leave, accept, own, disown, claim, tell_all, forget]: [String; 8] = {
        let loaded: Vec<String> = pipe.query_async(&mut writer).await?;
        loaded.try_into().map_err(|_| RedisError::from(std::io::Error::other("a script was not loaded")))?
    };
    let words = Words {
        prefix: &place.prefix,
        node,
        offer,
        scripts: Scripts { seek, leave, accept, own, disown, claim, tell_all },
    };
    let mut pipe = redis::pipe();
    words.live(&mut pipe);
    pipe.cmd("EVALSHA").arg(forget).arg(0).arg(words.prefix).arg(node.to_string()).ignore();
    let (first,): (String,) = pipe.query_async(&mut writer).await?;
    let mut cursor = cursor.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Another Redis may count from an earlier time: what it has counted before was never for this node.
    if cursor.is_empty() || place_of(&cursor) > place_of(&first) {
        *cursor = first;
    }
    Ok((words, writer, reader))
}

/// An entry of a stream is named by its time and its number.
fn place_of(entry: &str) -> (u64, u64) {
    let (time, number) = entry.split_once('-').unwrap_or((entry, "0"));
    (time.parse().unwrap_or(0), number.parse().unwrap_or(0))
}

async fn write(
    words: &Words<'_>,
    connection: &mut MultiplexedConnection,
    commands: &mut tokio::sync::mpsc::Receiver<Command>,
    watch: &dyn Watch,
) -> RedisResult<()> {
    while let Some(first) = commands.recv().await {
        let more = iter::from_fn(|| commands.try_recv().ok());
        let batch: Vec<Command> = iter::once(first).chain(more.take(BATCH - 1)).collect();
        let mut pipe = redis::pipe();
        batch.iter().for_each(|command| words.say(&mut pipe, command));
        let asked = Instant::now();
        let answers: Vec<Value> = pipe.query_async(connection).await?;
        watch.took(asked.elapsed());
        for (command, answer) in batch.into_iter().zip(answers) {
            react(command, answer, watch)?;
        }
    }
    Ok(())
}

fn react(command: Command, answer: Value, watch: &dyn Watch) -> RedisResult<()> {
    let news = |news| watch.news(News(news));
    match command {
        Command::Seek { session, .. } => {
            if let Value::Array(words) = answer {
                let mut words = words.into_iter();
                let state: Option<String> = words.next().map(redis::from_redis_value).transpose()?;
                let again = match (state.as_deref(), words.next()) {
                    (Some("paired"), _) => Some(1_000),
                    (Some("waiting"), Some(Value::Int(again))) => u64::try_from(again).ok(),
                    _ => None,
                };
                if let Some(again) = again {
                    news(note::News::Waits { session, again: Duration::from_millis(again) });
                }
            }
        }
        Command::Alive { nodes } => {
            let lives: Vec<Option<String>> = redis::from_redis_value(answer)?;
            let dead = nodes.into_iter().zip(lives).filter(|(_, lives)| lives.is_none());
            dead.for_each(|(node, _)| news(note::News::Dead { node }));
        }
        Command::Own { partner: Some((pair, _)), .. } => {
            let node: String = redis::from_redis_value(answer)?;
            if let Some(node) = Id::parse(&node) {
                news(note::News::Owner { pair, node });
            }
        }
        Command::Claim { ticket, .. } => {
            let words: Vec<String> = redis::from_redis_value(answer)?;
            let mut words = words.into_iter();
            match (words.next().as_deref(), words.next()) {
                (Some("left"), Some(session)) => news(note::News::Taken { ticket, session }),
                (Some("asked"), _) => {}
                _ => news(note::News::Unknown { ticket }),
            }
        }
        Command::Flush { done } => drop(done.send(())),
        _ => {}
    }
    Ok(())
}

/// Reads what comes in this node's stream.
async fn read(
    words: &Words<'_>,
    connection: &mut MultiplexedConnection,
    cursor: &Mutex<String>,
    watch: &dyn Watch,
) -> RedisResult<()> {
    type Entries = Vec<(String, Vec<String>)>;
    let lock = || cursor.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    loop {
        let after = lock().clone();
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(READ_AT_ONCE).arg("BLOCK").arg(READ_FOR.as_millis() as u64);
        read.arg("STREAMS").arg(words.stream(words.node)).arg(after);
        let streams: Option<Vec<(String, Entries)>> = read.query_async(connection).await?;
        for (entry, fields) in streams.into_iter().flatten().flat_map(|(_, entries)| entries) {
            *lock() = entry;
            if let Some(note) = fields.get(1).and_then(|text| serde_json::from_str::<Note>(text).ok()) {
                watch.news(News(note::News::Note(note)));
            }
        }
    }
}

async fn beat(
    words: &Words<'_>,
    connection: &mut MultiplexedConnection,
    cursor: &Mutex<String>,
    watch: &dyn Watch,
) -> RedisResult<()> {
    loop {
        tokio::time::sleep(BEAT).await;
        let read = cursor.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let mut pipe = redis::pipe();
        words.live(&mut pipe);
        pipe.cmd("XTRIM").arg(words.stream(words.node)).arg("MINID").arg("~").arg(read).ignore();
        let asked = Instant::now();
        let _: (String,) = pipe.query_async(connection).await?;
        watch.took(asked.elapsed());
        watch.news(News(note::News::Beat));
    }
}

async fn farewell(words: &Words<'_>, connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let keys = [words.key("node", &words.node.to_string()), words.stream(words.node)];
    redis::cmd("DEL").arg(&keys).query_async(connection).await
}

impl Words<'_> {
    fn key(&self, kind: &str, of: &str) -> String {
        format!("{}:{kind}:{of}", self.prefix)
    }

    fn stream(&self, node: Id) -> String {
        self.key("in", &node.to_string())
    }

    /// This node lives; answers the name of an entry in its stream.
    fn live(&self, pipe: &mut Pipeline) {
        let beat = serde_json::to_string(&Note::Beat).expect("a note is JSON");
        let (node, stream) = (self.key("node", &self.node.to_string()), self.stream(self.node));
        pipe.cmd("SET").arg(node).arg(1).arg("PX").arg(millis(LIFE)).ignore();
        pipe.cmd("XADD").arg(&stream).arg("*").arg("m").arg(beat);
        pipe.cmd("SADD").arg(format!("{}:nodes", self.prefix)).arg(self.node.to_string()).ignore();
        pipe.cmd("PEXPIRE").arg(&stream).arg(millis(STREAM_LIFE)).ignore();
    }

    /// Each command is one of Redis, and has one answer.
    fn say(&self, pipe: &mut Pipeline, command: &Command) {
        let script = |pipe: &mut Pipeline, name: &str, arguments: &[String]| {
            pipe.cmd("EVALSHA").arg(name).arg(0).arg(self.prefix).arg(arguments);
        };
        let (node, stream) = (self.node.to_string(), STREAM.to_string());
        let or_none = |id: Option<Id>| id.map_or_else(String::new, |id| id.to_string());
        match command {
            Command::Seek { session, wishes, waited, widened, recent, last_pair, party, pair } => {
                let Wishes { mode, interests } = wishes;
                let recent: Map<String, serde_json::Value> =
                    recent.iter().map(|(id, left)| (id.to_string(), millis(*left).into())).collect();
                let arguments = [
                    node,
                    session.to_string(),
                    if *mode == Mode::Text { "text" } else { "video" }.to_owned(),
                    serde_json::to_string(interests).expect("text is JSON"),
                    waited.as_micros().to_string(),
                    u8::from(*widened).to_string(),
                    serde_json::to_string(&recent).expect("numbers are JSON"),
                    or_none(*last_pair),
                    pair.to_string(),
                    millis(self.offer).to_string(),
                    millis(LEASE).to_string(),
                    LOOKS.to_string(),
                    stream,
                    party.to_string(),
                ];
                script(pipe, &self.scripts.seek, &arguments);
            }
            Command::Withdraw { session } => {
                let none = String::new;
                let arguments = [node, session.to_string(), none(), none(), none(), none(), stream];
                script(pipe, &self.scripts.leave, &arguments);
            }
            Command::Accept { session, pair } => {
                script(pipe, &self.scripts.accept, &[session.to_string(), pair.to_string(), stream]);
            }
            Command::End { session, pair, partner, node: theirs, reason } => {
                let reason = serde_json::to_value(reason).expect("a word is JSON");
                let [session, pair, partner] = [session, pair, partner].map(ToString::to_string);
                let reason = reason.as_str().unwrap_or_default().to_owned();
                let arguments = [node, session, pair, partner, or_none(*theirs), reason, stream];
                script(pipe, &self.scripts.leave, &arguments);
            }
            Command::Tell { node, note } => {
                let note = serde_json::to_string(note).expect("a note is JSON");
                pipe.cmd("XADD").arg(self.stream(*node)).arg("NOMKSTREAM").arg("MAXLEN").arg("~").arg(STREAM);
                pipe.arg("*").arg("m").arg(note);
            }
            Command::TellAll { note } => {
                let note = serde_json::to_string(note).expect("a note is JSON");
                script(pipe, &self.scripts.tell_all, &[node, note, stream]);
            }
            Command::KeepApart { one, other } => {
                // In the order in which Lua has them.
                let mut both = [one.to_string(), other.to_string()];
                both.sort_unstable();
                let key = self.key("apart", &both.join(":"));
                pipe.cmd("SET").arg(key).arg(1).arg("PX").arg(millis(APART));
            }
            Command::Alive { nodes } => {
                let keys: Vec<String> =
                    nodes.iter().map(|node| self.key("node", &node.to_string())).collect();
                pipe.cmd("MGET").arg(keys);
            }
            Command::Own { session, resume, partner } => {
                let partner = or_none(partner.map(|(_, partner)| partner));
                let arguments =
                    [node, session.to_string(), resume.to_string(), partner, millis(OWNED).to_string()];
                script(pipe, &self.scripts.own, &arguments);
            }
            Command::Disown { session, resume } => {
                script(pipe, &self.scripts.disown, &[node, session.to_string(), resume.to_string()]);
            }
            Command::Claim { resume, ticket } => {
                // A number of ours that Lua must give back as it is.
                let ticket = ticket.to_string();
                script(pipe, &self.scripts.claim, &[node, resume.to_string(), ticket, stream]);
            }
            Command::Leave { left: Left { resume, state, .. }, life } => {
                let key = self.key("left", &resume.to_string());
                pipe.cmd("SET").arg(key).arg(state).arg("PX").arg(millis(*life));
            }
            Command::Flush { .. } => {
                pipe.cmd("PING");
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::WireId;

    #[test]
    fn every_kind_of_address_is_read_and_others_are_named() {
        for url in [
            "redis://127.0.0.1:6379/2",
            "rediss://user:word@redis.example.org",
            "unix:///run/redis/redis.sock",
            "redis+sentinel://:word@a.example.org:26379,b.example.org/mymaster/1",
            "redis+sentinel://[::1]:26379/mymaster",
        ] {
            assert!(Place::new(url, "turnpike").is_ok(), "{url}");
        }
        assert!(matches!(Place::new("redis+sentinel://a", "t"), Err(PlaceError::NoMaster)));
        assert!(matches!(Place::new("redis+sentinel://a/", "t"), Err(PlaceError::NoMaster)));
        assert!(matches!(Place::new("http://a", "t"), Err(PlaceError::Url(_))));
        let place = Place::new("redis://:hunter2@127.0.0.1", "t").unwrap();
        assert!(!format!("{place:?}").contains("hunter2"));
    }

    #[test]
    fn entries_of_a_stream_are_compared_by_time_then_number() {
        assert!(place_of("1700000000000-10") > place_of("1700000000000-9"));
        assert!(place_of("999-1") < place_of("1000-0"));
    }

    #[test]
    fn a_note_of_a_script_is_read_as_one_of_a_node() {
        let id = WireId(Id::new([7; 16]));
        let text =
            serde_json::json!({"found": {"pair": id, "initiator": id, "responder": id, "nodes": [id, id]}});
        assert!(
            matches!(serde_json::from_value(text).unwrap(), Note::Found { common, .. } if common.is_empty())
        );
        assert!(matches!(serde_json::from_str(r#""beat""#).unwrap(), Note::Beat));
    }
}
