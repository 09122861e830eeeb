
# All that PgQ 3.5 declares is in PgQ 4 under the same names: functions with
# their arguments and results, tables, columns, defaults, constraints, indexes,
# sequences, storage options, grants, what pg_dump saves. What PgQ 4 adds is left
# out of the comparison. (Debian has no package of pgq_coop and pgq_ext.)

use strict;
use warnings;

use PgqDebian;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $prefix = pgq35_tree();
my %server = (
	'3.5' => new_server('old', install_path => $prefix),
	'4.0' => new_server('new'));

# For each kind of thing one row of text per thing: 'name|what it is'.
my $grantees = q{(select string_agg(priv, ', ' order by priv) from (
	select distinct a.privilege_type || ' to ' || coalesce(r.rolname, 'public') as priv
	from aclexplode(coalesce(%s, acldefault('%s', %s))) a
		left join pg_roles r on r.oid = a.grantee
	where a.grantee <> %3$s) p)};
my %things = (
	functions => q{
		select p.oid::regprocedure::text || '|' || pg_get_function_arguments(p.oid) || ' -> '
			|| pg_get_function_result(p.oid) || ', '
			|| coalesce(} . sprintf($grantees, 'p.proacl', 'f', 'p.proowner') . q{, 'nobody')
		from pg_proc p},
	columns => q{
		select a.attrelid::regclass::text || '.' || a.attname || '|' || a.attnum || ' '
			|| format_type(a.atttypid, a.atttypmod)
			|| case when a.attnotnull then ' not null' else '' end
			|| coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
		from pg_attribute a join pg_class c on c.oid = a.attrelid
			left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
		where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'S')},
	tables => q{
		select c.oid::regclass::text || '|' || c.relkind::text || ' ' || c.relpersistence::text || ' '
			|| coalesce(c.reloptions::text, '') || ' '
			|| coalesce((select reloptions::text from pg_class t where t.oid = c.reltoastrelid), '')
			|| ' inherits ' || coalesce((select string_agg(inhparent::regclass::text, ',')
				from pg_inherits where inhrelid = c.oid), 'nothing') || ', '
			|| coalesce(} . sprintf($grantees, 'c.relacl', 'r', 'c.relowner') . q{, 'nobody')
		from pg_class c where c.relkind in ('r', 'S', 'v')},
	constraints => q{
		select c.conrelid::regclass::text || '.' || c.conname || '|' || pg_get_constraintdef(c.oid)
		from pg_constraint c
		-- since 18 the NOT NULL of columns, which are compared, have names
		where c.contype <> 'n'},
	indexes => q{
		select i.indexrelid::regclass::text || '|' || pg_get_indexdef(i.indexrelid) from pg_index i},
	sequences => q{
		select s.seqrelid::regclass::text || '|' || concat_ws(' ', s.seqtypid::regtype, s.seqstart,
			s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
		from pg_sequence s},
	schemas => q{
		select n.nspname || '|' || } . sprintf($grantees, 'n.nspacl', 'n', 'n.nspowner') . q{
		from pg_namespace n},
	dumped => q{
		select x::regclass::text || '|dumped' from pg_extension e, unnest(e.extconfig) x},
	roles => q{
		select r.rolname || '|' || r.rolcanlogin || ' ' || coalesce((select string_agg(
			g.rolname, ',' order by g.rolname) from pg_auth_members m
			join pg_roles g on g.oid = m.roleid where m.member = r.oid), '')
		from pg_roles r where r.rolname like 'pgq%'});

foreach my $node (values %server)
{
	sql($node, 'postgres', 'create database db');
	sql($node, 'db', $_)
	  foreach 'create extension pgq', "select pgq.create_queue('q')";
}

foreach my $kind (sort keys %things)
{
	my %is;

	foreach my $at (keys %server)
	{
		$is{$at} = { map { split(/\|/, $_, 2) }
			  grep { /^(pgq|q)/ } split(/\n/, sql($server{$at}, 'db', $things{$kind})) };
	}
	my @names = sort keys %{ $is{'3.5'} };
	cmp_ok(scalar(@names), '>', 0, "3.5 has $kind");
	my @differ = grep { ($is{'4.0'}{$_} // '') ne $is{'3.5'}{$_} } @names;
	is(join("\n", map { "$_: " . ($is{'4.0'}{$_} // 'missing') } @differ),
		join("\n", map { "$_: $is{'3.5'}{$_}" } @differ),
		"$kind: what 3.5 has is the same in 4.0");
}

done_testing();
