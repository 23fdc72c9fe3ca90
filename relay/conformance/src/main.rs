//! Scores a TURN server by the 96 rules.

use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::Parser;
use turnpike_conformance::{Column, Report, Target, Verdict, list, markdown, reachable, score};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

/// Scores a TURN server by the 96 rules of RFC 8489 and RFC 8656
///
/// Peers are sockets of this program: the server must let its users reach this machine, on loopback 127.0.0.2 and
/// up. Exit code 0: no FAIL; 1: some; 2: usage; 3: the server does not answer.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    target: Option<Target>,
    /// Print every rule with where it is seen and the tests that show it
    #[arg(long, exclusive = true)]
    list: bool,
    /// Only these rules
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=96))]
    rule: Vec<u8>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print a Markdown table of servers from --json outputs, those of one server under several settings joined
    #[arg(long, value_name = "NAME=FILE[,FILE]", num_args = 1.., conflicts_with = "Target")]
    markdown: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match (&arguments.target, arguments.markdown.is_empty()) {
        _ if arguments.list => Ok((list(), 0)),
        (_, false) => columns(&arguments.markdown).map(|columns| (markdown(&columns), 0)),
        (Some(target), true) => judge(target, &arguments),
        (None, true) => Err((
            USAGE,
            "nothing to do: give --server and --secret, --list, or --markdown; see --help".into(),
        )),
    };
    match outcome {
        Ok((text, code)) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::from(code),
            Err(_) => ExitCode::from(USAGE),
        },
        Err((code, why)) => {
            let _ = writeln!(io::stderr(), "turnpike-conformance: {why}");
            ExitCode::from(code)
        }
    }
}

fn judge(target: &Target, arguments: &Arguments) -> Result<(String, u8), (u8, String)> {
    reachable(target).map_err(|why| (UNREACHABLE, why))?;
    let report = score(target, &arguments.rule);
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&report).expect("a report is plain data") + "\n",
        false => report.table(io::stdout().is_terminal()),
    };
    let failed = report.count(Verdict::Fail) > 0;
    Ok((text, if failed { FAILED } else { 0 }))
}

fn columns(arguments: &[String]) -> Result<Vec<Column>, (u8, String)> {
    arguments.iter().map(|argument| column(argument).map_err(|why| (USAGE, why))).collect()
}

fn column(argument: &str) -> Result<Column, String> {
    let (name, files) =
        argument.split_once('=').ok_or_else(|| format!("`{argument}` has no name: write NAME=FILE"))?;
    let runs = files.split(',').map(|file| {
        let text = fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
        serde_json::from_str::<Report>(&text)
            .map_err(|error| format!("{file} is no output of --json: {error}"))
    });
    Ok(Column { name: name.into(), runs: runs.collect::<Result<_, _>>()? })
}
