-- Nobody but the database's owner makes temporary tables: PostgreSQL lets every login do so, and nothing here needs
-- them. They would fill the disk and, put before the schema of the same name, deceive functions with an open search_path.
--
-- Only the owner of the database may take the right away. Where another login migrates (some hosted PostgreSQL), it
-- stays as it was, which is no reason to stop. A login of somebody else's in the same database that needs the right:
-- grant temporary on database … to …

do $$
begin
    if (select pg_has_role(datdba, 'usage') from pg_database where datname = current_database()) then
        execute format('revoke temporary on database %I from public', current_database());
    else
        raise notice 'temporary tables stay allowed: % does not own the database', current_user;
    end if;
end
$$;
