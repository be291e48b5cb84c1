-- Uploads that could not be played leave a row that says why, for their owner. It is kept for some days (FAILED_KEPT_DAYS).

-- how many of an owner's there are lately, which are old, and what the others keep in bytes
create index audio_scripts_failed on public.audio_scripts (owner_id, created_at) where status = 'failed';

-- The service deletes those and nothing else: what never had a file was never heard, and has no places or bookmarks.
create policy "the service deletes what never had a file" on public.audio_scripts
    as restrictive for delete to service_role
    using (status = 'failed' and source_key is null and updated_at = created_at);

grant delete on public.audio_scripts to service_role;
