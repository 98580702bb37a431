//! The SQL statements: one or two for each operation.

use super::row::MARK;
use crate::store::CreateOutcome;

/// The statements with the schema filled in. Prepared once per connection.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) create: String,
    pub(super) load: String,
    pub(super) load_of_tag: String,
    pub(super) load_many: String,
    pub(super) lock: String,
    pub(super) write: String,
    pub(super) write_many: String,
    pub(super) write_mark: String,
    pub(super) list: String,
    pub(super) list_subject: String,
    pub(super) due: String,
    pub(super) due_everywhere: String,
    pub(super) revoked: String,
    pub(super) revoked_of_tag: String,
    pub(super) move_cursor: String,
    pub(super) forget: String,
    pub(super) reschedule: String,
    pub(super) time: String,
    pub(super) not_before: String,
    pub(super) set_not_before: String,
    pub(super) load_settings: String,
    pub(super) save_settings: String,
}

/// The columns that `row::read_with_mark` reads.
const COLUMNS: &str = "s.sid, s.version, s.record, m.version, m.record";

/// The marks of each row. `LIMIT` forces one look-up by key per row, whatever the planner
/// estimates.
const MARKS: &str = "LEFT JOIN LATERAL
    (SELECT version, record FROM {s}.sessions WHERE tag = s.tag AND sid = '{mark}' LIMIT 1) m ON true";

impl Statements {
    /// `schema` is quoted, and `channel` is a name.
    pub(super) fn new(schema: &str, channel: &str) -> Self {
        let complete = |statement: &str| complete(statement, schema, channel);
        Self {
            create: complete(CREATE),
            load: complete(LOAD),
            load_of_tag: complete(LOAD_OF_TAG),
            load_many: complete(&format!(
                "SELECT {COLUMNS} FROM unnest($1::bigint[], $2::uuid[]) AS wanted (tag, sid), LATERAL (
                    SELECT tag, sid, version, record FROM {{s}}.sessions
                    WHERE tag = wanted.tag AND sid = wanted.sid AND state < 2 LIMIT 1
                ) s {MARKS}"
            )),
            lock: complete("SELECT FROM {s}.sessions WHERE tag = $1 AND sid = $2 FOR UPDATE"),
            write: complete(WRITE),
            write_many: complete(WRITE_MANY),
            write_mark: complete(WRITE_MARK),
            list: complete(&format!(
                "SELECT {COLUMNS} FROM {{s}}.sessions s {MARKS} WHERE s.state = 0 AND s.realm = $1 AND (s.created_at, s.sid) > ($2, $3)
                ORDER BY s.created_at, s.sid LIMIT $4"
            )),
            list_subject: complete(&format!(
                "SELECT {COLUMNS} FROM {{s}}.sessions s {MARKS} WHERE s.state = 0 AND s.tag = $1 AND s.owner = $2 AND (s.created_at, s.sid) > ($3, $4)
                ORDER BY s.created_at, s.sid LIMIT $5"
            )),
            due: complete(&format!(
                "SELECT {COLUMNS} FROM {{s}}.sessions s {MARKS} WHERE s.state = 0 AND s.realm = $1 AND s.due_at <= $2 ORDER BY s.due_at LIMIT $3"
            )),
            due_everywhere: complete(&due_everywhere()),
            revoked: complete(REVOKED),
            revoked_of_tag: complete(REVOKED_OF_TAG),
            move_cursor: complete(MOVE_CURSOR),
            forget: complete(FORGET),
            reschedule: complete(RESCHEDULE),
            time: "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint".to_owned(),
            not_before: complete("SELECT not_before FROM {s}.realms WHERE realm = $1"),
            set_not_before: complete(SET_NOT_BEFORE),
            load_settings: complete("SELECT version, text FROM {s}.settings WHERE realm = $1"),
            save_settings: complete(SAVE_SETTINGS),
        }
    }
}

/// Fills in the names.
pub(super) fn complete(statement: &str, schema: &str, channel: &str) -> String {
    let mark = uuid_text(MARK);
    let most = CreateOutcome::MAX_CANDIDATES.to_string();
    let names = [("{s}", schema), ("{channel}", channel), ("{mark}", &mark), ("{most}", &most)];
    names.into_iter().fold(statement.to_owned(), |text, (name, value)| text.replace(name, value))
}

const CREATE: &str = "SELECT * FROM {s}.create_session(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

/// The session, and the marks of its tag, which are another row: one index, two keys.
const LOAD: &str = "SELECT state, version, record FROM {s}.sessions WHERE tag = $1 AND sid IN ($2, '{mark}')";

const LOAD_OF_TAG: &str =
    "SELECT state, version, sid, record FROM {s}.sessions WHERE tag = $1 AND sid = ANY ($2::uuid[])";

