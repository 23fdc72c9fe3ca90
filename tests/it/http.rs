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

/// The body of the answer to a JSON body sent with an API key, whatever its status.
pub(crate) fn post(address: SocketAddr, path: &str, key: &str, json: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: turnpike\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The status of the answer to a DELETE with an API key.
pub(crate) fn delete(address: SocketAddr, path: &str, key: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "DELETE {path} HTTP/1.1\r\nHost: turnpike\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n"
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response.split(' ').nth(1).unwrap().parse().unwrap()
}
