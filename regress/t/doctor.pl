
# pgqadm doctor finds each broken set-up, and is content again once the fix that
# it prints is applied, word for word.

use strict;
use warnings;

use PgqTest;
use Test::More;
use IPC::Run;
use JSON::PP;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);

delete $ENV{PGDATABASE};

# doctor(CONNECT STRING): its exit status and what it found, as
# { check => [ finding ... ] } with checks that have findings only.
sub doctor
{
	my ($connstr) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'pgqadm', '-d', $connstr // $node->connstr($db),
			'doctor', '--json' ], \undef, \$out, \$err,
		IPC::Run::timeout(60));
	my $rc = $? >> 8;
	my $report = eval { JSON::PP->new->utf8->decode($out) }
	  or die "no JSON: $out$err";
	my %found = map { @{ $_->{findings} } ? ($_->{check}, $_->{findings}) : () }
	  @{ $report->{checks} };

	is($rc, $report->{problems} > 0 ? 1 : 0, 'exit status');
	return \%found;
}

# found(WHAT, CHECK, LIKE, LEVEL [, CONNSTR]): doctor finds this; returns it.
sub found
{
	my ($what, $check, $like, $level, $connstr) = @_;
	my $found = doctor($connstr);
	my ($it) = grep { $_->{problem} =~ $like } @{ $found->{$check} // [] };

	ok($it, "found: $what")
	  or diag(explain($found)), return { sql => '', fix => '' };
	is($it->{level}, $level, "$what is a $level");
	ok($it->{fix} ne '', "$what: says what to do");
	return $it;
}

# green(WHAT, CHECK, LIKE): it no longer finds that.
sub green
{
	my ($what, $check, $like, $connstr) = @_;
	my $last;

	ok( eval {
			wait_for(
				$what,
				sub {
					$last = doctor($connstr);
					!grep { $_->{problem} =~ $like }
					  @{ $last->{$check} // [] };
				},
				20);
		},
		"green again: $what") or diag(explain($last));
	return;
}

# apply(FINDING): its statements, as a superuser; a restart if it says so.
sub apply
{
	my ($it) = @_;

	# each alone: some may not stand in a transaction block
	sql($node, $db, $_) foreach split(/\n/, $it->{sql} // '');
	$node->restart if $it->{fix} =~ /restart/;
	return;
}

# broken(WHAT, CHECK, LIKE, LEVEL, SQL): breaks it, and the fix mends it.
sub broken
{
	my ($what, $check, $like, $level, $sql) = @_;

	sql($node, $db, $_) foreach grep { /\S/ } split(/;\n/, $sql);
	my $it = found($what, $check, $like, $level);
	apply($it);
	green($what, $check, $like);
	return $it;
}

# no server

{
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'pgqadm', '-d', 'host=/nowhere dbname=x', 'doctor' ],
		\undef, \$out, \$err);
	is($? >> 8, 2, 'no server: exit status 2');
	like($err, qr/^pgqadm: connection/, 'and a message');
}

# before anything is there

sql($node, $db, 'drop extension pgq cascade');
apply(found('no extension', 'extension', qr/no extension pgq/, 'problem'));
green('no extension', 'extension', qr/./);

found('no pgqd', 'pgqd', qr/does not look after/, 'problem');
my $pgqd = start_pgqd($node, maint_period => 0.5);
green('no pgqd', 'pgqd', qr/./);

is_deeply(doctor(), {}, 'nothing wrong with a database of queues only');

# what capture needs; only warnings as long as nothing is captured

sql($node, $db, q{
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	create table t (id int primary key, n int);
	create table "Long" (id int primary key, doc text)});
SKIP:
{
	skip 'this server lets all plugins in', 1
	  if sql($node, $db, q{select count(*) from pg_settings
		where name = 'output_plugin_libraries'}) eq '0';

	foreach my $level ('warning', 'problem')
	{
		sql($node, $db, q{select pgq.start_capture()})
		  if $level eq 'problem';
		sql($node, $db,
			'alter system set output_plugin_libraries = pgoutput, "odd one"');
		$node->reload;
		my $it = found('plugin list', 'plugin list', qr/refuses/, $level);
		like($it->{sql}, qr/= pgoutput, "odd one", pgq;/, 'it keeps the rest');
		apply($it);
		green('plugin list', 'plugin list', qr/./);
	}

	sql($node, $db, q{alter system set output_plugin_libraries =
		'pgoutput, test_decoding, pgq'});
	$node->reload;
	my $it = found('list in quotes', 'plugin list', qr/refuses/, 'problem');
	apply($it);
	green('list in quotes', 'plugin list', qr/./);
	$pgqd->stop;
	sql($node, $db, 'select pgq.stop_capture()');
	$pgqd->start;
}

# 19 needs no more than replica
my $too_low = sql($node, $db, 'show server_version_num') >= 190000
  ? 'minimal' : 'replica';
sql($node, $db, "alter system set wal_level = $too_low");
sql($node, $db, 'alter system set max_wal_senders = 0')
  if $too_low eq 'minimal';
$node->restart;
broken('wal_level', 'wal_level', qr/$too_low/, 'warning', '');
sql($node, $db, 'alter system reset max_wal_senders');

# slots

sql($node, $db, 'alter system set max_replication_slots = 1');
$node->restart;
sql($node, $db, q{select pg_create_physical_replication_slot('other')});
broken('no slot left', 'slots free', qr/slots are in use/, 'warning', '');
sql($node, $db, q{select pg_drop_replication_slot('other')});

{
	my $dir = PostgreSQL::Test::Utils::tempdir();

	sql($node, $db, 'alter system set max_wal_senders = 1');
	$node->restart;
	my $other = IPC::Run::start(
		[ 'pg_receivewal', '-d', $node->connstr('postgres'), '-D', $dir ],
		\undef, \my $other_out, \my $other_err);
	wait_for('another WAL sender',
		sub { sql($node, $db, 'select count(*) from pg_stat_replication') });
	broken('no WAL sender left', 'slots free', qr/WAL senders are in use/,
		'warning', '');
	$other->signal('INT');
	$other->finish;
	green('pgqd is back', 'pgqd', qr/./);
}

sql($node, $db, q{select pgq.start_capture()});
sql($node, $db, q{select pgq.capture_table('q', 't'::regclass, 'format=sql')});
green('slot is read', 'slot', qr/./);
green('what the restart broke', 'others', qr/./);
is_deeply(doctor(), {}, 'nothing wrong once a table is captured');

sub end_slot
{
	$pgqd->stop;
	drop_slot($node, $db);
	$pgqd->start;
	return;
}

end_slot();
broken('slot missing', 'slot', qr/missing|does not exist/, 'problem', '');
green('slot is read again', 'slot', qr/./);

$pgqd->stop;
sql($node, $db, 'select pgq.stop_capture()');
broken('capture not started', 'slot', qr/not started/, 'problem', '');

# another reader has it: what it does with pg_recvlogical in its place
$pgqd->stop('KILL') if $pgqd->alive;
my $thief = IPC::Run::start(
	[
		'pg_recvlogical', '-d', $node->connstr($db), '--start', '-S',
		sql($node, $db, 'select slot_name from pgq.slot'), '-f', '/dev/null',
		'--no-loop'
	],
	\undef,
	\my $thief_out,
	\my $thief_err);
wait_for('another reader',
	sub { sql($node, $db, 'select active from pgq.get_slot_info()') eq 't' });
broken('another reader', 'slot', qr/read by another program/, 'problem', '');
$thief->finish;

# it is lost
sql($node, $db, q{alter system set max_slot_wal_keep_size = '1MB'});
$node->reload;
for (1 .. 3)
{
	sql($node, $db, 'create table x as select generate_series(1, 10000)');
	sql($node, $db, 'drop table x');
	sql($node, $db, 'select pg_switch_wal()');
}
sql($node, $db, 'checkpoint');
broken('slot lost', 'slot', qr/removed WAL/, 'problem', '');
sql($node, $db, 'alter system reset max_slot_wal_keep_size');
$node->reload;
$pgqd->start;
green('pgqd reads it', 'slot', qr/./);
green('pgqd is back', 'pgqd', qr/./);

# an older version, by its number alone: upgrade_keeps_everything has the real one

my $mark = length $pgqd->text;
sql($node, $db,
	q{update pg_extension set extversion = '3.5' where extname = 'pgq'});
is(found('older extension', 'extension', qr/is version 3\.5/, 'warning')->{sql},
	'ALTER EXTENSION pgq UPDATE;', 'with the statement');
wait_for('pgqd to see it',
	sub { substr($pgqd->text, $mark) =~ /pgq version ok: 3\.5/ });
sql($node, $db,
	"update pg_extension set extversion = '@{[pgq_version()]}' where extname = 'pgq'");
green('older extension', 'extension', qr/./);
wait_for('pgqd to begin anew',
	sub { substr($pgqd->text, $mark) =~ /ok: 3\.5.*ingest reads slot/s });

# roles

sql($node, $db, 'create role "Adm in" login');
my $connstr = $node->connstr($db) . " user='Adm in'";
{
	my $grant = found('no pgq_admin', 'roles', qr/not the rights/, 'problem',
		$connstr);
	my $attribute = found('no REPLICATION', 'roles', qr/may not read/,
		'warning', $connstr);

	apply($grant);
	apply($attribute);
	green('roles', 'roles', qr/./, $connstr);
	is_deeply(doctor($connstr), {}, 'all checks work for such a role');
}

# captures

broken('event trigger off', 'extension', qr/event trigger/, 'problem',
	'alter event trigger pgq_capture_ddl disable');
broken(
	'unlogged table', 'captures', qr/unlogged/, 'problem', q{
	alter event trigger pgq_capture_ddl disable;
	alter table t set unlogged;
	alter event trigger pgq_capture_ddl enable always;
});
broken(
	'replica identity nothing', 'captures', qr/no replica identity/,
	'problem', q{
	alter event trigger pgq_capture_ddl disable;
	alter table t replica identity nothing;
	alter event trigger pgq_capture_ddl enable always;
});
broken('TOAST', 'captures', qr/Long values/, 'warning',
	q{select pgq.capture_table('q', '"Long"'::regclass)});
broken('queue gone', 'captures', qr/does not exist/, 'problem',
	q{insert into pgq.capture values ('t'::regclass, 'no ''such'' queue')});
sql($node, $db, q{select pgq.uncapture_table('no ''such'' queue', 't')});

# transactions

sql($node, $db, q{select pgq.set_queue_config('q', 'rotation_period', '1 s')});
my $other = session($node, 'postgres');
$other->query('begin; select txid_current()');
broken('long transaction', 'transactions',
	qr/has been in a transaction/, 'warning', 'select pg_sleep(1.5)');
my $it = do
{
	my $s = session($node, $db);

	$s->query("begin; insert into t values (99); prepare transaction 'o''x'");
	$s->close;
	sql($node, $db, 'select pg_sleep(1.5)');
	found('prepared transaction', 'transactions', qr/prepared/, 'problem');
};
my ($end) = $it->{fix} =~ /(COMMIT PREPARED .*?);/;
sql($node, $db, $end);
green('prepared transaction', 'transactions', qr/prepared/);
sql($node, $db, q{select pgq.set_queue_config('q', 'rotation_period', '2 h')});

# queues and consumers

broken('paused queue', 'queues', qr/paused/, 'warning',
	q{select pgq.set_queue_config('q', 'ticker_paused', 'true')});
broken('queue that refuses', 'queues', qr/refuses/, 'warning',
	q{update pgq.queue set queue_disable_insert = true
		where queue_name = 'q'});

sql($node, $db, q{select pgq.register_consumer('q', 'it''s lazy')});
sql($node, $db, $_) foreach q{select pgq.force_tick('q')}, q{select pgq.ticker('q')};
sql($node, $db, q{update pgq.tick set tick_time = tick_time - interval '1 day'
	where tick_queue = (select queue_id from pgq.queue where queue_name = 'q')});
$it = found('lazy consumer', 'consumers', qr/lazy/, 'problem');
# who has finished all there is does not stand in the way
sql($node, $db, q{select pgq.create_queue('rests');
	select pgq.register_consumer('rests', 'has done all');
	select pgq.set_queue_config('rests', 'ticker_paused', 'true');
	update pgq.tick set tick_time = tick_time - interval '1 day'
	where tick_queue = (select queue_id from pgq.queue where queue_name = 'rests')});
green('consumer of a paused queue', 'consumers', qr/has done all/);
sql($node, $db, q{select pgq.drop_queue('rests', true)});
sql($node, $db, $1) while $it->{fix} =~ /(SELECT pgq\.unregister_.*?\));/g;
green('lazy consumer', 'consumers', qr/lazy/);
sql($node, $db, q{select pgq.unregister_consumer('q', 'c')});

