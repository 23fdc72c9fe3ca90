//! The TURN server as a state machine, without sockets, clocks or threads.
