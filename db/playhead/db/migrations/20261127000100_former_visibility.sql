-- Who may hear a former file: who might hear it when it gave way to another one. A private file does not become
-- everybody's because its script has got one that is.

alter table public.audio_former_versions
    add column visibility text
        constraint audio_former_versions_visibility check (visibility in ('private', 'listeners'));

-- Of those that are there already nobody has noted it: what is heard by whom now. Policies bind the owner, too, who has
-- none, so they are lifted within this transaction.
alter table public.audio_scripts no force row level security;
alter table public.audio_former_versions no force row level security;

update public.audio_former_versions as former set visibility = script.visibility
from public.audio_scripts as script where script.id = former.script_id;
update public.audio_former_versions set visibility = 'private' where visibility is null;

alter table public.audio_scripts force row level security;
alter table public.audio_former_versions force row level security;

alter table public.audio_former_versions alter column visibility set not null;

-- An earlier release that runs beside this one notes nothing. When it keeps a file, the script's row is still that of
-- the file; where it only keeps one longer, what was noted is lost, and it is its owner's alone.
create function public.audio_note_former_visibility() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if new.visibility is null and new.replaced_at = now() then
        new.visibility := (select visibility from public.audio_scripts where id = new.script_id);
    end if;
    new.visibility := coalesce(new.visibility, 'private');
    return new;
end
$$;

create trigger audio_former_versions_visibility before insert on public.audio_former_versions
    for each row execute function public.audio_note_former_visibility();
