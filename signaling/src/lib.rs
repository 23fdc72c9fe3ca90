//! Signaling: matching of strangers, credentials, ICE configuration, the page.
