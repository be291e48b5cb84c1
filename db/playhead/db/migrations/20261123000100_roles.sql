-- Roles and claims as Supabase has them, made only where they are missing.
--
-- anon, authenticated and service_role belong to the whole server, schema auth to this database: each is looked for by
-- itself. Another database of the same server may be migrating right now, so losing the race for a role is no error.

do $$
declare
    role_name text;
begin
    foreach role_name in array array['anon', 'authenticated', 'service_role'] loop
        if to_regrole(role_name) is null then
            begin
                execute format('create role %I nologin noinherit', role_name);
            exception when duplicate_object or unique_violation then
                null;
            end;
        end if;
    end loop;
end
$$;

do $$
begin
    if to_regnamespace('auth') is not null then
        return;
    end if;

    create schema auth;

    -- the listener: `sub` of the claims that the transaction was begun with; null where there are none
    create function auth.uid() returns uuid
    language sql stable
    as $function$
        select nullif(
            coalesce(
                nullif(current_setting('request.jwt.claim.sub', true), ''),
                nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
            ),
            ''
        )::uuid
    $function$;

    create function auth.role() returns text
    language sql stable
    as $function$
        select coalesce(
            nullif(current_setting('request.jwt.claim.role', true), ''),
            nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
        )
    $function$;

    grant usage on schema auth to anon, authenticated, service_role;
end
$$;

-- For every table's trigger of the same purpose.
create function public.audio_touch_updated_at() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.updated_at := now();
    return new;
end
$$;
