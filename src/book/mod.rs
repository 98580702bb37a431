//! The book: how sessions live here, recipes to copy, and how this crate compares with others.
//!
//! | chapter | for |
//! |---|---|
//! | [`concepts`] | the words, and the life of a session in one picture |
//! | [`recipes`] | remember me, step-up, flash messages, streams, tenants, tests, and more |
//! | [`comparison`] | other session layers for Rust, and when they are the better choice |
//! | [`design`] | why each decision was made, and what was rejected |
//! | [`faq`] | questions that users of session layers ask |
//! | [`store::guide`](crate::store::guide) | which store, how to run it, how far it goes |
//! | [`rules`](crate::rules) | each guarantee, with a number |

#[doc = include_str!("concepts.md")]
pub mod concepts {}

#[doc = include_str!("recipes.md")]
pub mod recipes {}

#[doc = include_str!("comparison.md")]
pub mod comparison {}

#[doc = include_str!("design.md")]
pub mod design {}

#[doc = include_str!("faq.md")]
pub mod faq {}
