//! What an application sets: a policy that may change while the server runs, login hooks, and the
//! configuration of a layer.

// live.rs     a policy that can be swapped
// shared.rs   a policy that all nodes share through a store
// hook.rs     code of the application that runs in every login
// layer.rs    the configuration of a layer
// device.rs   device binding, as a layer is configured for it

#[cfg(feature = "device-binding")]
mod device;
#[cfg(not(feature = "device-binding"))]
#[path = "device_absent.rs"]
mod device;
mod hook;
mod layer;
mod live;
mod shared;

#[cfg(feature = "device-binding")]
pub(crate) use self::device::ask_for_proof;
pub(crate) use self::{
    device::{DeviceConfig, DeviceVisit, new_binding},
    hook::HookFn,
    layer::LayerConfig,
    live::{PolicySource, RequestPolicy},
};
pub use self::{
    hook::{LoginContext, LoginHook, LoginHookFuture, LoginRequest},
    live::LivePolicy,
    shared::SharedPolicy,
};
