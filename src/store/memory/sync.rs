//! The locks and atomics of the memory store: the standard library's, or shuttle's when
//! interleavings are searched (`RUSTFLAGS="--cfg shuttle"`, see `tests/interleavings`).

#[cfg(not(shuttle))]
use std::sync::{self, atomic};

#[cfg(shuttle)]
use shuttle::sync::{self, atomic};

pub(super) use self::{
    atomic::{AtomicI64, AtomicU64, Ordering},
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// No change can panic halfway, so the data behind a poisoned lock is consistent.
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As [`read`].
pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As [`read`].
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
