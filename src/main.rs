//! `turnpike`: a self-hosted TURN relay and signaling appliance.

#![forbid(unsafe_code)]

mod address;
mod announcement;
mod commands;
mod coturn;
mod credential;
mod doctor;
mod exit;
mod http;
mod logging;
mod probe;
mod quantity;
mod ready;
mod relay_admin;
mod reloading;
mod screen;
mod service;
mod stopping;
mod supervisor;
mod table;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    exit::code_of(commands::Arguments::parse().execute())
}
