//! Calls into the kernel, one feature a file. Only here is `unsafe` allowed.

mod address;
mod epoll;
mod errors;
mod interfaces;
mod listener;
mod option;
mod receive;
mod refused;
mod relay_socket;
mod send;
mod tcp;
mod wake;

pub(crate) use epoll::{Epoll, Ready, Token, Watch};
pub(crate) use errors::{Origin, next_error};
pub(crate) use interfaces::addresses as interface_addresses;
pub(crate) use listener::open_group;
pub(crate) use option::{Segments, coalesce, segments, set_dont_fragment};
pub(crate) use receive::Inbox;
pub(crate) use relay_socket::open as open_relay_socket;
pub(crate) use send::{Batch, Datagram, Mode, Refused, Together};
pub(crate) use tcp::{Accepted, NoConnection, accept, open_group as open_tcp_group};
pub(crate) use wake::Doorbell;
