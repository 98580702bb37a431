//! Runs the target that `FUZZ_TARGET` names under libFuzzer. `run.sh` builds and runs this.

#![no_main]

use std::{cell::RefCell, env};

use fuzz::Target;

/// The part of `tests/common` that the targets use.
#[allow(dead_code, unused_imports, reason = "shared with the tests")]
#[path = "."]
mod common {
    #[path = "../../../common/bound.rs"]
    pub mod bound;
    #[path = "../../../common/device.rs"]
    pub mod device;
    #[path = "../../../common/policy.rs"]
    pub mod policy;
    #[path = "../../../common/site.rs"]
    pub mod site;

    pub use device::SoftwareDevice;
    pub use policy::{SECOND, policy};
    pub use site::{Browser, Reply, Site, usual_routes};
}
#[path = "../../mod.rs"]
mod fuzz;

fn target() -> Target {
    let wanted = env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    if wanted == "record" {
        return Box::new(tower_tenure::fuzz_record);
    }
    let known = fuzz::TARGETS.iter().find(|(name, _)| *name == wanted);
    known.unwrap_or_else(|| panic!("there is no target {wanted}")).1()
}

thread_local! {
    static TARGET: RefCell<Target> = RefCell::new(target());
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET.with_borrow_mut(|target| target(bytes)));
