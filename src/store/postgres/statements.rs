//! What is said to the server: one statement for each operation.

/// The statements, with the schema in them. Prepared once on each connection.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) create: String,
    pub(super) load: String,
    pub(super) update: String,
    pub(super) end: String,
    pub(super) list: String,
    pub(super) list_subject: String,
    pub(super) end_subject: String,
    pub(super) sweep: String,
    pub(super) load_settings: String,
    pub(super) begin_settings: String,
    pub(super) save_settings: String,
}

/// In the order in which `row::read` takes them.
const COLUMNS: &str = "sid, secret, previous_secret, previous_until, mode, created_at, authenticated_at, last_interaction_at, \
    longest_gap, idle_lifetime, absolute_lifetime, bound_idle, bound_absolute, one_off_idle, updated_at, subject, \
    revision, data::text, facts::text, last_seen::text, metadata::text, end_reason, ended_at";

/// In the order in which `row::read_applied` takes them.
const APPLIED: &str = "mode, created_at, authenticated_at, last_interaction_at, longest_gap, idle_lifetime, absolute_lifetime, \
    bound_idle, bound_absolute, one_off_idle, revision, secret, end_reason";

impl Statements {
    /// `schema` is quoted, and `channel` a name.
    pub(super) fn new(schema: &str, channel: &str) -> Self {
        let with_schema = |statement: String| statement.replace("{s}", schema);
        Self {
            create: with_schema(format!("SELECT * FROM {{s}}.create_session({})", create_parameters())),
            load: with_schema(format!("SELECT {COLUMNS} FROM {{s}}.sessions WHERE sid = $1")),
            update: with_schema(update()),
            end: with_schema("SELECT outcome, reason FROM {s}.end_session($1, $2, $3, $4)".to_owned()),
            list: with_schema(list("")),
            list_subject: with_schema(list("AND subject = $5")),
            end_subject: with_schema("SELECT ended FROM {s}.end_subject($1, $2, $3, $4, $5)".to_owned()),
            sweep: with_schema(SWEEP.to_owned()),
            load_settings: with_schema("SELECT version, text FROM {s}.settings".to_owned()),
            begin_settings: with_schema(notifying(
                "INSERT INTO {s}.settings (id, version, text) VALUES (1, 1, $1) ON CONFLICT DO NOTHING RETURNING 1",
                channel,
            )),
            save_settings: with_schema(notifying(
                "UPDATE {s}.settings SET version = version + 1, text = $1 WHERE version = $2 RETURNING 1",
                channel,
            )),
        }
    }
}

/// `set` and the facts come as text; the server makes JSON of it.
fn create_parameters() -> String {
    let cast = |number| match number {
        18 => "::text::jsonb",
        20..=22 => "::text::json",
        _ => "",
    };
    (1..=30).map(|number| format!("${number}{}", cast(number))).collect::<Vec<_>>().join(", ")
}

/// `Change::apply`, in one conditional update. The second half tells why there was none, as the statement saw it at its start.
///
/// `least` and `greatest` pass over NULL, so what a change leaves out changes nothing. A lowering makes the next sweep look
/// at the session anew, and so does the end of a one-off idle lifetime: nothing is over before it was created.
fn update() -> String {
    format!(
        "WITH changed AS (
            UPDATE {{s}}.sessions SET
                idle_lifetime = least(idle_lifetime, $3),
                absolute_lifetime = least(absolute_lifetime, $4),
                one_off_idle = CASE
                    WHEN $2::bigint IS NULL AND one_off_idle IS NOT NULL THEN least(one_off_idle, $5)
                END,
                longest_gap = greatest(longest_gap, $2 - last_interaction_at),
                last_interaction_at = greatest(last_interaction_at, $2),
                updated_at = greatest(updated_at, $6),
                data = CASE WHEN $9::bigint = 0 THEN data ELSE (data - $7::text[]) || $8::text::jsonb END,
                revision = revision + $9,
                last_seen = CASE
                    WHEN $6 >= greatest(last_interaction_at, $2) THEN coalesce($10::text::json, last_seen)
                    ELSE last_seen
                END,
                metadata = coalesce($11::text::json, metadata),
                previous_secret = CASE WHEN secret = $12::bytea AND secret <> $13::bytea THEN $12 ELSE previous_secret END,
                previous_until = CASE WHEN secret = $12 AND secret <> $13 THEN $14 ELSE previous_until END,
                secret = CASE WHEN secret = $12 THEN $13 ELSE secret END,
                sweep_at = CASE
                    WHEN $3 IS NOT NULL OR ($2 IS NOT NULL AND one_off_idle IS NOT NULL) THEN least(sweep_at, created_at)
                    ELSE sweep_at
                END
            WHERE sid = $1 AND ended_at IS NULL AND ($15::bigint IS NULL OR revision = $15)
            RETURNING {APPLIED}
        )
        SELECT true AS is_applied, {APPLIED} FROM changed
        UNION ALL
        SELECT false, {APPLIED} FROM {{s}}.sessions WHERE sid = $1 AND NOT EXISTS (SELECT FROM changed)"
    )
}

fn list(whose: &str) -> String {
    format!(
        "SELECT {COLUMNS} FROM {{s}}.sessions
        WHERE ended_at IS NULL AND (created_at, sid) > ($1, $2) AND deadline > $3 {whose}
        ORDER BY created_at, sid LIMIT $4"
    )
}

/// Removes those that are over; the others are looked at again when they may be. Passes over what another node is sweeping.
const SWEEP: &str = "
    WITH due AS MATERIALIZED (
        SELECT sid, coalesce(ended_at, deadline) AS over_at FROM {s}.sessions
        WHERE sweep_at < $1 ORDER BY sweep_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ), removed AS (
        DELETE FROM {s}.sessions s USING due WHERE s.sid = due.sid AND due.over_at < $1 RETURNING 1
    ), later AS (
        UPDATE {s}.sessions s SET sweep_at = due.over_at FROM due WHERE s.sid = due.sid AND due.over_at >= $1
    )
    SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM removed)";

/// Tells the other nodes of a change, if there was one; as many rows as changes.
fn notifying(change: &str, channel: &str) -> String {
    format!("WITH saved AS ({change}) SELECT pg_notify('{channel}', '') IS NULL FROM saved")
}
