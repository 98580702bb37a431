//! Instructions, counted by callgrind. This program starts itself under it.

use std::process::{Child, Command, Stdio, exit};

use crate::scenarios::{Scenario, Stack, Visit};

/// N of "2N less N".
const REQUESTS: u32 = 400;

/// Checks that callgrind is installed.
///
/// # Errors
///
/// The reason why it cannot be started.
pub(crate) fn available() -> Result<(), String> {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    match version {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`valgrind --version` ended with {status}")),
        Err(error) => Err(format!("`valgrind` cannot be started: {error}")),
    }
}

/// Instructions of one request.
pub(crate) fn each(stack: Stack, visit: Visit) -> Option<f64> {
    available().ok()?;
    let [once, twice] = [REQUESTS, 2 * REQUESTS].map(|serve| Run { stack, visit, serve }.start());
    let (once, twice) = (collected(once), collected(twice));
    Some((twice - once) / f64::from(REQUESTS))
}

/// One run under callgrind.
pub(crate) struct Run {
    stack: Stack,
    visit: Visit,
    serve: u32,
}

impl Run {
    /// `--serve "<stack>" "<visit>" <requests>`. Also useful by hand, with `callgrind_annotate`.
    pub(crate) fn parse(args: &[String]) -> Option<Self> {
        let [flag, stack, visit, serve, ..] = args else { return None };
        (flag == "--serve").then(|| Self {
            stack: Stack::ALL.into_iter().find(|known| known.name() == stack).expect("no such stack"),
            visit: Visit::ALL.into_iter().find(|known| known.name() == visit).expect("no such visit"),
            serve: serve.parse().expect("not a number"),
        })
    }

    fn start(&self) -> Child {
        Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().expect("this program has a path"))
            .args(["--serve", self.stack.name(), self.visit.name(), &self.serve.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("valgrind starts: it did before")
    }

    /// Serves, and exits without dropping what was built for a longer run.
    pub(crate) fn serve(&self) {
        let mut scenario = Scenario::new(self.stack, self.visit);
        let mut requests = scenario.requests(self.serve.max(2 * REQUESTS) as usize).into_iter();
        for request in requests.by_ref().take(self.serve as usize) {
            drop(scenario.serve(request));
        }
        exit(0)
    }
}

fn collected(child: Child) -> f64 {
    let output = child.wait_with_output().expect("valgrind ends");
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("callgrind printed no count:\n{text}"))
}
