-- Scripts: what can be heard, and how far its media are.
--
-- Who may hear a script is said here and nowhere else: the policy "heard by its owner, or by every listener".
-- Rows are written by service_role alone (uploads after their ingest, the worker's progress): a row appears measured, or
-- as a failure with its reason, never half made.
-- Deleting a script (an operator's act, as the owner of the table) takes its sessions and bookmarks with it.

create table public.audio_scripts (
    id uuid primary key default gen_random_uuid(),
    owner_id uuid not null,
    title text not null
        constraint audio_scripts_title_length check (char_length(title) between 1 and 300),
    visibility text not null default 'private'
        constraint audio_scripts_visibility check (visibility in ('private', 'listeners')),
    status text not null default 'queued'
        constraint audio_scripts_status check (status in ('queued', 'processing', 'ready', 'failed')),
    -- why it failed, for the owner to read
    error text
        constraint audio_scripts_error_length check (char_length(error) between 1 and 2000),
    progress double precision not null default 0
        constraint audio_scripts_progress_range check (progress between 0 and 1),
    -- how often a worker took it, counted before the work, so that a file that kills its worker is given up
    attempts integer not null default 0
        constraint audio_scripts_attempts_range check (attempts >= 0),
    source_key text
        constraint audio_scripts_source_key_length check (char_length(source_key) between 1 and 200),
    source_bytes bigint not null default 0
        constraint audio_scripts_source_bytes_range check (source_bytes >= 0),
    source_codec text not null default ''
        constraint audio_scripts_source_codec_length check (char_length(source_codec) <= 64),
    -- Hz
    source_rate integer not null default 0
        constraint audio_scripts_source_rate_range check (source_rate >= 0),
    -- in the source's rate
    source_samples bigint not null default 0
        constraint audio_scripts_source_samples_range check (source_samples >= 0),
    source_start_s double precision not null default 0
        constraint audio_scripts_source_start_finite
        check (source_start_s > '-infinity' and source_start_s < 'infinity'),
    duration_ms bigint not null default 0
        constraint audio_scripts_duration_range check (duration_ms between 0 and 2592000000),
    -- at 48 kHz
    total_samples bigint not null default 0
        constraint audio_scripts_total_samples_range check (total_samples >= 0),
    -- the first 16 hexadecimal digits of the source's SHA-256
    media_version text not null default ''
        constraint audio_scripts_media_version_form check (media_version ~ '^([0-9a-f]{16})?$'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),

    constraint audio_scripts_failed_says_why check ((status = 'failed') = (error is not null)),
    constraint audio_scripts_measured check (
        status = 'failed'
        or (
            source_key is not null and source_bytes > 0 and source_rate > 0 and source_samples > 0
            and duration_ms > 0 and total_samples > 0 and media_version <> ''
        )
    )
)
-- progress is written often: room in the page keeps those updates out of the indexes
with (fillfactor = 80);

-- the picker's two halves, newest first: what everybody may hear, and what is the listener's own
create index audio_scripts_shared on public.audio_scripts (created_at desc, id desc)
    where visibility = 'listeners';
create index audio_scripts_own on public.audio_scripts (owner_id, created_at desc, id desc)
    where visibility = 'private';
-- what a worker must still do, for the sweep that finds scripts whose job was lost
create index audio_scripts_unfinished on public.audio_scripts (created_at, id)
    where status in ('queued', 'processing');

create trigger audio_scripts_touch before update on public.audio_scripts
    for each row execute function public.audio_touch_updated_at();

alter table public.audio_scripts enable row level security;
alter table public.audio_scripts force row level security;

create policy "heard by its owner, or by every listener" on public.audio_scripts
    for select to authenticated
    using (visibility = 'listeners' or owner_id = (select auth.uid()));

create policy "the service sees all" on public.audio_scripts
    for all to service_role
    using (true) with check (true);

-- Supabase grants everything on new tables to its roles by default: take it back, then give what is needed.
revoke all on public.audio_scripts from public, anon, authenticated, service_role;
grant select on public.audio_scripts to authenticated;
grant select, insert, update on public.audio_scripts to service_role;
