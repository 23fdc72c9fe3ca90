//! Columns of text, each as wide as its widest field.

/// Between two columns.
const GAP: &str = "  ";

/// Where the fields of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One with these columns.
    pub(crate) fn new(columns: &[(&str, Side)]) -> Self {
        Self {
            sides: columns.iter().map(|(_, side)| *side).collect(),
            rows: vec![columns.iter().map(|(name, _)| (*name).to_owned()).collect()],
        }
    }

    /// A further row.
    pub(crate) fn row(&mut self, fields: Vec<String>) {
        self.rows.push(fields);
    }

    /// The names of the columns, then the rows.
    pub(crate) fn lines(&self) -> Vec<String> {
        let width = |place: usize| self.rows.iter().map(|row| row[place].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let fields = row.iter().zip(&widths).zip(&self.sides).map(|((field, width), side)| match side {
                Side::Left => format!("{field:<width$}"),
                Side::Right => format!("{field:>width$}"),
            });
            fields.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let mut table = Table::new(&[("Name", Side::Left), ("Count", Side::Right), ("Why", Side::Left)]);
        table.row(["äpfel", "7", ""].map(str::to_owned).to_vec());
        table.row(["x", "123456", "because"].map(str::to_owned).to_vec());
        assert_eq!(table.lines(), ["Name    Count  Why", "äpfel       7", "x      123456  because"]);
    }
}
