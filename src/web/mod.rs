//! HTTP around sessions: the head of a request, and the responses that this crate answers itself.

#[cfg(feature = "browser")]
mod asset;
mod body;
mod head;
mod plain_http;
mod problem;

#[cfg(feature = "browser")]
pub(crate) use self::asset::Asset;
pub(crate) use self::problem::Problem;
pub use self::{body::ResponseBody, head::RequestHead};
