-- Files that a script had before it got another one, for as long as somebody may still listen to them.
--
-- What the origin needs to go on serving them: the grid, and the source, of which segments are made that never were.
-- Written by service_role, in the transaction that gives the script its new file; deleted by the worker after
-- kept_until, when the last media token of that version has expired. Goes with its script.

create table public.audio_former_versions (
    script_id uuid not null
        constraint audio_former_versions_script references public.audio_scripts (id) on delete cascade,
    media_version text not null
        constraint audio_former_versions_media_version_form check (media_version ~ '^[0-9a-f]{16}$'),
    source_key text not null
        constraint audio_former_versions_source_key_length check (char_length(source_key) between 1 and 200),
    source_bytes bigint not null
        constraint audio_former_versions_source_bytes_range check (source_bytes > 0),
    source_codec text not null
        constraint audio_former_versions_source_codec_length check (char_length(source_codec) <= 64),
    -- Hz
    source_rate integer not null
        constraint audio_former_versions_source_rate_range check (source_rate > 0),
    -- in the source's rate
    source_samples bigint not null
        constraint audio_former_versions_source_samples_range check (source_samples > 0),
    source_start_s double precision not null
        constraint audio_former_versions_source_start_finite
        check (source_start_s > '-infinity' and source_start_s < 'infinity'),
    duration_ms bigint not null
        constraint audio_former_versions_duration_range check (duration_ms between 1 and 2592000000),
    -- at 48 kHz
    total_samples bigint not null
        constraint audio_former_versions_total_samples_range check (total_samples > 0),
    integrated_lufs double precision,
    true_peak_dbtp double precision,
    replaced_at timestamptz not null default now(),
    kept_until timestamptz not null,

    primary key (script_id, media_version),
    constraint audio_former_versions_loudness_is_whole check ((integrated_lufs is null) = (true_peak_dbtp is null)),
    constraint audio_former_versions_kept_for_a_while check (kept_until > replaced_at)
);

-- what has been kept for long enough
create index audio_former_versions_kept on public.audio_former_versions (kept_until);

alter table public.audio_former_versions enable row level security;
alter table public.audio_former_versions force row level security;

create policy "the service sees all" on public.audio_former_versions
    for all to service_role
    using (true) with check (true);

revoke all on public.audio_former_versions from public, anon, authenticated, service_role;
-- a row is written once, and never changed
grant select, insert, delete on public.audio_former_versions to service_role;

alter table public.audio_sessions
    -- the version of the script's media that the session plays; '': of a release that did not note it
    add column media_version text not null default ''
        constraint audio_sessions_media_version_form check (media_version ~ '^([0-9a-f]{16})?$'),
    -- the longest file that it has played before: how long its media tokens may last; 0: none but its own
    add column longest_ms bigint not null default 0
        constraint audio_sessions_longest_range check (longest_ms between 0 and 2592000000);
