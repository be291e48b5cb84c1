-- Which process may answer for the sessions while they live in one process's memory (PLAYHEAD_STORE=memory).
--
-- One row at most. Whoever commits sessions from memory looks at it in the same transaction, so a process that another
-- one has replaced can change nothing any more, however late it notices. It expires by PostgreSQL's clock.

create table public.audio_store_lease (
    only_row boolean primary key default true
        constraint audio_store_lease_one_row check (only_row),
    -- a process, by an id that it made at its start
    holder uuid not null,
    -- where it runs, for people; of two processes with the same node the later one knows that the earlier one is gone
    node text not null
        constraint audio_store_lease_node_length check (char_length(node) between 1 and 200),
    -- that of the store in its memory; it grows with each process
    epoch bigint not null
        constraint audio_store_lease_epoch_range check (epoch > 0),
    taken_at timestamptz not null,
    expires_at timestamptz not null
);

alter table public.audio_store_lease enable row level security;
alter table public.audio_store_lease force row level security;

create policy "the service sees all" on public.audio_store_lease
    for all to service_role
    using (true) with check (true);

revoke all on public.audio_store_lease from public, anon, authenticated, service_role;
grant select, insert, update on public.audio_store_lease to service_role;
