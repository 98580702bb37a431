//! The book: how sessions live here, recipes to copy, how to run it, and how it compares with
//! others.
//!
//! | chapter | for |
//! |---|---|
//! | [`concepts`] | the words, and the life of a session in one picture |
//! | [`recipes`] | remember me, step-up, flash messages, streams, tenants, tests, and more |
//! | [`operations`] | metrics, alerts, sizing, failures, upgrades, restore, proxies, a checklist |
//! | [`migrating`] | from tower-sessions, axum-login, JWT cookies and axum_session, step by step |
//! | [`writing_a_store`] | a store of your own, and the suite that it has to pass |
//! | [`comparison`] | other session layers for Rust, and when they are the better choice |
//! | [`design`] | why each decision was made, and what was rejected |
//! | [`faq`] | questions that users of session layers ask |
//! | [`store::guide`](crate::store::guide) | which store, how to run it, how far it goes |
//! | [`rules`](crate::rules) | each guarantee, with a number |

#[doc = include_str!("concepts.md")]
pub mod concepts {}

#[doc = include_str!("recipes.md")]
pub mod recipes {}

#[doc = include_str!("operations.md")]
pub mod operations {}

#[doc = include_str!("migrating.md")]
pub mod migrating {}

#[doc = include_str!("writing_a_store.md")]
pub mod writing_a_store {}

#[doc = include_str!("comparison.md")]
pub mod comparison {}

#[doc = include_str!("design.md")]
pub mod design {}

#[doc = include_str!("faq.md")]
pub mod faq {}