/// Compare-and-set of a record; `$4` combines the versions of the record and of its marks. It
/// returns nothing, since `RETURNING`, or the current record after a conflict, would take the
/// server a third more instructions in every write.
const WRITE: &str = "
    UPDATE {s}.sessions SET
        version = $3, state = $5, due_at = CASE $5::smallint WHEN 0 THEN least(due_at, $6) ELSE $6 END, record = $7
    WHERE tag = $1 AND sid = $2 AND state < 2 AND $4 = version #
        coalesce((SELECT m.version FROM {s}.sessions m WHERE m.tag = $1 AND m.sid = '{mark}'), 0)";

/// Compare-and-set of tombstones. Returns the versions that were written.
const WRITE_MANY: &str = "
    UPDATE {s}.sessions s SET version = ended.version, state = 1, due_at = ended.due_at, record = ended.record
    FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])
        AS ended (tag, sid, seen, version, due_at, record)
    WHERE s.tag = ended.tag AND s.sid = ended.sid AND s.version = ended.seen
    RETURNING s.version";

/// Writes the marks of a tag, after waiting for logins of the subject in progress. They stay as
/// long as any revocation needs. `$7` is the version that was read.
const WRITE_MARK: &str = "
    INSERT INTO {s}.sessions AS s (tag, version, created_at, due_at, realm, owner, sid, state, record)
    SELECT $2, $3, $4, $5, $6, NULL, '{mark}', 2, $8 FROM pg_advisory_xact_lock($1)
    ON CONFLICT (tag, sid) DO UPDATE SET
        version = excluded.version, created_at = excluded.created_at, due_at = greatest(s.due_at, excluded.due_at),
        realm = excluded.realm, state = excluded.state, record = excluded.record
    WHERE s.version = $7
    RETURNING 1";

/// Finds the next realm by its first session, however many sessions the previous one has.
fn due_everywhere() -> String {
    format!(
        "WITH RECURSIVE realms (realm) AS (
            (SELECT realm FROM {{s}}.sessions WHERE state = 0 ORDER BY realm LIMIT 1)
            UNION ALL
            SELECT (SELECT s.realm FROM {{s}}.sessions s WHERE s.state = 0 AND s.realm > r.realm ORDER BY s.realm LIMIT 1)
            FROM realms r WHERE r.realm IS NOT NULL
        )
        SELECT due.* FROM realms, LATERAL (
            SELECT {COLUMNS} FROM {{s}}.sessions s {MARKS} WHERE s.state = 0 AND s.realm = realms.realm AND s.due_at <= $1 ORDER BY s.due_at LIMIT $2
        ) AS due LIMIT $2"
    )
}

/// Tags with a subject that was signed out everywhere: the queue of the sweep.
const REVOKED: &str = "SELECT tag, version, created_at, record FROM {s}.sessions
    WHERE state = 2 AND realm BETWEEN $1 AND $2 ORDER BY realm, tag LIMIT $3";

/// The sessions of such a tag from a cursor on; before it are no revoked ones.
const REVOKED_OF_TAG: &str = "SELECT sid, version, record, created_at FROM {s}.sessions
    WHERE state = 0 AND owner IS NOT NULL AND tag = $1 AND (created_at, sid) > ($2, $3)
    ORDER BY created_at, sid LIMIT $4";

const MOVE_CURSOR: &str = "UPDATE {s}.sessions SET created_at = $3, state = $4 WHERE tag = $1 AND sid = '{mark}' AND version = $2 AND state = 2";

/// Removes old tombstones and marks. Skips what another node is removing.
const FORGET: &str = "
    WITH due AS MATERIALIZED (
        SELECT tag, sid, state FROM {s}.sessions
        WHERE state > 0 AND due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ), removed AS (
        DELETE FROM {s}.sessions s USING due WHERE s.tag = due.tag AND s.sid = due.sid
    )
    SELECT count(*), count(*) FILTER (WHERE state = 1) FROM due";

/// Reschedules records that have not changed since they were read.
const RESCHEDULE: &str = "
    UPDATE {s}.sessions s SET due_at = later.due_at
    FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bigint[]) AS later (tag, sid, seen, due_at)
    WHERE s.tag = later.tag AND s.sid = later.sid AND s.version = later.seen AND s.state = 0";

const SET_NOT_BEFORE: &str = "
    INSERT INTO {s}.realms AS r (realm, not_before) VALUES ($1, $2)
    ON CONFLICT (realm) DO UPDATE SET not_before = greatest(r.not_before, excluded.not_before)";

/// Replaces the text of a version, 0 for none, and notifies the other nodes. Returns one row per
/// change.
const SAVE_SETTINGS: &str = "
    WITH saved AS (
        INSERT INTO {s}.settings AS s (realm, version, text) SELECT $1, 1, $2
        WHERE $3::bigint = 0 OR EXISTS (SELECT FROM {s}.settings WHERE realm = $1 AND version = $3)
        ON CONFLICT (realm) DO UPDATE SET version = s.version + 1, text = excluded.text WHERE s.version = $3
        RETURNING 1
    )
    SELECT pg_notify('{channel}', '') IS NULL FROM saved";

fn uuid_text(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}
