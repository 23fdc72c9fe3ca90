//! The command line: one module a command.

mod budget;
mod cert;
pub(crate) mod config_check;
mod config_explain;
mod config_file;
mod config_show;
mod cost;
mod creds;
mod doctor;
mod drain;
mod grafana;
mod import_coturn;
mod init;
mod metrics;
mod pages;
mod ports;
mod probe;
mod relay;
mod reload;
mod run;
mod secret;
mod sessions;
mod signaling;
mod status;
mod support_bundle;
mod usage;

use clap::{Parser, Subcommand};

pub(crate) use config_file::ConfigFile;

/// A self-hosted TURN relay and signaling appliance.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve relay and signaling in one process
    Run(run::Arguments),
    /// Serve STUN and TURN only
    Relay(relay::Arguments),
    /// Serve signaling and the page only
    Signaling(signaling::Arguments),
    /// Find the public addresses of this machine, and write a configuration and a secret
    Init(init::Arguments),
    /// Show what the relay is doing
    Status(status::Arguments),
    /// List the live allocations, or end one
    Sessions(sessions::Arguments),
    /// Show who used how much, from the ledger
    Usage(usage::Arguments),
    /// Show what the billing period costs, and will have cost at its end
    Cost(cost::Arguments),
    /// Show how far the budget is spent, and what follows from it
    Budget(budget::Arguments),
    /// List the metrics that both services export
    Metrics(metrics::Arguments),
    /// Make a TURN credential and a ready iceServers block
    Creds(creds::Arguments),
    /// Make no new allocation; those that live go on
    Drain(drain::Arguments),
    /// Make new allocations again
    Undrain(drain::Undrain),
    /// Read the configuration again: what can be taken without a restart is
    Reload(reload::Arguments),
    /// Print what a firewall has to let in, each with its reason
    Ports(ports::Arguments),
    /// Look after the secret that signs credentials
    Secret(secret::Arguments),
    /// Look after the TLS certificate
    Cert(cert::Arguments),
    /// Look for what keeps this node from serving strangers, and say what mends it
    Doctor(doctor::Arguments),
    /// Try a TURN server, this one or any other, from the first byte to a stream through the relay
    Probe(probe::Arguments),
    /// Look at the configuration
    #[command(subcommand)]
    Config(Config),
    /// Turn a configuration of coturn into one of this program
    ImportCoturn(import_coturn::Arguments),
    /// Get the dashboards and alerts for Prometheus and Grafana
    Grafana(grafana::Arguments),
    /// Gather what somebody needs who helps with a problem, without any secret
    SupportBundle(support_bundle::Arguments),
    /// Print what a shell completes by
    Completion(pages::Completion),
    /// Print the manual page, or write those of all commands
    Man(pages::Man),
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Say what is wrong with the configuration and whether its ports are free
    Check(config_check::Arguments),
    /// Print what is set, and where; with --effective every key
    Show(config_show::Arguments),
    /// Say what a key is for, its default, and what it is set to
    Explain(config_explain::Arguments),
}

impl Arguments {
    /// # Errors
    /// What stopped the command, as one sentence.
    pub(crate) fn execute(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run(arguments) => run::execute(&arguments),
            Command::Relay(arguments) => relay::execute(&arguments),
            Command::Signaling(arguments) => signaling::execute(&arguments),
            Command::Status(arguments) => status::execute(&arguments),
            Command::Sessions(arguments) => sessions::execute(&arguments),
            Command::Usage(arguments) => usage::execute(&arguments),
            Command::Cost(arguments) => cost::execute(&arguments),
            Command::Budget(arguments) => budget::execute(&arguments),
            Command::Metrics(arguments) => metrics::execute(&arguments),
            Command::Creds(arguments) => creds::execute(&arguments),
            Command::Doctor(arguments) => doctor::execute(&arguments),
            Command::Probe(arguments) => probe::execute(&arguments),
            Command::Drain(arguments) => drain::execute(&arguments),
            Command::Undrain(arguments) => drain::undo(&arguments),
            Command::Ports(arguments) => ports::execute(&arguments),
            Command::Secret(arguments) => secret::execute(&arguments),
            Command::Completion(arguments) => pages::complete(&arguments),
            Command::Man(arguments) => pages::man(&arguments),
            Command::Init(arguments) => init::execute(&arguments),
            Command::Reload(arguments) => reload::execute(&arguments),
            Command::Cert(arguments) => cert::execute(&arguments),
            Command::ImportCoturn(arguments) => import_coturn::execute(&arguments),
            Command::Grafana(arguments) => grafana::execute(&arguments),
            Command::SupportBundle(arguments) => support_bundle::execute(&arguments),
            Command::Config(Config::Check(arguments)) => config_check::execute(&arguments),
            Command::Config(Config::Show(arguments)) => config_show::execute(&arguments),
            Command::Config(Config::Explain(arguments)) => config_explain::execute(&arguments),
        }
    }
}
