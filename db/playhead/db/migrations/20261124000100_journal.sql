-- What the journal brings to PostgreSQL beside the place of a session: its moves, what was played when, and what was
-- played without a connection. Written by service_role alone, read by the listener.
--
-- Entries of the journal come more than once and in any order, so every row here has a name of its own, and writing it
-- again changes nothing.

-- the newer fields of SessionState
alter table public.audio_sessions
    add column played_ms bigint not null default 0
        constraint audio_sessions_played_range check (played_ms >= 0),
    -- [[slot, ms], …], oldest slot first; see audio_listening
    add column played_slots jsonb not null default '[]'
        constraint audio_sessions_played_slots_form check (jsonb_typeof(played_slots) = 'array'),
    add column moved_epoch bigint not null default 0
        constraint audio_sessions_moved_epoch_range check (moved_epoch >= 0),
    add column moved_revision bigint not null default 0
        constraint audio_sessions_moved_revision_range check (moved_revision >= 0),
    -- server times, ms since the Unix epoch
    add column sleep_at_ms bigint,
    add column sleep_at_end_of_loop boolean not null default false,
    add column absent_since_ms bigint,
    add column absent_until_ms bigint;

-- Places that a session was moved from and to, and places that were refused.
create table public.audio_position_history (
    session_id uuid not null
        constraint audio_position_history_session references public.audio_sessions (id) on delete cascade,
    kind text not null
        constraint audio_position_history_kind check (kind in ('move', 'conflict')),
    -- a move: the state that it made; a conflict: the state that the refused place was told for
    epoch bigint not null
        constraint audio_position_history_epoch_range check (epoch >= 0),
    revision bigint not null
        constraint audio_position_history_revision_range check (revision >= 0),
    device_id text
        constraint audio_position_history_device_length check (char_length(device_id) <= 200),
    -- Two devices may be refused for the same state, but only one moves it.
    refused_device_id text not null
        generated always as (case when kind = 'conflict' then coalesce(device_id, '') else '' end) stored,
    cause text not null
        constraint audio_position_history_cause_length check (char_length(cause) between 1 and 64),
    from_ms bigint not null
        constraint audio_position_history_from_range check (from_ms between 0 and 2592000000),
    to_ms bigint not null
        constraint audio_position_history_to_range check (to_ms between 0 and 2592000000),
    at timestamptz not null,

    -- also the order in which a session's moves are read, and the oldest are forgotten
    constraint audio_position_history_entry primary key (session_id, kind, epoch, revision, refused_device_id)
);

-- How much a session has played in each quarter of an hour of server time, repeats included. A slot's number is the
-- time since the Unix epoch, divided by 900 s: every time zone's midnight falls between two slots. Amounts count from
-- the session's start, so of two of a slot the greater one is the later one.
create table public.audio_listening (
    session_id uuid not null
        constraint audio_listening_session references public.audio_sessions (id) on delete cascade,
    slot integer not null
        constraint audio_listening_slot_range check (slot >= 0),
    listener_id uuid not null,
    script_id uuid not null,
    played_ms bigint not null
        constraint audio_listening_played_range check (played_ms >= 0),

    primary key (session_id, slot)
)
with (fillfactor = 70);

-- a listener's days
create index audio_listening_of_listener on public.audio_listening (listener_id, slot);

-- What devices played without a connection. A stretch is known by its place and by the device's own time of its start,
-- which the device tells again when it sends the batch again; started_at and ended_at are brought within bounds.
create table public.audio_offline_intervals (
    listener_id uuid not null,
    script_id uuid not null
        constraint audio_offline_intervals_script references public.audio_scripts (id) on delete cascade,
    device_id text not null
        constraint audio_offline_intervals_device_length check (char_length(device_id) <= 200),
    -- ms since the Unix epoch, by the device's clock
    told_at_ms bigint not null,
    start_ms bigint not null,
    end_ms bigint not null,
    started_at timestamptz not null,
    ended_at timestamptz not null,

    primary key (listener_id, script_id, device_id, told_at_ms, start_ms),
    constraint audio_offline_intervals_range check (0 <= start_ms and start_ms <= end_ms and end_ms <= 2592000000),
    constraint audio_offline_intervals_times check (started_at <= ended_at)
);

-- a listener's days
create index audio_offline_intervals_of_listener on public.audio_offline_intervals (listener_id, ended_at);
-- the deletion of a script
create index audio_offline_intervals_of_script on public.audio_offline_intervals (script_id);

alter table public.audio_position_history enable row level security;
alter table public.audio_position_history force row level security;
alter table public.audio_listening enable row level security;
alter table public.audio_listening force row level security;
alter table public.audio_offline_intervals enable row level security;
alter table public.audio_offline_intervals force row level security;

-- The subquery is itself under the policy of audio_sessions.
create policy "read by the session's listener" on public.audio_position_history
    for select to authenticated
    using ((select true from public.audio_sessions where audio_sessions.id = audio_position_history.session_id));
create policy "read by its listener" on public.audio_listening
    for select to authenticated
    using (listener_id = (select auth.uid()));
create policy "read by its listener" on public.audio_offline_intervals
    for select to authenticated
    using (listener_id = (select auth.uid()));

create policy "the service sees all" on public.audio_position_history
    for all to service_role
    using (true) with check (true);
create policy "the service sees all" on public.audio_listening
    for all to service_role
    using (true) with check (true);
create policy "the service sees all" on public.audio_offline_intervals
    for all to service_role
    using (true) with check (true);

revoke all on public.audio_position_history, public.audio_listening, public.audio_offline_intervals
    from public, anon, authenticated, service_role;
grant select on public.audio_position_history, public.audio_listening, public.audio_offline_intervals to authenticated;
-- the oldest entries of a session are forgotten when new ones come
grant select, insert, update, delete on public.audio_position_history to service_role;
grant select, insert, update on public.audio_listening, public.audio_offline_intervals to service_role;
