//! Clients, peers and a driver in virtual time, against a small model that says what has to come of all they do.

mod driver;
mod model;
mod play;
mod script;

use super::input::Input;

/// More operations than this tell nothing new.
const MOST_OPERATIONS: usize = 400;

/// The first byte chooses the settings, then each operation is a byte and what it needs.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let settings = input.byte();
    let served = script::served(settings / 2);
    let mut play = play::Play::new(settings % 2 == 1, served);
    for _ in 0..MOST_OPERATIONS {
        if input.is_empty() {
            break;
        }
        play.operation(&mut input);
    }
    play.finish();
}
