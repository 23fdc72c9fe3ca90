//! The log of a node, as it is written.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Long enough for a loaded machine; reached only by what never comes.
const WITHIN: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Log {
    lines: Vec<Value>,
    ended: bool,
}

/// Lines, read by a thread of their own: JSON objects, and text as strings.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<Log>, Condvar)>);

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).lines.fmt(f)
    }
}

impl Lines {
    /// Reads to the end of the stream.
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let filled = lines.clone();
        thread::spawn(move || {
            let (log, changed) = &*filled.0;
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let object = line.starts_with('{').then(|| serde_json::from_str(&line).ok()).flatten();
                log.lock().unwrap().lines.push(object.unwrap_or(Value::String(line)));
                changed.notify_all();
            }
            log.lock().unwrap().ended = true;
            changed.notify_all();
        });
        lines
    }

    /// How many there are so far.
    pub(crate) fn count(&self) -> usize {
        self.0.0.lock().unwrap().lines.len()
    }

    /// The first line with this message, as soon as it is there.
    pub(crate) fn wait_for(&self, message: &str) -> Value {
        self.wait_until(|lines| lines.iter().find(|line| line["message"] == message).cloned())
    }

    /// The same by the beginning of a message.
    pub(crate) fn wait_for_start(&self, beginning: &str) -> Value {
        let fits = |line: &&Value| line["message"].as_str().is_some_and(|said| said.starts_with(beginning));
        self.wait_until(|lines| lines.iter().find(fits).cloned())
    }

    /// What `found` gives, as soon as it gives something.
    pub(crate) fn wait_until<T>(&self, found: impl Fn(&[Value]) -> Option<T>) -> T {
        let (log, changed) = &*self.0;
        let deadline = Instant::now() + WITHIN;
        let mut log = log.lock().unwrap();
        loop {
            if let Some(value) = found(&log.lines) {
                return value;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !log.ended, "not in the log: {:#?}", log.lines);
            log = changed.wait_timeout(log, left).unwrap().0;
        }
    }

    /// Every line with this message, once the stream has ended.
    pub(crate) fn at_end(&self, message: &str) -> Vec<Value> {
        let (log, changed) = &*self.0;
        let log = changed.wait_timeout_while(log.lock().unwrap(), WITHIN, |log| !log.ended).unwrap().0;
        assert!(log.ended, "the log has not ended: {:#?}", log.lines);
        log.lines.iter().filter(|line| line["message"] == message).cloned().collect()
    }
}
