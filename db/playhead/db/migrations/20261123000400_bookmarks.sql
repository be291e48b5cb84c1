-- Bookmarks: places that a listener marked in a script.
--
-- Read and written by their listener alone, and only while that listener may hear the script: the subquery on
-- audio_scripts is itself under that table's policy. A bookmark of a script that went private reappears with it.
-- service_role has no part in them.

create table public.audio_bookmarks (
    id uuid primary key default gen_random_uuid(),
    listener_id uuid not null,
    script_id uuid not null
        constraint audio_bookmarks_script references public.audio_scripts (id) on delete cascade,
    position_ms bigint not null
        constraint audio_bookmarks_position_range check (position_ms between 0 and 2592000000),
    title text
        constraint audio_bookmarks_title_length check (char_length(title) between 1 and 200),
    note text
        constraint audio_bookmarks_note_length check (char_length(note) between 1 and 4000),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- the list, ordered by position; and the count for the limit
create index audio_bookmarks_list on public.audio_bookmarks (listener_id, script_id, position_ms, id);
-- the deletion of a script
create index audio_bookmarks_of_script on public.audio_bookmarks (script_id);

create trigger audio_bookmarks_touch before update on public.audio_bookmarks
    for each row execute function public.audio_touch_updated_at();

-- At most 1,000 bookmarks per listener and script, whoever inserts. The lock makes the count exact: of two inserts at
-- once the second one waits for the first one's commit, and its count, a new statement, sees that row.
create function public.audio_limit_bookmarks() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform pg_advisory_xact_lock(hashtextextended(new.listener_id::text || new.script_id::text, 0));
    if (
        select count(*) from public.audio_bookmarks
        where listener_id = new.listener_id and script_id = new.script_id
    ) >= 1000 then
        raise program_limit_exceeded
            using message = 'a listener keeps at most 1000 bookmarks per script', constraint = 'audio_bookmarks_limit';
    end if;
    return new;
end
$$;

create trigger audio_bookmarks_limit before insert on public.audio_bookmarks
    for each row execute function public.audio_limit_bookmarks();

alter table public.audio_bookmarks enable row level security;
alter table public.audio_bookmarks force row level security;

-- (select true …), not exists: that, the planner may turn into a hash of all scripts that the listener may hear.
create policy "of their listener, in scripts that may be heard" on public.audio_bookmarks
    for all to authenticated
    using (
        listener_id = (select auth.uid())
        and (select true from public.audio_scripts where audio_scripts.id = audio_bookmarks.script_id)
    )
    with check (
        listener_id = (select auth.uid())
        and (select true from public.audio_scripts where audio_scripts.id = audio_bookmarks.script_id)
    );

revoke all on public.audio_bookmarks from public, anon, authenticated, service_role;
grant select, delete on public.audio_bookmarks to authenticated;
grant insert (id, listener_id, script_id, position_ms, title, note) on public.audio_bookmarks to authenticated;
grant update (position_ms, title, note) on public.audio_bookmarks to authenticated;
