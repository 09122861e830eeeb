-- The work of scripts/demo-apply: events on standard input, :batch is their
-- batch's number. Prints how many events were applied.

begin;
set local client_min_messages = warning;
create table if not exists applied (batch bigint primary key);
create temp table event (n serial, line json) on commit drop;
\copy event (line) from pstdin with (format csv, quote E'\x01', delimiter E'\x02')

select exists (select from applied where batch = :batch) as done \gset
\if :done
delete from event;
\else
insert into applied values (:batch);
\endif

do $$
declare
    e record;
begin
    for e in
        select line->>'ev_type' as type, line->>'ev_data' as data,
            line->>'ev_extra1' as tab
        from event order by n
    loop
        execute case e.type
            when 'I' then format('insert into %s %s', e.tab, e.data)
            when 'U' then format('update only %s set %s', e.tab, e.data)
            when 'D' then format('delete from only %s where %s', e.tab, e.data)
            when 'R' then format('truncate only %s', e.tab)
        end;
    end loop;
end $$;

select count(*) from event;
commit;
