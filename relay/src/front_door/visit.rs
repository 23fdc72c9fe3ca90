//! One visit from its first byte to its last: what the visitor says goes to signaling, and back. What is held for either
//! side is bounded; who does not take it is not read from.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::Interest,
    net::UnixStream,
    task::coop::consume_budget,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use turnpike_relay_api::proxy::Ends;

use super::{
    Ledger, Outcome, Visitor,
    session::{Said, Session},
    unavailable,
};

/// A browser that opens a connection ahead of its need opens another one later.
const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(10);
/// Socket.IO pings every 10 seconds.
const IDLE_WITHIN: Duration = Duration::from_secs(60);
/// A visitor takes something of what waits for it within this time.
const TAKE_WITHIN: Duration = Duration::from_secs(30);
/// After the last byte, for the visitor to close: closing first could cost it what is still on the way.
const LINGER: Duration = Duration::from_secs(2);
/// Taken from signaling at once, and held for the visitor until it is sent.
const PIECE: usize = 16 * 1024;

/// Signaling's internal socket.
pub(super) struct Upstream {
    socket: PathBuf,
    ledger: Arc<Ledger>,
    /// Whether the last visitor found nobody there.
    away: AtomicBool,
}

/// Why a visit does not go on.
enum End {
    Outcome(Outcome),
    Broken(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Upstream {
    pub(super) fn new(socket: PathBuf, ledger: Arc<Ledger>) -> Self {
        Self { socket, ledger, away: AtomicBool::new(false) }
    }

    /// Serves a visitor until either side is done.
    pub(super) async fn attend(&self, visitor: Visitor) {
        let client = visitor.client;
        let outcome = match self.visit(visitor).await {
            Ok(outcome) | Err(End::Outcome(outcome)) => outcome,
            Err(End::Broken(error)) => {
                tracing::debug!(%client, %error, "HTTPS connection lost");
                Outcome::Lost
            }
        };
        self.ledger.ended(outcome);
    }

    async fn visit(&self, visitor: Visitor) -> Result<Outcome, End> {
        let header = Ends { client: visitor.client, server: visitor.server }.encode();
        let mut session = Session::new(visitor, &self.ledger)?;
        let deadline = Instant::now() + FIRST_BYTE_WITHIN;
        match timeout_at(deadline, first_word(&mut session)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Ok(Outcome::Closed),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Ok(Outcome::Silent),
        }
        let connected = UnixStream::connect(&self.socket).await;
        self.tell_of(&connected);
        let Ok(signaling) = connected else {
            session.say(unavailable::response().as_bytes())?;
            farewell(&mut session).await?;
            return Ok(Outcome::Unavailable);
        };
        let mut splice = Splice { session, signaling, header, up: Up::Open, down_open: true };
        splice.run().await?;
        match farewell(&mut splice.session).await {
            Err(End::Outcome(outcome)) => Ok(outcome),
            // It has been sent everything; that it does not wait for the end harms nobody.
            Ok(()) | Err(End::Broken(_)) => Ok(Outcome::Closed),
        }
    }

    /// One line when signaling goes away, one when it is back.
    fn tell_of(&self, connected: &io::Result<UnixStream>) {
        let was_away = self.away.swap(connected.is_err(), Ordering::Relaxed);
        match connected {
            Err(error) if !was_away => tracing::warn!(
                code = "signaling_unavailable",
                socket = %self.socket.display(),
                why = %error,
                "signaling cannot be reached: visitors over HTTPS are answered with 503; see `systemctl status \
                 turnpike-signaling`, and that signaling.internal_socket is the same for both services"
            ),
            Ok(_) if was_away => tracing::info!("signaling is reached again: visitors over HTTPS are served"),
            _ => {}
        }
    }
}

/// Waits for the first plain byte; `false` when the visitor leaves without a word.
async fn first_word(session: &mut Session<'_>) -> io::Result<bool> {
    loop {
        match session.listen()? {
            Said::Bytes(_) => return Ok(true),
            Said::Bye => return Ok(false),
            Said::Nothing => {}
        }
        session.pay()?;
        let interest = match session.owes() {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        session.socket.ready(interest).await?;
        consume_budget().await;
    }
}

/// Sends what is owed and the end of the TLS connection, then waits a little for the visitor to close.
async fn farewell(session: &mut Session<'_>) -> Result<(), End> {
    session.say_bye();
    let last = async {
        loop {
            session.pay()?;
            if !session.owes() {
                return io::Result::Ok(());
            }
            session.socket.writable().await?;
        }
    };
    timeout(TAKE_WITHIN, last).await.map_err(|_| End::Outcome(Outcome::Stalled))??;
    // A visitor that is gone needs no end.
    let _ = SockRef::from(&session.socket).shutdown(std::net::Shutdown::Write);
    let _ = timeout(LINGER, until_gone(session)).await;
    Ok(())
}

async fn until_gone(session: &Session<'_>) -> io::Result<()> {
    loop {
        session.socket.readable().await?;
        match session.socket.try_read(&mut [0; 1024]) {
            Ok(0) => return Ok(()),
            Ok(_) => consume_budget().await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// The way from the visitor to signaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Up {
    Open,
    /// Signaling listens no more: what comes is dropped, so that the visitor hears the rest of the answer.
    Deaf,
    /// The visitor has said all.
    Closed,
}

struct Splice<'a> {
    session: Session<'a>,
    signaling: UnixStream,
    /// What is left to send of it.
    header: Vec<u8>,
    up: Up,
    down_open: bool,
}

impl Splice<'_> {
    /// Runs until signaling has said all and the visitor has been sent it.
    async fn run(&mut self) -> Result<(), End> {
        let mut moved_at = Instant::now();
        loop {
            self.session.sample();
            let moved = self.carry_up()? | self.carry_down()? | self.session.pay()?;
            if !self.down_open && !self.session.owes() {
                return Ok(());
            }
            if moved {
                moved_at = Instant::now();
                consume_budget().await;
                continue;
            }
            let (within, outcome) = match self.session.owes() {
                true => (TAKE_WITHIN, Outcome::Stalled),
                false => (IDLE_WITHIN, Outcome::Idle),
            };
            tokio::select! {
                ready = self.until_ready() => ready?,
                () = sleep_until(moved_at + within) => return Err(End::Outcome(outcome)),
            }
        }
    }

    /// Whether anything went from the visitor to signaling, or was found to go no more.
    fn carry_up(&mut self) -> io::Result<bool> {
        if self.up == Up::Closed {
            return Ok(false);
        }
        if self.up == Up::Open && !self.header.is_empty() {
            let header = self.signaling.try_write(&self.header);
            let Some(sent) = self.heard(header)? else { return Ok(false) };
            self.header.drain(..sent);
            return Ok(true);
        }
        match self.session.listen()? {
            Said::Nothing => Ok(false),
            Said::Bye => {
                self.up = Up::Closed;
                // Signaling may have closed already.
                let _ = SockRef::from(&self.signaling).shutdown(std::net::Shutdown::Write);
                Ok(true)
            }
            Said::Bytes(bytes) => {
                let sent = match self.up {
                    Up::Open => self.signaling.try_write(bytes),
                    Up::Deaf | Up::Closed => Ok(bytes.len()),
                };
                let Some(sent) = self.heard(sent)? else { return Ok(false) };
                self.session.forget(sent);
                Ok(true)
            }
        }
    }

    /// What signaling took: `None` for nothing at the moment.
    fn heard(&mut self, written: io::Result<usize>) -> io::Result<Option<usize>> {
        match written {
            Ok(sent) => Ok(Some(sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.up = Up::Deaf;
                Ok(Some(0))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a piece went from signaling into the visitor's TLS connection, or its end was found.
    fn carry_down(&mut self) -> io::Result<bool> {
        if !self.down_open || self.session.owes() {
            return Ok(false);
        }
        let mut piece = [0; PIECE];
        match self.signaling.try_read(&mut piece) {
            Ok(0) => self.down_open = false,
            Ok(received) => self.session.say(&piece[..received])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // Signaling was killed: what it said before goes out.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.down_open = false,
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Waits until a socket that something can be done with is ready.
    async fn until_ready(&mut self) -> io::Result<()> {
        let (holds, owes) = (self.session.holds(), self.session.owes());
        let waits = self.up == Up::Open && (holds || !self.header.is_empty());
        let visitor = interest(self.up != Up::Closed && !waits, owes);
        let signaling = interest(self.down_open && !owes, waits);
        let (session, upstream) = (&self.session.socket, &self.signaling);
        tokio::select! {
            ready = session.ready(visitor.unwrap_or(Interest::READABLE)), if visitor.is_some() => ready?,
            ready = upstream.ready(signaling.unwrap_or(Interest::READABLE)), if signaling.is_some() => ready?,
            else => std::future::pending().await,
        };
        Ok(())
    }
}

fn interest(readable: bool, writable: bool) -> Option<Interest> {
    match (readable, writable) {
        (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
        (true, false) => Some(Interest::READABLE),
        (false, true) => Some(Interest::WRITABLE),
        (false, false) => None,
    }
}
