//! Events as JSON lines, and the latest events in memory.

use std::{
    collections::VecDeque,
    fmt,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

use super::{Event, EventKind, Observer, cause::Causes};

/// An event as a line of an audit log: who, what, when and why. It contains no token and no session
/// data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditLine {
    /// When, as ISO 8601.
    pub at: String,
    /// What happened, by the names of [`EventKind::as_str`].
    pub event: &'static str,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Its user, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Who did it, where known: see [`Event::by`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why it ended or was refused, what was clamped, or what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The setting that was changed, by its name in the management API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// Its value before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<serde_json::Value>,
    /// Its value now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<serde_json::Value>,
}

impl From<&Event<'_>> for AuditLine {
    fn from(event: &Event<'_>) -> Self {
        let reason = match event.kind {
            EventKind::Ended(reason) => Some(reason.to_string()),
            EventKind::Clamped(setting) => Some(setting.as_str().to_owned()),
            EventKind::Refused(refusal) => Some(refusal.to_string()),
            EventKind::StoreFailed { store, operation, error } => {
                let cause = Causes::of(error).map(|causes| format!(": {causes}")).unwrap_or_default();
                Some(format!("{operation}: {error}{cause} ({store})"))
            }
            EventKind::StoreRecovered { store, lasted, failures } => {
                Some(format!("{failures} calls failed in {lasted:?} ({store})"))
            }
            _ => None,
        };
        let change = match event.kind {
            EventKind::SettingChanged { setting, from, to } => Some((setting, from, to)),
            _ => None,
        };
        Self {
            at: event.at.to_string(),
            event: event.kind.as_str(),
            sid: event.sid.map(|sid| sid.to_string()),
            user: event.subject.map(str::to_owned),
            by: event.by.map(str::to_owned),
            reason,
            setting: change.map(|(setting, ..)| setting.to_owned()),
            from: change.map(|(_, from, _)| from.clone()),
            to: change.map(|(.., to)| to.clone()),
        }
    }
}

/// An audit log: writes one line of JSON per event.
///
/// Each line is written at once, by one call, so a slow writer should have its own thread. When a
/// line cannot be written, an error goes to `tracing`, and the request continues.
///
/// # Example
///
/// ```
/// use tower_tenure::{MemoryStore, SessionLayer, events::AuditLog};
///
/// let layer = SessionLayer::new(MemoryStore::new()).with_observer(AuditLog::new(std::io::stderr()));
/// ```
pub struct AuditLog<W>(Mutex<W>);

impl<W: Write> AuditLog<W> {
    /// A log that writes to a file, a pipe, or standard error.
    pub const fn new(writer: W) -> Self {
        Self(Mutex::new(writer))
    }

    /// Returns the writer.
    pub fn into_inner(self) -> W {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> fmt::Debug for AuditLog<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog").finish_non_exhaustive()
    }
}

impl<W: Write + Send + 'static> Observer for AuditLog<W> {
    fn observe(&self, event: &Event<'_>) {
        let mut line = serde_json::to_vec(&AuditLine::from(event)).unwrap_or_default();
        line.push(b'\n');
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writer.write_all(&line).and_then(|()| writer.flush()) {
            tracing::error!(name: "session.audit_failed", target: "tower_tenure", %error, "an audit line was lost");
        }
    }
}

/// Keeps the latest events of this node in memory, for a dashboard. Clones share them.
///
/// Events about users and settings have room of their own. So a flood of others, such as anonymous
/// sessions, which anybody can start, does not push them out.
///
/// # Example
///
/// ```
/// use tower_tenure::{MemoryStore, SessionLayer, events::RecentEvents};
///
/// let recent = RecentEvents::new(200);
/// let layer = SessionLayer::new(MemoryStore::new()).with_observer(recent.clone());
/// assert_eq!(recent.latest(10), []);
/// ```
#[derive(Clone)]
pub struct RecentEvents {
    lines: Arc<Mutex<Lines>>,
    capacity: usize,
}

/// The events with their numbers, which order them across the two.
#[derive(Default)]
struct Lines {
    next: u64,
    about_users: VecDeque<(u64, AuditLine)>,
    others: VecDeque<(u64, AuditLine)>,
}

impl RecentEvents {
    /// Keeps at most `capacity` events about users and settings, and as many others.
    pub fn new(capacity: usize) -> Self {
        Self { lines: Arc::default(), capacity }
    }

    /// The latest events, at most `limit`, newest first. No more than a quarter of them are about
    /// neither users nor settings, unless there is room for more.
    pub fn latest(&self, limit: usize) -> Vec<AuditLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let room = limit.div_ceil(4).max(limit.saturating_sub(lines.about_users.len()));
        let mut about_users = lines.about_users.iter().rev().peekable();
        let mut others = lines.others.iter().rev().take(room).peekable();
        let newest = std::iter::from_fn(|| match (about_users.peek(), others.peek()) {
            (Some((one, _)), Some((other, _))) if one < other => others.next(),
            (Some(_), _) => about_users.next(),
            (None, _) => others.next(),
        });
        newest.take(limit).map(|(_, line)| line.clone()).collect()
    }
}

impl fmt::Debug for RecentEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentEvents").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// Keeps all events except recorded interactions, which are too many.
impl Observer for RecentEvents {
    fn observe(&self, event: &Event<'_>) {
        if matches!(event.kind, EventKind::Extended) || self.capacity == 0 {
            return;
        }
        let is_about_users = event.subject.is_some()
            || matches!(event.kind, EventKind::SettingChanged { .. } | EventKind::EverybodySignedOut);
        let line = AuditLine::from(event);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let number = lines.next;
        lines.next += 1;
        let ring = if is_about_users { &mut lines.about_users } else { &mut lines.others };
        if ring.len() == self.capacity {
            ring.pop_front();
        }
        ring.push_back((number, line));
    }
}
