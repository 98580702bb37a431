-- Version 1. {s} is the schema. Times are in milliseconds since the Unix epoch, lifetimes in milliseconds.

CREATE TABLE {s}.sessions (
    sid bytea PRIMARY KEY,
    secret bytea NOT NULL,
    previous_secret bytea,
    previous_until bigint,
    mode text NOT NULL,
    created_at bigint NOT NULL,
    authenticated_at bigint,
    last_interaction_at bigint NOT NULL,
    longest_gap bigint NOT NULL,
    idle_lifetime bigint NOT NULL,
    absolute_lifetime bigint NOT NULL,
    bound_idle bigint NOT NULL,
    bound_absolute bigint NOT NULL,
    one_off_idle bigint,
    updated_at bigint NOT NULL,
    subject text,
    revision bigint NOT NULL,
    -- Each value is the text of a JSON value, as a string: it comes back byte for byte.
    data jsonb NOT NULL,
    -- json, not jsonb, which takes no NUL.
    facts json NOT NULL,
    last_seen json NOT NULL,
    metadata json NOT NULL,
    end_reason text,
    ended_at bigint,
    -- Never later than when the session is over, and not moved by interactions: what the sweep looks for.
    sweep_at bigint NOT NULL,
    -- The one place in this store where a deadline is computed (SPEC L2).
    idle_expires_at bigint GENERATED ALWAYS AS (last_interaction_at + coalesce(one_off_idle, idle_lifetime)) STORED,
    expires_at bigint GENERATED ALWAYS AS (created_at + absolute_lifetime) STORED,
    deadline bigint GENERATED ALWAYS AS
        (least(last_interaction_at + coalesce(one_off_idle, idle_lifetime), created_at + absolute_lifetime)) STORED
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- No column in an index is changed by an interaction, so that it is a HOT update.
CREATE INDEX sessions_by_subject ON {s}.sessions (subject, created_at, sid) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_age ON {s}.sessions (created_at, sid) WHERE ended_at IS NULL;
CREATE INDEX sessions_to_sweep ON {s}.sessions (sweep_at);

CREATE TABLE {s}.settings (
    id integer PRIMARY KEY CHECK (id = 1),
    version bigint NOT NULL,
    text text NOT NULL
);

-- Ends a session, as `Record::end` does. The outcome is done, already, in_use or unknown.
CREATE FUNCTION {s}.end_session(p_sid bytea, p_reason text, p_at bigint, p_if_idle_since bigint, OUT outcome text, OUT reason text)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE {s}.sessions s SET
        end_reason = CASE
            WHEN p_at < deadline THEN p_reason
            WHEN idle_expires_at < expires_at THEN 'idle'
            ELSE 'absolute'
        END,
        ended_at = least(p_at, deadline),
        sweep_at = least(p_at, deadline),
        previous_secret = NULL,
        previous_until = NULL,
        data = '{}',
        updated_at = greatest(s.updated_at, p_at)
    WHERE s.sid = p_sid AND s.ended_at IS NULL
        AND (p_if_idle_since IS NULL OR s.last_interaction_at <= p_if_idle_since)
    RETURNING end_reason INTO reason;
    IF FOUND THEN
        outcome := 'done';
        RETURN;
    END IF;
    SELECT s.end_reason INTO reason FROM {s}.sessions s WHERE s.sid = p_sid;
    outcome := CASE WHEN NOT FOUND THEN 'unknown' WHEN reason IS NULL THEN 'in_use' ELSE 'already' END;
END $$;

-- One login of a subject at a time, and none while all its sessions are ended.
CREATE FUNCTION {s}.lock_subject(p_subject text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('{s}/' || p_subject, 8386103229480690));
$$;

-- Adds a session, ends the one it replaces, and evicts over the cap, as `Creation` says. A known sid violates the primary key, and
-- nothing of it happens.
CREATE FUNCTION {s}.create_session(
    p_sid bytea, p_secret bytea, p_previous_secret bytea, p_previous_until bigint, p_mode text, p_created_at bigint,
    p_authenticated_at bigint, p_last_interaction_at bigint, p_longest_gap bigint, p_idle bigint, p_absolute bigint,
    p_bound_idle bigint, p_bound_absolute bigint, p_one_off_idle bigint, p_updated_at bigint, p_subject text,
    p_revision bigint, p_set jsonb, p_removed text[], p_facts json, p_last_seen json, p_metadata json, p_sweep_at bigint,
    p_replaced bytea, p_replaced_reason text, p_replaced_at bigint, p_replaced_if bigint, p_keep_data boolean,
    p_cap bigint, p_evict boolean,
    OUT outcome text, OUT kept text, OUT replaced_outcome text, OUT replaced_reason text, OUT evicted bytea[]
)
LANGUAGE plpgsql AS $$
DECLARE
    others bytea[];
    victim bytea;
    ending record;
    taken jsonb := '{}';
BEGIN
    evicted := '{}';
    IF p_subject IS NOT NULL THEN
        PERFORM {s}.lock_subject(p_subject);
    END IF;
    -- The second try of a creation would count itself as one too many.
    IF EXISTS (SELECT FROM {s}.sessions s WHERE s.sid = p_sid) THEN
        outcome := 'exists';
        RETURN;
    END IF;
    IF p_subject IS NOT NULL AND p_cap IS NOT NULL THEN
        SELECT coalesce(array_agg(s.sid ORDER BY s.last_interaction_at, s.created_at, s.sid), '{}') INTO others
            FROM {s}.sessions s
            WHERE s.subject = p_subject AND s.ended_at IS NULL AND p_created_at < s.deadline
                AND s.sid IS DISTINCT FROM p_replaced;
        others := others[1:greatest(cardinality(others) + 1 - p_cap, 0)];
        IF cardinality(others) > 0 AND NOT p_evict THEN
            outcome := 'refused';
            RETURN;
        END IF;
    END IF;
    IF p_replaced IS NOT NULL THEN
        IF p_keep_data THEN
            SELECT s.data INTO taken FROM {s}.sessions s WHERE s.sid = p_replaced FOR UPDATE;
            taken := coalesce(taken, '{}');
        END IF;
        ending := {s}.end_session(p_replaced, p_replaced_reason, p_replaced_at, p_replaced_if);
        replaced_outcome := ending.outcome;
        replaced_reason := ending.reason;
    END IF;
    taken := (taken - p_removed) || p_set;
    INSERT INTO {s}.sessions (
        sid, secret, previous_secret, previous_until, mode, created_at, authenticated_at, last_interaction_at,
        longest_gap, idle_lifetime, absolute_lifetime, bound_idle, bound_absolute, one_off_idle, updated_at, subject,
        revision, data, facts, last_seen, metadata, sweep_at
    ) VALUES (
        p_sid, p_secret, p_previous_secret, p_previous_until, p_mode, p_created_at, p_authenticated_at,
        p_last_interaction_at, p_longest_gap, p_idle, p_absolute, p_bound_idle, p_bound_absolute, p_one_off_idle,
        p_updated_at, p_subject, p_revision, taken, p_facts, p_last_seen, p_metadata, p_sweep_at
    );
    FOREACH victim IN ARRAY coalesce(others, '{}') LOOP
        ending := {s}.end_session(victim, 'evicted', p_created_at, NULL);
        IF ending.outcome = 'done' AND ending.reason = 'evicted' THEN
            evicted := evicted || victim;
        END IF;
    END LOOP;
    outcome := 'done';
    kept := taken::text;
END $$;

-- Ends the sessions of a subject but one, and tells which it ended for this reason.
CREATE FUNCTION {s}.end_subject(p_subject text, p_reason text, p_at bigint, p_if_idle_since bigint, p_except bytea, OUT ended bytea[])
LANGUAGE plpgsql AS $$
DECLARE
    victim bytea;
    ending record;
BEGIN
    ended := '{}';
    PERFORM {s}.lock_subject(p_subject);
    FOR victim IN
        SELECT s.sid FROM {s}.sessions s
        WHERE s.subject = p_subject AND s.ended_at IS NULL AND s.sid IS DISTINCT FROM p_except
        ORDER BY s.created_at, s.sid
    LOOP
        ending := {s}.end_session(victim, p_reason, p_at, p_if_idle_since);
        IF ending.outcome = 'done' AND ending.reason = p_reason THEN
            ended := ended || victim;
        END IF;
    END LOOP;
END $$;
