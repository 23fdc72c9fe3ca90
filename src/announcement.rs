//! What `run` tells the person who started it.

use std::io;

use turnpike_config::{Loaded, format_duration};

use crate::{
    credential::{self, PeerConfiguration},
    ready::Ready,
    screen::Screen,
};

/// The page, the relay, a credential to try, and what is worth knowing.
pub(crate) struct Announcement<'a> {
    pub(crate) loaded: &'a Loaded,
    pub(crate) ready: &'a Ready,
    pub(crate) this_machine: bool,
}

impl Announcement<'_> {
    /// Prints it, unless standard output is a journal: a credential does not belong there.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        if std::env::var_os("JOURNAL_STREAM").is_some() {
            return Ok(());
        }
        let config = &self.loaded.config;
        let credential = credential::mint_for(config, "run", config.auth.credential_ttl)?;
        let block = PeerConfiguration::new(&config.ice, &credential).to_json()?;
        match self.write(&mut Screen::stdout(), &block) {
            // Nobody reads, which is no reason not to serve.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    fn write(&self, screen: &mut Screen, block: &str) -> io::Result<()> {
        screen.line("")?;
        screen.heading("Turnpike is running.")?;
        screen.line("")?;
        self.write_addresses(screen)?;
        screen.line("")?;
        let life = format_duration(self.loaded.config.auth.credential_ttl);
        let another = if self.this_machine { "" } else { "; `turnpike creds` makes another" };
        screen.heading(&format!("For new RTCPeerConnection(...), good for {life}{another}:"))?;
        screen.line("")?;
        screen.line(block)?;
        screen.line("")?;
        self.write_notes(screen)?;
        screen.line("")
    }

    fn write_addresses(&self, screen: &mut Screen) -> io::Result<()> {
        let (loaded, ready) = (self.loaded, self.ready);
        if let Some(page) = &ready.page {
            screen.pair("Page", page)?;
        }
        if let Some(page) = &ready.local_page {
            screen.pair("", &format!("{page} on this machine"))?;
        }
        for url in &loaded.config.ice.turn_urls {
            screen.pair("TURN", url)?;
        }
        for address in [&ready.metrics_relay, &ready.metrics_signaling].into_iter().flatten() {
            screen.pair("Metrics", &format!("http://{address}/metrics"))?;
        }
        let file = loaded.file.as_ref().map(|file| file.display().to_string());
        screen.pair("Config", file.as_deref().unwrap_or("none, built-in defaults"))?;
        screen.pair("Secret", &loaded.secret_file.display().to_string())
    }

    fn write_notes(&self, screen: &mut Screen) -> io::Result<()> {
        for note in self.loaded.notes.iter().filter(|note| note.is_warning()) {
            screen.pair("Warning", &note.to_string())?;
        }
        match self.this_machine {
            true => {
                screen.pair("Warning", "--dev serves this machine alone, and relays to private addresses")?
            }
            false => screen.pair("Camera", "browsers give it to a page over HTTPS or on localhost only")?,
        }
        let drain_timeout = self.loaded.config.relay.drain_timeout;
        match drain_timeout.is_zero() {
            true => screen.pair("Stop", "Ctrl-C ends all calls"),
            false => {
                let longest = format_duration(drain_timeout);
                screen.pair(
                    "Stop",
                    &format!("Ctrl-C lets calls go on for up to {longest}; again, it ends them"),
                )
            }
        }
    }
}
