
# Whatever goes wrong for one capture while its changes are decoded, that capture
# alone is broken, says why and what to do, and all others go on: every error that
# could be provoked is thrown into the callbacks of a table of its own.

use strict;
use warnings;

use HTTP::Tiny;
use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $s = session($node, $db);
my @cases;
my $n = 0;

$s->query(q{
	set client_min_messages = warning;
	create table good (id int primary key);
	select pgq.create_queue('q'), pgq.register_consumer('q', 'c');
	select pgq.create_queue('other'), pgq.register_consumer('other', 'c');
	select pgq.capture_table('q', 'good'), pgq.capture_table('other', 'good')});

# broken(NAME, COLUMNS, ARGUMENT, SQL, REASON, EVENT...): table NAME is captured into
# both queues, into q with the argument; then SQL, a list, is run, each with a
# change of the good table before and behind. REASON is told of queue q, EVENTs come
# into it.
sub broken
{
	my ($name, $columns, $arg, $sql, $reason, @events) = @_;

	$s->query("create table $name (id int primary key, $columns);
		select pgq.capture_table('q', '$name'), pgq.capture_table('other', '$name')");
	$s->query("update pgq.capture set cap_args = $arg where cap_relid = '$name'::regclass
		and cap_queue = 'q'; select pgq._invalidate_capture()") if $arg;
	foreach (@$sql)
	{
		$n += 2;
		$s->query("begin; insert into good values ($n - 1); $_; insert into good values ($n); commit");
	}
	push @cases, { name => $name, reason => $reason, events => \@events };
	return;
}

# a mark that can't be loaded, whoever has written it
my $row = 'insert into %s (id) values (1)';
my %arguments = (
	args_unknown => [ q('{speed=high}'), qr/unknown capture argument "speed=high"/ ],
	args_null => [ 'null', qr/must not be null/ ],
	expr_column => [ q('{when=nosuch>1}'), qr/column "nosuch".*does not exist/ ],
	expr_syntax => [ q('{when=id >}'), qr/syntax error/ ],
	expr_date => [ q(array['when=d > ''31/12/2025''']), qr{out of range: "31/12/2025"} ],
	expr_config => [ q(array['ev_extra1=to_tsvector(''gone''::regconfig, v)']),
		qr/"gone" does not exist/ ],
	expr_object => [ q(array['ev_extra1=to_tsvector(''english''::regconfig, v)']),
		qr/names an object/ ],
	expr_cost => [ q(array['when=length(repeat(''x'', 20000000)) > id']), qr/too much memory/ ],
	expr_deep => [ q(array['when=' || repeat('not ', 1500) || 'id > 0']), qr/stack depth/ ],
	expr_type => [ q('{when=id}'), qr/must be type boolean/ ]);
$s->query('alter table pgq.capture alter cap_args drop not null');
foreach my $name (sort keys %arguments)
{
	broken($name, 'v text, d date', $arguments{$name}[0], [ sprintf($row, $name) ],
		$arguments{$name}[1]);
}

# values that can't be written
$s->query(q{
	create type odd;
	create function odd_in(cstring) returns odd immutable strict language internal as 'int4in';
	create function odd_out(odd) returns cstring immutable strict language internal as 'enum_out';
	create type odd (input = odd_in, output = odd_out, internallength = 4, passedbyvalue, alignment = int4);
	create type gone;
	create function gone_in(cstring) returns gone immutable strict language internal as 'int4in';
	create function gone_out(gone) returns cstring immutable strict language internal as 'int4out';
	create type gone (input = gone_in, output = gone_out, internallength = 4, passedbyvalue, alignment = int4);
	create type mood as enum ('sad', 'ok');
	create type dropped as enum ('x');
	create cast (bytea as text) without function;
	create cast (int8 as timestamp) without function});
my $flagged = '{"id":1}|broken';
broken('value_output', 'v odd', '', ["insert into value_output values (1, '5')"],
	qr/invalid internal value for enum/, $flagged);
broken('value_library', 'v gone', '', [ "insert into value_library values (1, '5')",
		"update pg_proc set prolang = (select oid from pg_language where lanname = 'c'),
			probin = '/no/such/file' where proname = 'gone_out'; select pgq._invalidate_capture()",
		'update value_library set id = 1' ],
	qr{could not access file "/no/such/file"}, '{"id":1,"v":"5"}');
broken('value_label', 'v mood', '',
	[ "insert into value_label values (1, 'sad')",
		"delete from pg_enum where enumtypid = 'mood'::regtype",
		'update value_label set id = 1' ],
	qr/invalid internal value for enum/, '{"id":1,"v":"sad"}', $flagged);
broken('value_type', 'v dropped', '',
	[ "insert into value_type values (1, 'x')",
		"delete from pg_type where oid = 'dropped'::regtype; select pgq._invalidate_capture()", 'delete from value_type' ],
	qr/cache lookup failed for type/, '{"id":1,"v":"x"}');
broken('value_encoding', 'v text', '',
	[q{insert into value_encoding values (1, '\xff41'::bytea::text)}],
	qr/invalid byte sequence for encoding "UTF8": 0xff/, $flagged);
broken('value_key', 'k text unique not null', q('{pkey=k}'),
	['alter table value_key replica identity full',
	 q{insert into value_key values (1, '\xff41'::bytea::text)}],
	qr/invalid byte sequence/, '{}|broken');
broken('value_time', 'v timestamp', '',
	['insert into value_time values (1, (-9223372036854775000)::int8::timestamp)'],
	qr/timestamp out of range/, $flagged);
broken('value_deep', 'v jsonpath', '',
	[q{insert into value_deep values (1, ('$ ? (' || repeat('!(', 2500) || '@ == 1' || repeat(')', 2501))::jsonpath)}],
	qr/stack depth/, $flagged);

# rows that the WAL does not name
broken('identity', 'v text', '',
	[ "insert into identity values (1, 'a'), (2, 'b')",
		"update pg_class set relreplident = 'n' where oid = 'identity'::regclass",
		'delete from identity where id = 1', 'truncate identity' ],
	qr/does not name the row/, '{"id":1,"v":"a"}', '{"id":2,"v":"b"}', '{}');

# in a transaction that has nothing else for anybody
$s->query($_) foreach 'create table alone (id int primary key)',
	q{select pgq.capture_table('q', 'alone')}, 'insert into alone values (1)',
	"update pg_class set relreplident = 'n' where oid = 'alone'::regclass",
	'delete from alone';
push @cases, { name => 'alone', reason => qr/does not name the row/, events => ['{"id":1}'] };

# a mark of a partitioned table
$s->query('create table part_of (id int, v text) partition by range (id)');
$s->query('create table part_1 partition of part_of for values from (0) to (10)');
$s->query(q{alter table part_1 replica identity full; alter table part_of replica identity full;
	select pgq.capture_table('q', 'part_of'), pgq.capture_table('other', 'part_of');
	update pgq.capture set cap_args = '{speed=high}' where cap_relid = 'part_of'::regclass and cap_queue = 'q';
	select pgq._invalidate_capture()});
$n += 2;
$s->query("begin; insert into good values ($n - 1); insert into part_of values (1);
	truncate part_1; truncate part_of; insert into good values ($n); commit");
push @cases, { name => 'part_of', reason => qr/unknown capture argument/, events => [] };

$s->close;
$node->append_conf('postgresql.conf', "max_stack_depth = 100kB\n");
$node->reload;
my $pgqd = start_pgqd($node, database_list => $db, http_listen => "127.0.0.1:$port");
$pgqd->wait_log(qr/serves http|without libmicrohttpd/);
my $has_http = $pgqd->text !~ /without libmicrohttpd/;
wait_ingest($node, $db);

my @got = @{ consume($node, $db, 'q', 'c', q{concat_ws(' ', ev_extra1, concat_ws('|', ev_data, ev_extra3))}) };
is(join(' ', map { /^public.good \{"id":(\d+)\}$/ ? $1 : () } @got), join(' ', 1 .. $n),
	'all events of the other table came, in their order');
my %info = map { my ($t, $state, $why) = split(/\|/, $_, 3); ($t => [ $state, $why ]) }
	split(/\n/, sql($node, $db, q{select table_name || '|' || state || '|' || coalesce(warnings[1], '')
		from pgq.get_capture_info('q')}));
my ($health, $metrics) = ('', '');
# pgqd looks once a second; what it never sees fails below, by its name
$has_http and eval {
	wait_for('a look at all of them', sub {
		($metrics, $health) = (http('/metrics'), http('/health'));
		return !grep { $metrics !~ /^pgq_capture_broken\{[^}]*queue="q",table="public\.$_->{name}"\} 1$/m } @cases;
	}, 15);
};
foreach my $case (@cases)
{
	my $name = $case->{name};

	is_deeply([ map { /^public\.$name (.*)$/ ? $1 : () } @got ], $case->{events}, "$name: what it could");
	is($info{"public.$name"}[0], 'broken', "$name: broken");
	like($info{"public.$name"}[1], $case->{reason}, "$name: why");
	next if !$has_http;
	like($health, qr/^\[$db\]: (?:warning: )?table public\.$name\b.* queue "q"/m, "$name: /health");
	like($metrics, qr/^pgq_capture_broken\{[^}]*queue="q",table="public\.$name"\} 1$/m, "$name: metrics");
}
is($info{'public.good'}[0], 'ok', 'the other is sound');

# the same tables' marks for another queue are broken by their values, not by the
# arguments of the first
my $others = join("\n", @{ consume($node, $db, 'other', 'c', "concat_ws(' ', ev_extra1, ev_data)") });
foreach my $name (sort keys %arguments)
{
	like($others, qr/^public\.$name \{"id":1,/m, "$name: the other queue has its event");
}
is(sql($node, $db, q{select count(*) from pgq.get_capture_info('other') where state = 'broken'
	and table_name !~ 'value|identity'}), 0, 'and its captures are sound');

my ($out, $err) = ('', '');
IPC::Run::run([ 'pgqadm', '-d', $node->connstr($db), 'doctor' ], '>', \$out, '2>', \$err);
like($out . $err, qr/expr_syntax.*queue "q".*changes have no event.*syntax error/, 'doctor says it');
like($out . $err, qr/capture the table again with argument copy/, 'and the way out');

# which works
sql($node, $db, q{select pgq.capture_table('q', 'expr_date', 'when=d is null', 'copy')});
wait_for('copied', sub { sql($node, $db, q{select state from pgq.get_capture_info('q')
	where table_name = 'public.expr_date'}) eq 'ok' });
wait_ingest($node, $db);
is_deeply(consume($node, $db, 'q', 'c', q{concat_ws(' ', ev_extra1, ev_data, ev_extra3)}),
	[ 'public.expr_date {} copy', 'public.expr_date {"id":1,"v":null,"d":null} copy' ],
	'captured again with copy, the capture is whole');
is($pgqd->stop, 0, 'pgqd never stopped');
unlike($pgqd->text, qr/WARNING.*stream: ERROR/, 'nor did the stream');

done_testing();

sub http
{
	my ($path) = @_;
	my $text = '';

	wait_for("$path", sub {
		$text = HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port$path")->{content};
		return $text =~ /table public\.value_deep|capture_broken.*value_deep"\} 1/ });
	return $text;
}
