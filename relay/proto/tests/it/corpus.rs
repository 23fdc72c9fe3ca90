//! Every fuzz target over its committed corpus, and over pseudo-random inputs made of it.

#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

use std::{fs, panic, path::Path};

use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

const SEED: u64 = 0x7475_726E;

#[test]
fn auth() {
    replay_and_explore("auth", 2_000);
}

#[test]
fn channel_data() {
    replay_and_explore("channel_data", 2_000);
}

#[test]
fn client_bytes() {
    replay_and_explore("client_bytes", 1_000);
}

#[test]
fn decode() {
    replay_and_explore("decode", 2_000);
}

#[test]
fn framer() {
    replay_and_explore("framer", 20_000);
}

#[test]
fn operations() {
    replay_and_explore("operations", 2_000);
}

#[test]
fn peer_policy() {
    replay_and_explore("peer_policy", 1_000);
}

fn replay_and_explore(name: &str, rounds: usize) {
    let (_, target) = targets::ALL.into_iter().find(|(n, _)| *n == name).expect("a target of that name");
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "{name} has a corpus");
    corpus.iter().for_each(|input| run(target, input));
    let mut random = SmallRng::seed_from_u64(SEED);
    for _ in 0..rounds {
        let input = mutated(&mut random, &corpus);
        run(target, &input);
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The input of a failure belongs into the corpus, so it is shown whole.
fn run(target: targets::Target, input: &[u8]) {
    assert!(panic::catch_unwind(|| target(input)).is_ok(), "by the input {input:?}");
}

fn mutated(random: &mut SmallRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = match random.random_range(0..4) {
        0 => noise(random, 300),
        _ => corpus.choose(random).unwrap().clone(),
    };
    for _ in 0..random.random_range(0..6) {
        let at = random.random_range(0..=input.len());
        match random.random_range(0..4) {
            0 if at < input.len() => input[at] = random.random(),
            1 => input.truncate(at),
            2 => input.extend(noise(random, 40)),
            _ => {
                let other = corpus.choose(random).unwrap();
                let from = random.random_range(0..=other.len());
                input.splice(at..at, other[from..].iter().copied().take(100));
            }
        }
    }
    input
}

fn noise(random: &mut SmallRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(0..most)];
    random.fill_bytes(&mut bytes);
    bytes
}
