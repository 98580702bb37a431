//! The stored corpus and bounded mutations of it. `TENURE_SEARCH=100` makes a hundred times as
//! many.

use std::{fs, path::PathBuf, thread};

use crate::{common::search, fuzz::TARGETS};

/// A source of mutations, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap_or_default() % end.max(1)
    }

    /// One of the inputs with up to four mutations.
    fn change(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            let until = (at + self.below(9)).min(input.len());
            match self.below(4) {
                0 => input.insert(at, u8::try_from(self.below(256)).unwrap_or_default()),
                1 => drop(input.drain(at..until)),
                2 => input.extend_from_within(at..until),
                _ => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len());
                    let piece = &other[from..(from + self.below(40)).min(other.len())];
                    input.splice(at..until, piece.iter().copied());
                }
            }
        }
        input
    }
}

/// Shows the input if the target panics.
struct Shown<'a>(&'a str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}: b\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

#[test]
fn no_input_of_the_corpus_and_near_it_breaks_a_rule() {
    let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, target) in TARGETS {
        let mut target = target();
        let mut files: Vec<_> =
            fs::read_dir(kept.join(name)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort_unstable();
        let corpus: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let changed = (0..search::cases(500)).map(|_| dice.change(&corpus)).collect::<Vec<_>>();
        for input in corpus.iter().chain(&changed) {
            let shown = Shown(name, input);
            target(input);
            drop(shown);
        }
    }
}
