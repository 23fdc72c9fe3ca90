//! Just enough HTTP to read what a node serves.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
};

pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    body(TcpStream::connect(address).unwrap(), path)
}

pub(crate) fn get_unix(socket: &Path, path: &str) -> String {
    body(UnixStream::connect(socket).unwrap(), path)
}

fn body(mut stream: impl Read + Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: turnpike\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    body.to_owned()
}
