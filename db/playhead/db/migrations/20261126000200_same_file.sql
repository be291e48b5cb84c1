-- The same file again: whether an owner has a script of it already, by the version that its hash gives its media.

create index audio_scripts_same_file on public.audio_scripts (owner_id, media_version, created_at)
    where status <> 'failed';
