//! Who meets whom: the queue and the pairing of strangers, pure.
