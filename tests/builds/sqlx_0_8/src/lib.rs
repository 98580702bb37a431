//! An application with its own tables through sqlx, and its sessions in this crate's store.

use tower_tenure::store::SqliteStore;

/// Opens both.
pub async fn open(path: &str) -> Result<(sqlx::SqlitePool, SqliteStore), Box<dyn std::error::Error>> {
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{path}")).await?;
    Ok((pool, SqliteStore::open(format!("{path}.sessions")).await?))
}