$pgqd->stop;
sql($node, $db, q{update pgq.tick set tick_time = now() + interval '1 hour'});
found('clock set back', 'clock', qr/in the future/, 'warning');
sql($node, $db, q{update pgq.tick set tick_time = now()});
green('clock set back', 'clock', qr/in the future/);
sql($node, $db, q{update pgq.queue set queue_switch_time = now() - interval
	'10 hours'});
found('no rotation', 'rotation', qr/has not rotated/, 'problem');
$pgqd->start;    # as the fix says
green('no rotation', 'rotation', qr/./);

$pgqd->stop;
sql($node, $db, q{
	select pgq.register_consumer('q', 'c');
	insert into pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
		ev_txid, ev_owner, ev_retry, ev_type)
	select now() - interval '1 hour', sub_queue, 1, now(), 1, sub_id, 1, 'x'
	from pgq.subscription});
$it = found('retry', 'retry', qr/should have been retried/, 'problem');
sql($node, $db, $1) if $it->{fix} =~ /(SELECT pgq\.maint_retry_events\(\))/;
green('retry', 'retry', qr/./);
$pgqd->start;

# pgqd counts as a standby

green('pgqd is back', 'pgqd', qr/./);
green('slot is read', 'slot', qr/./);
sql($node, $db, q{alter system set synchronous_standby_names = '*'});
$node->reload;
wait_for('a synchronous pgqd',
	sub { sql($node, $db, q{select count(*) from pg_stat_replication
		where sync_state <> 'async'}) });
broken('pgqd as a standby', 'sync', qr/counts pgqd/, 'problem', '');

# a library that is not there

chomp(my $libdir = `pg_config --pkglibdir`);
SKIP:
{
	skip 'the library belongs to another user', 1 if !-w $libdir;
	rename("$libdir/pgq.so", "$libdir/pgq.away") or die $!;
	eval {
		found('no library', 'library', qr/could not access file/,
			'problem');
	};
	rename("$libdir/pgq.away", "$libdir/pgq.so") or die $!;
	green('no library', 'library', qr/./);
}

is($pgqd->stop, 0, 'pgqd ends cleanly');

# for people

my ($out, $err) = ('', '');
IPC::Run::run([ 'pgqadm', '-d', $node->connstr($db), 'doctor' ],
	\undef, \$out, \$err);
like($out, qr/^ok +wal_level$/m, 'a line for each check');
like($out, qr/^problem +pgqd +pgqd does not.*\n +fix: Start pgqd/m,
	'what is wrong and what to do');
like($out, qr/^\d+ problems, \d+ warnings$/m, 'how many');

done_testing();
