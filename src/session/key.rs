//! Typed keys for session data.

use std::{borrow::Cow, fmt, marker::PhantomData};

/// The name of a session value, with the type of the value.
///
/// A constant key fixes the type of a value for the whole application, so no handler reads it as
/// another type.
///
/// # Example
///
/// ```
/// use tower_tenure::{Error, Key, Session};
///
/// const CART: Key<Vec<u32>> = Key::new("cart");
///
/// fn add_to_cart(session: &Session, item: u32) -> Result<(), Error> {
///     let mut cart = session.get(&CART)?.unwrap_or_default();
///     cart.push(item);
///     session.insert(&CART, &cart)
/// }
/// ```
pub struct Key<T> {
    name: Cow<'static, str>,
    value: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// A key with this name, for a constant.
    pub const fn new(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), value: PhantomData }
    }

    /// A key with a name that is only known at run time.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Cow::Owned(name.into()), value: PhantomData }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name by itself: for a constant key without an allocation.
    pub(super) fn to_name(&self) -> Cow<'static, str> {
        self.name.clone()
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), value: PhantomData }
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.name).finish()
    }
}
