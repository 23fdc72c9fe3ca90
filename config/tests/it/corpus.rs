//! The fuzz target over its committed corpus, over the files of the other tests, and over texts made of them.

#[path = "../../fuzz/src/target.rs"]
#[allow(unreachable_pub, reason = "public in the fuzz crate")]
mod target;

use std::{fs, panic, path::Path};

use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

const ROUNDS: usize = 5_000;

#[test]
fn any_text_is_a_configuration_or_problems_that_say_where() {
    let mut corpus = files("fuzz/corpus/config");
    assert!(!corpus.is_empty());
    for folder in ["tests/valid", "tests/invalid", "examples", "."] {
        let files = files(folder).into_iter();
        corpus.extend(files.flat_map(|file| [[&[0][..], &file].concat(), [&[17][..], &file].concat()]));
    }
    corpus.iter().for_each(|input| run(input));
    let mut random = SmallRng::seed_from_u64(0x746F_6D6C);
    for _ in 0..ROUNDS {
        run(&mutated(&mut random, &corpus));
    }
}

fn files(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.is_file() && path.extension().is_none_or(|extension| extension == "toml"));
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The input of a failure belongs into the corpus, so it is shown whole.
fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    assert!(panic::catch_unwind(|| target::run(input)).is_ok(), "by the input {input:?}: {text}");
}

/// A line of one input in another, or bytes out of place.
fn mutated(random: &mut SmallRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus.choose(random).unwrap().clone();
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=input.len());
        match random.random_range(0..5) {
            0 if at < input.len() => input[at] = random.random(),
            1 if at < input.len() => input[at] = *b"\"'[]{}=,.\n\0#-0".choose(random).unwrap(),
            2 => input.truncate(at),
            3 => {
                let mut noise = vec![0; random.random_range(0..8)];
                random.fill_bytes(&mut noise);
                input.splice(at..at, noise);
            }
            _ => {
                let other = corpus.choose(random).unwrap();
                let lines: Vec<&[u8]> = other.split_inclusive(|byte| *byte == b'\n').collect();
                let line = lines.choose(random).copied().unwrap_or_default();
                let start =
                    input[..at].iter().rposition(|byte| *byte == b'\n').map_or(at, |newline| newline + 1);
                input.splice(start..start, line.iter().copied());
            }
        }
    }
    input
}
