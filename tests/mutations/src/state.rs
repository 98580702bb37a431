//! The state of a run in files, so that a stopped run can resume.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use crate::plant::Mutant;

pub struct State {
    folder: PathBuf,
}

impl State {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The results of the last run decide only which tests run first.
    pub fn start_again(&self) {
        let mut noticed = self.pairs("noticed.txt");
        noticed.extend(self.pairs("results.txt").into_iter().filter(|(_, by)| by.contains("::")));
        self.write("noticed.txt", noticed.iter().map(|(name, by)| format!("{name}\t{by}")));
        for file in ["results.txt", "reached.txt"] {
            let _ = fs::remove_file(self.folder.join(file));
        }
    }

    /// The copy of the sources.
    pub fn copy(&self) -> PathBuf {
        self.folder.join("source")
    }

    pub fn mutants(&self) -> Vec<Mutant> {
        self.read("planted.txt").iter().map(|line| Mutant::parse(line)).collect()
    }

    pub fn keep_mutants(&self, mutants: &[Mutant]) {
        self.write("planted.txt", mutants.iter().map(Mutant::line));
    }

    /// Names of faults that do not compile.
    pub fn unviable(&self) -> BTreeSet<String> {
        self.read("unviable.txt").into_iter().collect()
    }

    /// Names of functions that must stay `const`.
    pub fn constant(&self) -> BTreeSet<String> {
        self.read("constant.txt").into_iter().collect()
    }

    pub fn keep_left_out(&self, unviable: &BTreeSet<String>, constant: &BTreeSet<String>) {
        self.write("unviable.txt", unviable.iter().cloned());
        self.write("constant.txt", constant.iter().cloned());
    }

    pub fn binaries(&self) -> Vec<PathBuf> {
        self.read("binaries.txt").iter().map(PathBuf::from).collect()
    }

    pub fn keep_binaries(&self, binaries: &[PathBuf]) {
        self.write("binaries.txt", binaries.iter().map(|path| path.display().to_string()));
    }

    /// A line for each test. Empty if the measurement was not finished.
    pub fn reached(&self) -> Vec<String> {
        self.read("reached.txt")
    }

    pub fn keep_reached(&self, lines: impl Iterator<Item = String>) {
        self.write("reached.txt", lines);
    }

    /// The test that noticed each fault in an earlier run.
    pub fn noticed(&self) -> BTreeMap<String, String> {
        self.pairs("noticed.txt")
    }

    /// The results of this run so far.
    pub fn results(&self) -> BTreeMap<String, String> {
        self.pairs("results.txt")
    }

    pub fn add_result(&self, name: &str, result: &str) {
        let file = fs::OpenOptions::new().append(true).create(true).open(self.folder.join("results.txt"));
        let line = format!("{name}\t{result}\n");
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("target is writable");
    }

    fn pairs(&self, file: &str) -> BTreeMap<String, String> {
        self.read(file)
            .iter()
            .filter_map(|line| line.split_once('\t'))
            .map(|(a, b)| (a.into(), b.into()))
            .collect()
    }

    fn read(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn write(&self, file: &str, lines: impl Iterator<Item = String>) {
        fs::create_dir_all(&self.folder).expect("target is writable");
        let text: String = lines.map(|line| line + "\n").collect();
        fs::write(self.folder.join(file), text).expect("target is writable");
    }
}
