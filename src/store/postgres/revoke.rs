//! "Sign out everywhere": one mark, whatever the number of sessions.

use super::{
    MAX_ATTEMPTS, PostgresStore,
    row::{self, MARK, Sid, millis},
};
use crate::{Error, Timestamp, record::Tag, store::Revocation};

impl PostgresStore {
    /// Two round trips, unless another revocation interferes: one reads the mark, one writes it.
    pub(super) async fn revoke_subject(
        &self,
        tag: Tag,
        subject: &str,
        revocation: &Revocation,
    ) -> Result<(), Error> {
        let Revocation { realm, at, except, keep_until, .. } = revocation;
        let (owner, tag) = (row::owner(realm, subject), row::tag(tag));
        let lock = self.0.connections.schema.lock_of(tag);
        for _ in 0..MAX_ATTEMPTS {
            let rows = self.query(&self.0.statements.load_of_tag, &[&tag, &vec![Sid(MARK)]]).await?;
            let (mut marks, _) = row::read_tag(rows.iter(), 0)?;
            let seen = marks.version;
            let mark = marks.of(owner).copied().unwrap_or_default().revoked(*at, *except);
            marks.set(owner, mark);
            let written = self
                .query(
                    &self.0.statements.write_mark,
                    &[
                        &lock,
                        &tag,
                        &row::new_version()?,
                        // The sweep starts with the oldest session.
                        &i64::MIN,
                        &millis(*keep_until),
                        &row::realm(realm),
                        &seen,
                        &marks.pack()?,
                    ],
                )
                .await?;
            if !written.is_empty() {
                return Ok(());
            }
        }
        Err(Error::store("too many revocations of one user at the same time; try again"))
    }

    pub(super) async fn revoke_realm(&self, realm: &str, at: Timestamp) -> Result<(), Error> {
        self.query(&self.0.statements.set_not_before, &[&realm.as_bytes(), &millis(at)]).await.map(drop)
    }
}
