-- What a script's file says of itself, and how loud it is.
--
-- Tags come with the row, as they are found at ingest. The loudness is measured later, by a worker, once for each media
-- version: null until then, and for ever where it could not be measured.

-- Marks are the chapters: [[position in ms, title or null], …], ordered by position. Never read with the row.
alter table public.audio_scripts
    add column artist text
        constraint audio_scripts_artist_length check (char_length(artist) between 1 and 300),
    add column cover_key text
        constraint audio_scripts_cover_key_length check (char_length(cover_key) between 1 and 200),
    add column marks jsonb not null default '[]'
        constraint audio_scripts_marks_count
        check (case when jsonb_typeof(marks) = 'array' then jsonb_array_length(marks) <= 1000 else false end),
    add column integrated_lufs double precision
        constraint audio_scripts_integrated_lufs_range check (integrated_lufs between -70 and 70),
    add column true_peak_dbtp double precision
        constraint audio_scripts_true_peak_dbtp_range check (true_peak_dbtp between -120 and 70),
    -- how often a worker began to measure, counted before the work, so that a file that kills its worker is given up
    add column loudness_attempts integer not null default 0
        constraint audio_scripts_loudness_attempts_range check (loudness_attempts >= 0),
    -- until when the one who measures it has it; pushed on while that one lives
    add column loudness_held_until timestamptz,
    add constraint audio_scripts_loudness_is_whole check ((integrated_lufs is null) = (true_peak_dbtp is null));

-- what is still to be measured, the newest first
create index audio_scripts_unmeasured on public.audio_scripts (created_at desc)
    where integrated_lufs is null and loudness_attempts < 3 and status in ('processing', 'ready');
