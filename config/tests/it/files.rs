use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Machine;

fn toml_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn every_valid_file_and_every_example_loads() {
    let machine = Machine::new().with_own_secret();
    for path in [toml_files("tests/valid"), toml_files("examples")].concat() {
        let loaded = machine.load(Some(&path)).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.notes.is_empty(), "{}: {:?}", path.display(), loaded.notes);
    }
}

/// The sentences that a file earns lie beside it, with the file's bare name for its path.
#[test]
fn every_invalid_file_is_refused_in_the_words_beside_it() {
    let machine = Machine::new().with_own_secret();
    let mut wrong = String::new();
    for path in toml_files("tests/invalid") {
        let folder = format!("{}/", path.parent().unwrap().display());
        let said = machine
            .load(Some(&path))
            .map_or_else(|error| format!("{error}\n").replace(&folder, ""), |_| "it loads\n".to_owned());
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
        if said != expected {
            wrong += &format!("--- {}\nexpected:\n{expected}said:\n{said}", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
