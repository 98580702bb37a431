-- Version 2. {s} is the schema. Times are milliseconds since the Unix epoch.
--
-- The server never reads the packed record: what it searches by is in other columns. The tag leads every key, so the
-- arguments of a call name its shard or partition.

CREATE TABLE {s}.sessions (
    tag bigint NOT NULL,
    -- Random, and new with every write, for compare-and-set.
    version bigint NOT NULL,
    created_at bigint NOT NULL,
    -- When a sweep must look at it. It may be before a live session's deadline, so that a touch need not change it.
    due_at bigint NOT NULL,
    -- Hashes of the realm, and of realm and subject; no owner: anonymous.
    realm bigint NOT NULL,
    owner bigint,
    sid uuid NOT NULL,
    -- 0 live · 1 tombstone · 2 and 3 the marks of the subjects with this tag: 2 while their sessions are to be swept.
    state smallint NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (tag, sid)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- A touch changes no indexed column, so it is a HOT update. No index that a request uses contains tombstones.
CREATE INDEX sessions_of_subject ON {s}.sessions (tag, created_at, sid) WHERE state = 0 AND owner IS NOT NULL;
CREATE INDEX sessions_of_realm ON {s}.sessions (realm, created_at, sid) WHERE state = 0;
CREATE INDEX sessions_due ON {s}.sessions (realm, due_at) WHERE state = 0;
CREATE INDEX sessions_to_forget ON {s}.sessions (due_at) WHERE state > 0;
CREATE INDEX sessions_revoked ON {s}.sessions (realm, tag) WHERE state = 2;

-- When everybody in a realm was signed out.
CREATE TABLE {s}.realms (
    realm bytea PRIMARY KEY,
    not_before bigint NOT NULL
);

-- Names and texts are UTF-8 in bytea, which accepts every character: convert_from(text, 'UTF8') shows them.
CREATE TABLE {s}.settings (
    realm bytea PRIMARY KEY,
    version bigint NOT NULL,
    text bytea NOT NULL
);

-- The key with which all nodes compute tags.
CREATE TABLE {s}.place_key (
    id integer PRIMARY KEY CHECK (id = 1),
    key bytea NOT NULL
);

-- Stores a session and the ends that go with it, if p_seen matches the stored versions (0: none; each id once) and fewer than
-- p_cap others are live. Outcome 0: stored. 1: something has changed; returns what is there. 2: the cap is reached; returns
-- the sessions and their number. Outcomes 1 and 2 change nothing.
CREATE FUNCTION {s}.create_session(
    p_lock bigint, p_tag bigint, p_seen_sids uuid[], p_seen bigint[], p_cap bigint,
    p_sid uuid, p_version bigint, p_created_at bigint, p_due_at bigint, p_realm bigint, p_owner bigint, p_record bytea,
    p_ended_sids uuid[], p_ended_versions bigint[], p_ended_due bigint[], p_ended_records bytea[]
) RETURNS TABLE (outcome smallint, state smallint, version bigint, sid uuid, record bytea, total bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    is_changed boolean;
    is_full boolean;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- The snapshot, and so the count, would be older than the lock.
        RAISE EXCEPTION 'a login needs the isolation level read committed' USING ERRCODE = 'TT001';
    END IF;
    -- One login of a subject at a time, until the end of the transaction. What follows sees the logins before. It is an
    -- expression, since a statement costs the server some 12,000 instructions; so what is usual takes two of them in all.
    IF p_owner IS NOT NULL AND pg_advisory_xact_lock(p_lock) IS NULL THEN END IF;
    IF cardinality(p_ended_sids) > 0 THEN
        PERFORM FROM {s}.sessions s WHERE s.tag = p_tag AND s.sid = ANY (p_ended_sids) ORDER BY s.sid FOR UPDATE;
    END IF;
    -- No two rows ever have the same version, so it need not be compared with that of the same place in the array.
    SELECT EXISTS (
            SELECT FROM {s}.sessions s
            WHERE s.tag = p_tag AND s.sid = ANY (p_seen_sids) AND s.version <> ALL (p_seen)
        ), p_cap IS NOT NULL AND EXISTS (
            SELECT FROM {s}.sessions s
            WHERE s.tag = p_tag AND s.state = 0 AND s.owner = p_owner AND s.sid <> ALL (p_ended_sids)
            ORDER BY s.created_at, s.sid OFFSET p_cap - 1
        )
        INTO is_changed, is_full;
    IF NOT is_changed AND 0 <> ANY (p_seen) THEN
        is_changed := cardinality(array_remove(p_seen, 0)) <>
            (SELECT count(*) FROM {s}.sessions s WHERE s.tag = p_tag AND s.sid = ANY (p_seen_sids));
    END IF;
    IF is_changed THEN
        RETURN QUERY SELECT 1::smallint, s.state, s.version, s.sid, s.record, 0::bigint
            FROM {s}.sessions s WHERE s.tag = p_tag AND s.sid = ANY (p_seen_sids);
        RETURN;
    END IF;
    IF is_full THEN
        -- One statement: a session that ends meanwhile is in both the rows and their number, or in neither.
        RETURN QUERY SELECT 2::smallint, s.state, s.version, s.sid, s.record, count(*) OVER () FROM {s}.sessions s
            WHERE s.tag = p_tag AND s.state = 0 AND s.owner = p_owner ORDER BY s.created_at, s.sid LIMIT {most};
        RETURN;
    END IF;
    FOR i IN 1..cardinality(p_ended_sids) LOOP
        UPDATE {s}.sessions s SET
            version = p_ended_versions[i], due_at = p_ended_due[i], state = 1, record = p_ended_records[i]
            WHERE s.tag = p_tag AND s.sid = p_ended_sids[i];
    END LOOP;
    INSERT INTO {s}.sessions (tag, version, created_at, due_at, realm, owner, sid, state, record)
        VALUES (p_tag, p_version, p_created_at, p_due_at, p_realm, p_owner, p_sid, 0, p_record);
    outcome := 0;
    RETURN NEXT;
END $$;
