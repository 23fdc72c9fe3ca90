//! A side that hides its address: nothing that it sends to its partner names it.
//!
//! Only relay candidates pass, without the address behind them; `c=`, `o=` and `a=rtcp` lines of its SDP are blanked.

use crate::contract::{Candidate, SignalBody};

/// Takes the sender's address out of a step of its negotiation; `None` when nothing is left of it.
pub(crate) fn hide_address(body: SignalBody) -> Option<SignalBody> {
    match body {
        SignalBody::Description(mut description) => {
            description.sdp = hide_in_sdp(&description.sdp);
            Some(SignalBody::Description(description))
        }
        SignalBody::Candidates(list) => {
            let kept: Vec<Candidate> = list.into_iter().filter_map(hide_in_candidate).collect();
            (!kept.is_empty()).then_some(SignalBody::Candidates(kept))
        }
        SignalBody::End(end) => Some(SignalBody::End(end)),
    }
}

fn hide_in_candidate(mut candidate: Candidate) -> Option<Candidate> {
    candidate.candidate = relay_only(&candidate.candidate)?;
    Some(candidate)
}

/// The line of a relay candidate without its related address (RFC 8839 §5.1); `None` for any other.
fn relay_only(line: &str) -> Option<String> {
    let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
    if *words.get(6)? != "typ" || *words.get(7)? != "relay" {
        return None;
    }
    let blank = if words[4].contains(':') { "::" } else { "0.0.0.0" };
    for place in 8..words.len().saturating_sub(1) {
        match words[place] {
            "raddr" => words[place + 1] = blank,
            "rport" => words[place + 1] = "0",
            _ => {}
        }
    }
    Some(words.join(" "))
}

fn hide_in_sdp(sdp: &str) -> String {
    let mut hidden = String::with_capacity(sdp.len());
    for line in sdp.split_inclusive('\n') {
        let text = line.trim_end_matches(['\r', '\n']);
        let end = &line[text.len()..];
        let kept = match text.strip_prefix("a=candidate:") {
            Some(candidate) => relay_only(&format!("candidate:{candidate}")).map(|line| format!("a={line}")),
            None if ["c=", "o=", "a=rtcp:"].iter().any(|prefix| text.starts_with(prefix)) => {
                Some(blank_address(text))
            }
            None => Some(text.to_owned()),
        };
        if let Some(kept) = kept {
            hidden.push_str(&kept);
            hidden.push_str(end);
        }
    }
    hidden
}

/// Blanks the word behind `IP4` or `IP6`.
fn blank_address(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    for place in 1..words.len() {
        match words[place - 1] {
            "IP4" => words[place] = "0.0.0.0",
            "IP6" => words[place] = "::",
            _ => {}
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relay_candidates_pass_and_without_the_address_behind_them() {
        let relay = "candidate:1 1 udp 41885695 198.18.0.10 50000 typ relay raddr 203.0.113.7 rport 4242 generation 0";
        let kept = relay_only(relay).unwrap();
        assert_eq!(
            kept,
            "candidate:1 1 udp 41885695 198.18.0.10 50000 typ relay raddr 0.0.0.0 rport 0 generation 0"
        );
        let v6 = "candidate:1 1 udp 1 2001:db8::1 50000 typ relay raddr 2001:db8::9 rport 4242";
        assert!(relay_only(v6).unwrap().ends_with("raddr :: rport 0"));
        for other in [
            "candidate:2 1 udp 1 192.168.0.2 5000 typ host",
            "candidate:3 1 udp 1 203.0.113.7 5000 typ srflx raddr 192.168.0.2 rport 5000",
            "candidate:4 1 udp 1 203.0.113.7 5000 typ host typ relay",
            "candidate:5",
            "candidate:",
        ] {
            assert_eq!(relay_only(other), None, "{other}");
        }
    }

    #[test]
    fn a_description_keeps_everything_but_addresses() {
        let sdp = "v=0\r\no=- 1 2 IN IP4 203.0.113.7\r\ns=-\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
                   c=IN IP6 2001:db8::9\r\na=rtcp:9 IN IP4 203.0.113.7\r\n\
                   a=candidate:1 1 udp 1 192.168.0.2 5000 typ host\r\n\
                   a=candidate:2 1 udp 1 198.18.0.10 5000 typ relay raddr 203.0.113.7 rport 1\r\na=ice-ufrag:x\r\n";
        let hidden = hide_in_sdp(sdp);
        assert_eq!(
            hidden,
            "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
             c=IN IP6 ::\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
             a=candidate:2 1 udp 1 198.18.0.10 5000 typ relay raddr 0.0.0.0 rport 0\r\na=ice-ufrag:x\r\n"
        );
    }
}
