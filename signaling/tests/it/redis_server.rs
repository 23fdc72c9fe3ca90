//! A Redis of the test's own.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

pub struct Redis {
    port: u16,
    more: Vec<String>,
    process: Child,
    folder: tempfile::TempDir,
}

/// A port that nothing listens on at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_as(&[]).await
    }

    /// With more arguments than usual.
    pub async fn start_as(more: &[&str]) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let more: Vec<String> = more.iter().map(|argument| (*argument).to_owned()).collect();
        let process = run(port, &folder, &more).await;
        Self { port, more, process, folder }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// It loses all that it knows.
    pub async fn restart(&mut self) {
        self.kill();
        self.process = run(self.port, &self.folder, &self.more).await;
    }

    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// It takes connections and answers nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// The answer to one command without arguments that need quotes.
    pub async fn ask(&self, command: &str) -> String {
        ask(self.port, command).await.unwrap()
    }
}

pub async fn ask(port: u16, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut answer = vec![0; 64 * 1024];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn run(port: u16, folder: &tempfile::TempDir, more: &[String]) -> Child {
    let process = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder.path())
        .args(more)
        .stdout(Stdio::null())
        .spawn()
        .expect("Debian's redis-server is there: make test installs it");
    until_it_answers(port).await;
    process
}

pub async fn until_it_answers(port: u16) {
    let began = Instant::now();
    while !ask(port, "PING").await.is_ok_and(|answer| answer.starts_with("+PONG")) {
        assert!(began.elapsed() < Duration::from_secs(20), "no answer of Redis");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
