//! How an order to end a session is carried out.

use crate::record::{Data, End, Ended, Ending, Record};

impl Record {
    /// Ends the session here: drops its data and leaves a tombstone that knows why.
    ///
    /// A session that is found past its deadline by then ended at that deadline, whatever the order says.
    ///
    /// # Example
    ///
    /// A store runs it under its lock, in `end`:
    ///
    /// ```
    /// # use tower_tenure::{record::{End, Ending, Record, SessionId}, Error};
    /// # type Table = std::collections::HashMap<SessionId, Record>;
    /// fn end(table: &mut Table, sid: SessionId, end: &End) -> Ending {
    ///     table.get_mut(&sid).map_or(Ending::Unknown, |record| record.end(end))
    /// }
    /// ```
    pub fn end(&mut self, end: &End) -> Ending {
        if let Some(ended) = self.ended {
            return Ending::Already(ended.reason);
        }
        if end.if_idle_since.is_some_and(|seen| self.timing.last_interaction_at > seen) {
            return Ending::StillInUse;
        }
        let ended = match self.timing.over(end.at) {
            Some(reason) => Ended { reason, at: self.timing.deadline() },
            None => Ended { reason: end.reason, at: end.at },
        };
        self.ended = Some(ended);
        self.previous_secret = None;
        self.data = Data::default();
        self.updated_at = self.updated_at.max(end.at);
        Ending::Done(ended.reason)
    }
}
