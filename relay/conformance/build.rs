//! Collects the names of the relay's own tests of rules: functions named `rule_NN[_and_NN | _to_NN]_...`.

use std::{env, fmt::Write as _, fs, io, path::Path};

const SOURCES: [&str; 4] = ["../proto/src", "../proto/tests", "../src", "../tests"];

fn main() -> io::Result<()> {
    let mut found = Vec::new();
    for source in SOURCES.map(Path::new).into_iter().filter(|source| source.exists()) {
        println!("cargo:rerun-if-changed={}", source.display());
        collect(source, &mut found)?;
    }
    found.sort();
    found.dedup();
    let mut table = String::from("&[\n");
    for (number, name) in found {
        writeln!(table, "    ({number}, \"{name}\"),").expect("a string takes any text");
    }
    table.push(']');
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    fs::write(Path::new(&out).join("core_tests.rs"), table)
}

fn collect(path: &Path, found: &mut Vec<(u8, String)>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), found)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        for line in fs::read_to_string(path)?.lines() {
            let declared = line.trim_start().trim_start_matches("async ").strip_prefix("fn rule_");
            if let Some(rest) = declared.and_then(|rest| rest.split('(').next()) {
                found.extend(numbers(rest).into_iter().map(|number| (number, format!("rule_{rest}"))));
            }
        }
    }
    Ok(())
}

/// The numbers at the start of a name: `50_52_and_55_what_...` has three, `4_to_6_methods_...` has three as well.
fn numbers(name: &str) -> Vec<u8> {
    let mut numbers: Vec<u8> = Vec::new();
    let mut range = false;
    for word in name.split('_') {
        match (word.parse::<u8>(), word) {
            (Ok(number), _) if range => {
                let from = numbers.last().map_or(number, |last| last + 1);
                numbers.extend(from..=number);
                range = false;
            }
            (Ok(number), _) => numbers.push(number),
            (Err(_), "and") => {}
            (Err(_), "to") => range = true,
            (Err(_), _) => break,
        }
    }
    numbers
}
