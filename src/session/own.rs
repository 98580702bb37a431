//! The sessions of the signed-in user: "where you are signed in" (P2).

use std::{cmp::Reverse, sync::Arc};

use super::{Session, SessionSummary};
use crate::{EndReason, Error, ErrorKind, SessionId, record::Record, request::SessionInfo};

/// How many sessions a list has at most: as many as a user has under the default cap.
const MAX_LISTED: usize = 1000;

/// How many pages a list reads at most. One page ends a bounded number of sessions that are over.
const MAX_PAGES: usize = 8;

/// A user's own sessions, on all devices: those of the user who is signed in, in the realm of this
/// request.
impl Session {
    /// The live sessions of the signed-in user on other devices and in other browsers, newest
    /// first. [`Session::own`] includes that of this request.
    ///
    /// At most 1,000, which is the default [cap](crate::policy::Cap). Of a user with more, it has
    /// the oldest.
    ///
    /// # Errors
    ///
    /// [`Ended`](ErrorKind::Ended) when no user is signed in; when the store fails.
    ///
    /// # Example
    ///
    /// ```
    /// use tower_tenure::{Error, Session};
    ///
    /// async fn devices(session: &Session) -> Result<String, Error> {
    ///     let others = session.others().await?;
    ///     let lines = others.iter().map(|other| format!("{}, {}", other.device, other.created_at));
    ///     Ok(lines.collect::<Vec<_>>().join("\n"))
    /// }
    /// ```
    pub async fn others(&self) -> Result<Vec<SessionSummary>, Error> {
        let (sid, subject) = self.signed_in()?;
        let inner = self.inner();
        let (engine, realm, policy) = (&inner.config.engine, inner.realm(), &inner.policy);
        let now = engine.clock.now();
        // A login of this request replaces the session that it came with.
        let replaced = self.state().request.known().map(|known| known.record.sid);
        let (mut others, mut after) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let wanted = MAX_LISTED - others.len();
            let page = engine.list_live(Some(&subject), after, wanted, realm, policy, now).await?;
            let is_other = |record: &&Record| record.sid != sid && Some(record.sid) != replaced;
            let not_this = page.sessions.iter().filter(is_other);
            others.extend(not_this.map(|record| SessionSummary::of(record, policy)));
            after = page.next;
            if after.is_none() || others.len() >= MAX_LISTED {
                break;
            }
        }
        others.sort_by_key(|other| (Reverse(other.created_at), other.sid));
        Ok(others)
    }

    /// All live sessions of the signed-in user, newest first. That of this request is
    /// [`current`](SessionSummary::current).
    ///
    /// After a login in this request it is the new session, which is not stored yet. Of the others
    /// there are as many as in [`Session::others`].
    ///
    /// # Errors
    ///
    /// As [`Session::others`].
    ///
    /// # Example
    ///
    /// ```
    /// use tower_tenure::{Error, Session};
    ///
    /// async fn devices(session: &Session) -> Result<String, Error> {
    ///     let own = session.own().await?;
    ///     let lines = own.iter().map(|one| match one.current {
    ///         true => format!("{}, this device", one.device),
    ///         false => format!("{}, last active at {}", one.device, one.last_interaction_at),
    ///     });
    ///     Ok(lines.collect::<Vec<_>>().join("\n"))
    /// }
    /// ```
    pub async fn own(&self) -> Result<Vec<SessionSummary>, Error> {
        let mut own = self.others().await?;
        own.extend(self.info().map(SessionSummary::of_request));
        own.sort_by_key(|one| (Reverse(one.created_at), one.sid));
        Ok(own)
    }

    /// Signs the user out of one session, for the reason `revoked`. Returns whether it was a live
    /// session of this user. For another user's session it returns `false` and changes nothing.
    ///
    /// The session is over for the very next request. The session of this request ends when the
    /// response goes out, as after [`Session::logout`].
    ///
    /// # Errors
    ///
    /// As [`Session::others`]; [`Closed`](ErrorKind::Closed) for the session of this request after
    /// the response head was sent.
    pub async fn sign_out_one(&self, sid: SessionId) -> Result<bool, Error> {
        let (current, subject) = self.signed_in()?;
        if sid == current {
            self.edit()?.request.plan_end(EndReason::Revoked);
            return Ok(true);
        }
        let inner = self.inner();
        let (engine, realm) = (&inner.config.engine, inner.realm());
        // An id of another user is known by its tag, so guessing ids asks no store.
        if sid.tag() != engine.tag(realm, &subject) {
            return Ok(false);
        }
        let now = engine.clock.now();
        let found = engine.find_live(sid, realm, &inner.policy, now).await?;
        let is_theirs = found.is_some_and(|record| record.subject.as_deref() == Some(&*subject));
        if is_theirs {
            engine.revoke(sid, realm, now).await?;
        }
        Ok(is_theirs)
    }

    /// Signs the user out of all other sessions, in one write whatever their number. This session
    /// goes on.
    ///
    /// It takes effect at once, whatever becomes of the response. Logins of this user that are in
    /// flight are refused. A login of this request is stored first, as by [`Session::save`].
    ///
    /// # Errors
    ///
    /// As [`Session::others`]; those of [`Session::save`], and
    /// [`Refused`](ErrorKind::Refused), if this request logs in.
    ///
    /// # Example
    ///
    /// After a change of the password, all other sessions should end, and a copy of this cookie
    /// should be useless:
    ///
    /// ```
    /// use tower_tenure::{Error, Session};
    ///
    /// async fn password_changed(session: &Session) -> Result<(), Error> {
    ///     session.sign_out_others().await?;
    ///     session.rotate_now()
    /// }
    /// ```
    pub async fn sign_out_others(&self) -> Result<(), Error> {
        // The revocation covers logins that are not stored yet.
        if self.state().request.plans_login() {
            self.save().await?.accepted()?;
        }
        let (sid, subject) = self.signed_in()?;
        self.revoke_own(&subject, Some(sid)).await
    }

    /// Signs the user out everywhere, here too: after a password was reset, or for "this was not
    /// me".
    ///
    /// All other sessions end at once, in one write whatever their number. This one ends too, and
    /// the response removes its cookie. After this call the request cannot log this user in again:
    /// to go on in this browser, use [`Session::sign_out_others`].
    ///
    /// # Errors
    ///
    /// As [`Session::others`]; [`Closed`](ErrorKind::Closed) after the response head was sent. Then
    /// nothing was done.
    pub async fn sign_out_everywhere(&self) -> Result<(), Error> {
        drop(self.edit()?);
        let (_, subject) = self.signed_in()?;
        self.revoke_own(&subject, None).await?;
        self.edit()?.request.plan_end(EndReason::Revoked);
        Ok(())
    }

    async fn revoke_own(&self, subject: &str, except: Option<SessionId>) -> Result<(), Error> {
        let inner = self.inner();
        let engine = &inner.config.engine;
        // Not the arrival: a login that was stored while this handler ran is covered as well.
        let now = engine.clock.now();
        engine.sign_out_everywhere(subject, except, None, inner.realm(), &inner.policy, now).await
    }

    fn signed_in(&self) -> Result<(SessionId, Arc<str>), Error> {
        let signed_in = |info: SessionInfo| Some((info.sid, info.subject?));
        let refused =
            || Error::new(ErrorKind::Ended, "no user is signed in, so no sessions were listed or ended");
        self.info().and_then(signed_in).ok_or_else(refused)
    }
}
