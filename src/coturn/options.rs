//! turnserver.conf as it is written: an option a line, with or without a value.

/// An option, where it is, and its value; empty for one that stands alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CoturnOption {
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// All of a file, each taken once.
#[derive(Debug)]
pub(crate) struct Options(Vec<CoturnOption>);

impl Options {
    pub(crate) fn read(text: &str) -> Self {
        let option = |(line, text): (usize, &str)| {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                return None;
            }
            let end = text.find(['=', ' ', '\t']).unwrap_or(text.len());
            let (name, value) = text.split_at(end);
            let value = value.trim_start_matches(['=', ' ', '\t']).trim_matches('"');
            Some(CoturnOption {
                line,
                name: name.trim_start_matches('-').to_owned(),
                value: value.to_owned(),
            })
        };
        Self((1..).zip(text.lines()).filter_map(option).collect())
    }

    /// Takes all options of a name out.
    pub(crate) fn take_all(&mut self, name: &str) -> Vec<CoturnOption> {
        self.0.extract_if(.., |option| option.name == name).collect()
    }

    /// Takes all out, and gives the last one: as in coturn, it counts.
    pub(crate) fn take(&mut self, name: &str) -> Option<CoturnOption> {
        self.take_all(name).pop()
    }

    /// Whether one that stands alone is there, or is not said to be off.
    pub(crate) fn take_flag(&mut self, name: &str) -> bool {
        self.take(name).is_some_and(|option| !matches!(option.value.as_str(), "0" | "false" | "no" | "off"))
    }

    /// What nobody has taken.
    pub(crate) fn into_rest(self) -> Vec<CoturnOption> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_with_their_lines_whatever_separates_them() {
        let mut options =
            Options::read("# a\nmin-port=100\n  realm = \"example.org\"\nno-tcp\nmin-port 200\nno-tls=0\n");
        let realm = CoturnOption { line: 3, name: "realm".to_owned(), value: "example.org".to_owned() };
        assert_eq!(options.take("realm"), Some(realm));
        assert_eq!(options.take("min-port").unwrap().value, "200");
        assert!(options.take_flag("no-tcp") && !options.take_flag("no-tls"));
        assert!(options.into_rest().is_empty());
    }
}
