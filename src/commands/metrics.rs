use clap::Args;

use crate::{
    screen::Screen,
    table::{Side, Table},
};

/// List the metrics that both services export.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// As a JSON array
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When standard output cannot be written.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let rows = [turnpike_relay::metric_catalogue(), turnpike_signaling::metric_catalogue()].concat();
    let mut screen = Screen::stdout();
    if arguments.json {
        return Ok(screen.line(&serde_json::to_string_pretty(&rows)?)?);
    }
    let columns = ["Metric", "Of", "Type", "Labels", "What it says"].map(|name| (name, Side::Left));
    let mut table = Table::new(&columns);
    for row in rows {
        let labels = row.labels.join(", ");
        table.row(vec![row.name, row.component.to_owned(), row.kind.to_owned(), labels, row.help]);
    }
    Ok(screen.table(&table)?)
}
