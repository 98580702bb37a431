//! The store of the sessions and the settings.

use std::time::Duration;

use tower_tenure::{
    Error, Policy, SharedPolicy,
    policy::PolicySettings,
    store::{AnyStore, StoreUrl},
};

/// How long opening may take, since a database may be starting.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the store, and the policy whose settings it keeps; an empty store gets the settings of
/// `seed`.
///
/// # Errors
///
/// When it cannot be reached, or has settings that cannot be read.
pub(crate) async fn open(
    url: StoreUrl,
    realm: &str,
    configured: Policy,
    seed: PolicySettings,
) -> Result<(AnyStore, SharedPolicy), Error> {
    let opening = async {
        let store = url.connect().await?;
        let policy = SharedPolicy::open_in_realm(store.clone(), realm, configured, seed).await?;
        Ok((store, policy))
    };
    let late = || Err(Error::store(format!("no answer within {OPEN_TIMEOUT:?}")));
    tokio::time::timeout(OPEN_TIMEOUT, opening).await.unwrap_or_else(|_| late())
}
