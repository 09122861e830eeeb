-- The work of scripts/demo-apply: events on standard input, one JSON object a
-- line; :batch is their batch's number. Prints how many were applied.

\set events `cat`
set client_min_messages = warning;
begin;
create table if not exists applied (batch bigint primary key);
select exists (select from applied where batch = :batch) as done \gset
\if :done
\set events ''
\else
insert into applied values (:batch);
\endif
select length(set_config('demo.events', :'events', true)) as length \gset

do $$
declare
    e json;
    tab text;
begin
    for e in
        select line::json
        from string_to_table(current_setting('demo.events'), E'\n') as line
        where line <> ''
    loop
        tab := e->>'ev_extra1';
        execute case e->>'ev_type'
            when 'I' then format('insert into %s %s', tab, e->>'ev_data')
            when 'U' then format('update only %s set %s', tab, e->>'ev_data')
            when 'D' then format('delete from only %s where %s', tab,
                                 e->>'ev_data')
            when 'R' then format('truncate only %s', tab)
        end;
    end loop;
end $$;

select count(*) from string_to_table(:'events', E'\n') line where line <> '';
commit;
