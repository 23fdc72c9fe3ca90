//! The relay: sockets, shards, metering, admin socket.
