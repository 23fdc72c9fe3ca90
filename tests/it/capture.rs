//! What goes over the loopback interface, as tcpdump sees it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const ETHERNET: usize = 14;
const UDP: u8 = 17;

/// A running capture, ended when dropped.
pub(crate) struct Capture {
    process: Child,
    folder: TempDir,
}

/// A UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// At the IP layer.
    pub(crate) bytes: u64,
}

impl Capture {
    /// Starts one and waits until it listens.
    pub(crate) fn start(filter: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new("tcpdump")
            .args([
                "-i",
                "lo",
                "-n",
                "-U",
                "-s",
                "128",
                "-B",
                "16384",
                "--immediate-mode",
                "-Z",
                "root",
                "-w",
            ])
            .arg(folder.path().join("lo.pcap"))
            .arg(filter)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap()).lines();
        let listens = said.find(|line| line.as_ref().is_ok_and(|line| line.contains("listening on")));
        assert!(listens.is_some(), "tcpdump does not capture");
        // Its last words would otherwise end it by a broken pipe.
        std::thread::spawn(move || said.for_each(drop));
        Self { process, folder }
    }

    /// What was captured until now.
    pub(crate) fn packets(&self) -> Vec<Packet> {
        let file = fs::read(self.folder.path().join("lo.pcap")).unwrap();
        let mut packets = Vec::new();
        let mut at = FILE_HEADER;
        while let Some(header) = file.get(at..at + RECORD_HEADER) {
            let captured = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
            let Some(frame) = file.get(at + RECORD_HEADER..at + RECORD_HEADER + captured) else { break };
            packets.extend(read(&frame[ETHERNET..]));
            at += RECORD_HEADER + captured;
        }
        packets
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(packet: &[u8]) -> Option<Packet> {
    let short = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let (from, to, udp, bytes) = match packet[0] >> 4 {
        4 if packet[9] == UDP => {
            let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
            (address(12).into(), address(16).into(), usize::from(packet[0] & 15) * 4, u64::from(short(2)))
        }
        6 if packet[6] == UDP => {
            let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
            (address(8).into(), address(24).into(), 40, u64::from(short(4)) + 40)
        }
        _ => return None,
    };
    Some(Packet { from: SocketAddr::new(from, short(udp)), to: SocketAddr::new(to, short(udp + 2)), bytes })
}
