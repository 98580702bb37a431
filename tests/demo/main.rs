//! The demo as a process: over HTTP, in a real browser, and with the official clients of the
//! management API.
//!
//! If Chromium, a server or a client is not installed, its tests print on stderr that they are
//! skipped. With `TENURE_ALL` set they fail.

#[path = "../common/mod.rs"]
mod common;

mod accessibility;
mod browser;
mod dashboard;
mod device_binding;
mod https;
mod observability;
mod own_sessions;
mod pages;
mod password_login;
mod sdk;
mod site;
mod streams;
mod tenants;
mod warning;
mod warning_survives;
mod your_devices;
