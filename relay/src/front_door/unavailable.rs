//! What a visitor reads while signaling is away.

/// The whole answer. The body is for a person, whose browser shows it.
pub(super) fn response() -> String {
    const BODY: &str = "This site is starting or being updated. Please try again in a few seconds.\n";
    format!(
        "HTTP/1.1 503 Service Unavailable\r\n\
         Retry-After: 5\r\n\
         Connection: close\r\n\
         Cache-Control: no-store\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n\
         \r\n\
         {BODY}",
        BODY.len()
    )
}
