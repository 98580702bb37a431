//! What an application sets: a policy that may change while the server runs, login hooks, and the
//! configuration of a layer.

// live.rs     a policy that can be swapped
// shared.rs   a policy that all nodes share through a store
// hook.rs     code of the application that runs in every login
// layer.rs    the configuration of a layer

mod hook;
mod layer;
mod live;
mod shared;

pub use self::{
    hook::{LoginContext, LoginHook, LoginRequest},
    live::LivePolicy,
    shared::SharedPolicy,
};
pub(crate) use self::{layer::LayerConfig, live::PolicySource};
