//! The log lines of this test binary, as an operator with `format = "json"` has them.

use std::{
    io::{self, Write},
    sync::{Mutex, OnceLock},
};

use serde_json::Value;
use tokio::sync::watch;

use crate::harness::PATIENCE;

struct Lines {
    lines: Mutex<Vec<Value>>,
    count: watch::Sender<usize>,
}

static LINES: OnceLock<Lines> = OnceLock::new();

/// Starts to capture; more than once is the same.
pub(crate) fn capture() {
    LINES.get_or_init(|| {
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(|| Line).init();
        Lines { lines: Mutex::default(), count: watch::Sender::new(0) }
    });
}

/// Waits for the line of a message about a subject.
pub(crate) async fn line(message: &str, subject: &str) -> Value {
    let lines = LINES.get().unwrap();
    let mut count = lines.count.subscribe();
    let search = async {
        loop {
            count.borrow_and_update();
            let found = all(message).into_iter().find(|line| line["subject"] == subject);
            match found {
                Some(line) => return line,
                None => count.changed().await.unwrap(),
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, search).await;
    found.unwrap_or_else(|_| panic!("no line {message:?} of {subject:?}"))
}

/// Every line of a message so far.
pub(crate) fn all(message: &str) -> Vec<Value> {
    let lines = LINES.get().unwrap().lines.lock().unwrap();
    lines.iter().filter(|line| line["message"] == message).cloned().collect()
}

/// Every line of a code so far.
pub(crate) fn all_with_code(code: &str) -> Vec<Value> {
    let lines = LINES.get().unwrap().lines.lock().unwrap();
    lines.iter().filter(|line| line["code"] == code).cloned().collect()
}

struct Line;

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let lines = LINES.get().expect("the relay logs only once it was started");
        lines.lines.lock().unwrap().push(serde_json::from_slice(text)?);
        lines.count.send_modify(|count| *count += 1);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
