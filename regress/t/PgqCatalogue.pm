
# What an extension is in a database's catalogue, so that one that was updated can be
# compared with one that was installed anew.

package PgqCatalogue;

use strict;
use warnings;

use Exporter 'import';
use PgqTest;

our @EXPORT = qw(catalogue_of columns_of rows_of differences_of);

# One line an object. What differs for good reason is left out: numbers of columns,
# and objects of single queues. Bodies of functions are compared by their digest.
my $catalogue = q{
	with member as (
		select classid, objid,
			pg_describe_object(classid, objid, objsubid) as name
		from pg_depend
		where refclassid = 'pg_extension'::regclass and deptype = 'e'
			and refobjid = (select oid from pg_extension where extname = 'EXT')),
	relation as (
		select c.* from pg_class c
		where relnamespace = 'EXT'::regnamespace and relname !~ '^event_\d'
			and relkind in ('r', 'S')),
	line(t) as (
		select concat_ws(' | ', 'member', name) from member
		union all
		select concat_ws(' | ', 'function', p.oid::regprocedure,
			md5(pg_get_functiondef(p.oid)), probin, proconfig, prosecdef,
			(select array_agg(a::text order by a::text) from unnest(proacl) a),
			obj_description(p.oid, 'pg_proc'))
		from pg_proc p where pronamespace = 'EXT'::regnamespace
		union all
		select concat_ws(' | ', 'relation', relname, relkind, reloptions,
			(select array_agg(a::text order by a::text) from unnest(relacl) a),
			obj_description(oid, 'pg_class'))
		from relation
		union all
		select concat_ws(' | ', 'column', relname,
			row_number() over (partition by relname order by attnum), attname,
			format_type(atttypid, atttypmod), attnotnull, attstorage,
			pg_get_expr(adbin, adrelid), col_description(r.oid, attnum))
		from relation r join pg_attribute a on attrelid = r.oid
			left join pg_attrdef on (adrelid, adnum) = (attrelid, attnum)
		where attnum > 0 and not attisdropped
		union all
		select concat_ws(' | ', 'constraint', relname, conname,
			pg_get_constraintdef(n.oid), convalidated)
		from relation r join pg_constraint n on conrelid = r.oid
		-- since 18 the NOT NULL of columns, see above, have names
		where contype <> 'n'
		union all
		select concat_ws(' | ', 'index', pg_get_indexdef(indexrelid))
		from relation r join pg_index on indrelid = r.oid
		union all
		select concat_ws(' | ', 'dumped', rel::regclass, cond)
		from pg_extension, unnest(extconfig, extcondition) as x(rel, cond)
		where extname = 'EXT'
		union all
		select concat_ws(' | ', 'initial grants', name, i.objsubid,
			(select array_agg(a::text order by a::text) from unnest(initprivs) a))
		from pg_init_privs i join member on (classid, objid) = (classoid, objoid)
		union all
		select concat_ws(' | ', 'trigger', pg_get_triggerdef(g.oid))
		from relation r join pg_trigger g on tgrelid = r.oid
		where not tgisinternal
		union all
		select concat_ws(' | ', 'event trigger', evtname, evtevent,
			evtfoid::regproc, evtenabled, evttags)
		from pg_event_trigger
		union all
		select concat_ws(' | ', 'version', extversion)
		from pg_extension where extname = 'EXT')
	select t from line order by t collate "C"};

# catalogue_of(NODE, DATABASE [, EXTENSION]): its lines
sub catalogue_of
{
	my ($node, $db, $extension) = @_;

	$extension //= 'pgq';
	return split(/\n/, sql($node, $db, $catalogue =~ s/EXT/$extension/gr));
}

# columns_of(NODE, DATABASE, SCHEMA...): names of the columns of all tables and sequences
# there, by table. What the server changes on its own is left out.
sub columns_of
{
	my ($node, $db, @schemas) = @_;
	my $schemas = join(', ', map { "'$_'::regnamespace" } @schemas);

	return { map { split(/\|/) } split(/\n/, sql($node, $db, qq{
		select c.oid::regclass, string_agg(quote_ident(attname), ', ' order by attnum)
		from pg_class c join pg_attribute a on attrelid = c.oid
		where relnamespace in ($schemas) and relkind in ('r', 'S')
			and attnum > 0 and not attisdropped and attname <> 'log_cnt'
		group by c.oid})) };
}

# rows_of(NODE, DATABASE, COLUMNS): all that is in those, one line a row
sub rows_of
{
	my ($node, $db, $columns) = @_;

	return split(/\n/, sql($node, $db, join(';', map {
		"select '$_: ' || row($columns->{$_})::text from only $_ order by 1"
	} sort keys %$columns)));
}

# differences_of(FRESH, HERE): of two lists of lines, as text: "- what is missing"
# and "+ what should not be there"
sub differences_of
{
	my ($fresh, $here) = @_;
	my %fresh = map { $_ => 1 } @$fresh;
	my %here = map { $_ => 1 } @$here;

	return join("\n",
		(map { "- $_" } grep { !$here{$_} } @$fresh),
		(map { "+ $_" } grep { !$fresh{$_} } @$here));
}

1;
