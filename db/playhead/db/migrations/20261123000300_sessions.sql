-- Sessions: one listener's playback of one script, as the state store last told it. Mirrors SessionState of the core.
--
-- Written by service_role alone, fenced by (epoch, revision, version): an older state never replaces a newer one.
-- Read by the listener. Not unique per live (listener, script): states arrive late and out of order, and the store
-- is what joins devices into one session.
-- No index holds a column that changes while a session plays, so those updates stay within the table's page (HOT).

create table public.audio_sessions (
    id uuid primary key,
    listener_id uuid not null,
    script_id uuid not null
        constraint audio_sessions_script references public.audio_scripts (id) on delete cascade,
    duration_ms bigint not null
        constraint audio_sessions_duration_range check (duration_ms between 1 and 2592000000),
    epoch bigint not null
        constraint audio_sessions_epoch_range check (epoch >= 0),
    revision bigint not null
        constraint audio_sessions_revision_range check (revision >= 0),
    version bigint not null
        constraint audio_sessions_version_range check (version >= 0),
    playing boolean not null,
    position_ms bigint not null,
    -- server time, ms since the Unix epoch
    anchored_at_ms bigint not null
        constraint audio_sessions_anchored_at_range check (anchored_at_ms >= 0),
    rate double precision not null
        constraint audio_sessions_rate_range check (rate between 0.25 and 4),
    loop_start_ms bigint,
    loop_end_ms bigint,
    loop_enabled boolean not null default false,
    mode text not null
        constraint audio_sessions_mode check (mode in ('handoff', 'together')),
    active_device_id text
        constraint audio_sessions_device_length check (char_length(active_device_id) <= 200),
    active_connection_id text
        constraint audio_sessions_connection_length check (char_length(active_connection_id) <= 200),
    heard_ms bigint not null,
    -- server time, ms since the Unix epoch
    heard_at_ms bigint not null
        constraint audio_sessions_heard_at_range check (heard_at_ms >= 0),
    listened int8multirange not null,
    -- [[device id, highest report number], …], newest device last
    report_seqs jsonb not null
        constraint audio_sessions_report_seqs_form check (jsonb_typeof(report_seqs) = 'array'),
    started_at timestamptz not null,
    changed_at timestamptz not null,
    ended_at timestamptz,
    finished boolean not null,

    constraint audio_sessions_position_range check (position_ms between 0 and duration_ms),
    constraint audio_sessions_heard_range check (heard_ms between 0 and duration_ms),
    constraint audio_sessions_listened_range check (listened <@ int8range(0, duration_ms)),
    constraint audio_sessions_loop_form check (
        (loop_start_ms is null and loop_end_ms is null and not loop_enabled)
        or (
            loop_start_ms is not null and loop_end_ms is not null
            and loop_start_ms >= 0 and loop_end_ms <= duration_ms and loop_end_ms - loop_start_ms >= 250
        )
    )
)
with (fillfactor = 70);

-- the last stored place of a listener in a script
create index audio_sessions_latest on public.audio_sessions (listener_id, script_id, started_at desc, id desc);
-- a listener's sessions, newest first, and those of them that still live
create index audio_sessions_recent on public.audio_sessions (listener_id, started_at desc, id desc);
create index audio_sessions_live on public.audio_sessions (listener_id, started_at desc, id desc)
    where ended_at is null;
-- the deletion of a script
create index audio_sessions_of_script on public.audio_sessions (script_id);

alter table public.audio_sessions enable row level security;
alter table public.audio_sessions force row level security;

create policy "read by its listener" on public.audio_sessions
    for select to authenticated
    using (listener_id = (select auth.uid()));

create policy "the service sees all" on public.audio_sessions
    for all to service_role
    using (true) with check (true);

revoke all on public.audio_sessions from public, anon, authenticated, service_role;
grant select on public.audio_sessions to authenticated;
grant select, insert, update on public.audio_sessions to service_role;
