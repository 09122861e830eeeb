
# What the TAP tests share: a server fit for capture, pgqd processes that can be
# killed, psql sessions that stay open, and reading a queue as a consumer does.
#
# scripts/check sets PGQ_CONF (settings of the servers) and the PATH.

package PgqTest;

use strict;
use warnings;

use Exporter 'import';
use Time::HiRes qw(sleep time);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  new_server new_database sql session start_pgqd commits_wait_for_nobody
  drop_slot wait_for wait_ingest consume consume_json slurp
  ingest_by_hand load_start load_stop load_kill pgq_version
);

# Seconds that any wait may take before the test fails.
our $patience = $ENV{PGQ_PATIENCE} // 60;

my @daemons;
my @sessions;
my @loads;

# new_server(NAME, conf => TEXT, install_path => DIR): a started
# PostgreSQL::Test::Cluster. install_path is the folder above bin/ of
# another installation than that in the PATH.
sub new_server
{
	my ($name, %opt) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name,
		map { $_ => $opt{$_} } grep { $opt{$_} } 'install_path');

	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf',
		slurp($ENV{PGQ_CONF}) . "log_statement = none\n");
	$node->append_conf('postgresql.conf', $opt{conf}) if $opt{conf};
	$node->start;
	return $node;
}

# new_database(NODE, NAME): a database with the extension and a slot.
# slot => 0 leaves the slot out.
sub new_database
{
	my ($node, $db, %opt) = @_;

	sql($node, 'postgres', "create database \"$db\"");
	sql($node, $db, 'create extension pgq');
	sql($node, $db, 'select pgq.start_capture()') if $opt{slot} // 1;
	return $db;
}

# sql(NODE, DATABASE, TEXT): runs it in a session of its own, dies on errors;
# the output as psql -At prints it.
sub sql
{
	my ($node, $db, $text) = @_;
	return $node->safe_psql($db, $text);
}

# pgq_version(): which one is installed, by the extension's control file
sub pgq_version
{
	chomp(my $sharedir = `pg_config --sharedir`);

	return slurp("$sharedir/extension/pgq.control") =~ /^default_version = '(.*)'$/m
	  ? $1
	  : die 'no version in pgq.control';
}

sub slurp
{
	my ($file) = @_;
	open(my $fh, '<', $file) or die "can't read $file: $!";
	local $/;
	my $text = <$fh>;
	close $fh;
	return $text // '';
}

# wait_for(WHAT, SUB [, SECONDS]): until SUB returns something true, which is
# returned. Dies when it takes too long.
sub wait_for
{
	my ($what, $sub, $seconds) = @_;
	my $end = time() + ($seconds // $patience);

	while (time() < $end)
	{
		my $result = $sub->();
		return $result if $result;
		sleep(0.05);
	}
	die "gave up waiting: $what\n";
}

# wait_ingest(NODE, DATABASE): until all that is committed now is in the queues.
# Unlike pgq.wait_ingest alone it bears a pgqd that is not there yet, and a
# problem that pgqd has not yet seen to be gone.
sub wait_ingest
{
	my ($node, $db) = @_;

	wait_for(
		"ingest of $db",
		sub {
			my ($rc, $out) = $node->psql($db,
				"select pgq.wait_ingest(pg_current_wal_insert_lsn(), '5 s')");
			return $rc == 0 && $out eq 't';
		});
	return;
}

# commits_wait_for_nobody(NODE): from now on commits wait for a synchronous standby,
# "nobody", that never comes. Whether they wait is the checkpointer's word, which
# takes a new setting later than a backend that shows it does; so until a commit
# has waited, nothing is known.
sub commits_wait_for_nobody
{
	my ($node) = @_;
	my $s = session($node, 'postgres');
	my $pid = $s->query(
		"set synchronous_commit = on; select pg_backend_pid()");

	sql($node, 'postgres',
		q{alter system set synchronous_standby_names = 'nobody'});
	$node->reload;
	wait_for(
		'a commit that waits',
		sub {
			if (!$s->busy)
			{
				$s->answer;
				$s->send(q{select pg_logical_emit_message(true, 'test', '')});
			}
			return sql($node, 'postgres', "select pg_cancel_backend(pid)
				from pg_stat_activity where pid = $pid
				and wait_event = 'SyncRep'") eq 't';
		});
	$s->answer;
	$s->close;
	return;
}

# drop_slot(NODE, DATABASE): its slot is lost. Whoever reads it is ended first; he is
# back within moments, and a session of one who has gone ends a little later.
sub drop_slot
{
	my ($node, $db) = @_;

	sql($node, $db, q{do $$
		begin
			for i in 1 .. 6000 loop
				begin
					perform pg_terminate_backend(s.active_pid)
					from pgq.slot join pg_replication_slots s using (slot_name)
					where s.active_pid is not null;
					perform pg_drop_replication_slot(slot_name) from pgq.slot;
					return;
				exception when object_in_use then
					perform pg_sleep(0.01);
				end;
			end loop;
			raise 'the slot is never free';
		end $$});
	return;
}

# consume(NODE, DATABASE, QUEUE, CONSUMER [, EXPRESSION]): reads and finishes
# all batches up to a fresh tick. One string an event: EXPRESSION over the
# columns of get_batch_events, which must not hold newlines.
sub consume
{
	my ($node, $db, $queue, $consumer, $expr) = @_;
	my $s = session($node, $db);
	my @rows;

	$expr //= "concat_ws('|', ev_type, ev_data, ev_extra1)";
	$s->query("select pgq.force_tick('$queue'); select pgq.ticker('$queue')");
	while ((my $batch = $s->query("select pgq.next_batch('$queue', '$consumer')"))
		ne '')
	{
		my $out = $s->query(
			"select $expr from pgq.get_batch_events($batch) order by ev_id");
		push @rows, split(/\n/, $out, -1) if $out ne '';
		$s->query("select pgq.finish_batch($batch)");
	}
	$s->close;
	return \@rows;
}

# consume_json(...): as consume(), each event a hash of its columns.
sub consume_json
{
	my ($node, $db, $queue, $consumer) = @_;
	require JSON::PP;
	my $json = JSON::PP->new->utf8(0);
	my $rows = consume($node, $db, $queue, $consumer,
		"jsonb_build_object('ev_id', ev_id, 'ev_type', ev_type,"
		  . " 'ev_data', ev_data, 'ev_extra1', ev_extra1,"
		  . " 'ev_extra2', ev_extra2, 'ev_extra3', ev_extra3,"
		  . " 'ev_extra4', ev_extra4, 'ev_txid', ev_txid,"
		  . " 'ev_retry', ev_retry)");

	return [ map { $json->decode($_) } @$rows ];
}

# ingest_by_hand(NODE, DATABASE): what pgqd would do next, as the text of one
# call of pgq.ingest() with all that the slot has now; '' if that is nothing.
# For tests that need to stand between the steps.
sub ingest_by_hand
{
	my ($node, $db) = @_;

	sql(
		$node, $db, q{
		select pg_replication_slot_advance(slot_name, (select max(pos_lsn)
			from pgq.position where pos_slot = slot_name)) from pgq.slot});
	return sql(
		$node, $db, q{
		with slot as (
			select slot_name, (select max(pos_lsn) from pgq.position
			                   where pos_slot = slot_name) as at
			from pgq.slot),
		change as (
			select c.ord, c.data, slot.*
			from slot, pg_logical_slot_peek_binary_changes(slot_name, null,
				null, 'format', 'frames', 'proto_version', '1')
				with ordinality as c (lsn, xid, data, ord)),
		stream as (
			select slot_name, at, string_agg(data, '' order by ord) as frames
			from change group by slot_name, at)
		-- the last frame is a C: 28 bytes of body, the LSN first
		select format('select pgq.ingest(%L, %L, %L, %L)', slot_name, at,
			'0/0'::pg_lsn + ('x' || encode(substr(frames,
				length(frames) - 27, 8), 'hex'))::bit(64)::int8::numeric,
			frames)
		from stream});
}

# load_start(NODE, DATABASE, SCRIPT, ARGUMENT...): pgbench in the background.
sub load_start
{
	my ($node, $db, $script, @args) = @_;
	my $load = { out => '', err => '', name => "pgbench" };
	my @file;

	if (defined $script)
	{
		my $file = PostgreSQL::Test::Utils::tempdir() . "/script.sql";
		PostgreSQL::Test::Utils::append_to_file($file, $script);
		@file = ('-f', $file);
	}
	$load->{h} = IPC::Run::start(
		[
			'pgbench', '-n', @file, @args,
			'-h', $node->host, '-p', $node->port, $db
		],
		\undef,
		\$load->{out},
		\$load->{err});
	push @loads, $load;
	return $load;
}

# load_stop(LOAD): waits for its end, dies if it failed.
sub load_stop
{
	my ($load) = @_;

	@loads = grep { $_ != $load } @loads;
	IPC::Run::finish($load->{h})
	  or die "load failed: $load->{out}\n$load->{err}\n";
	return $load->{out};
}

# load_kill(LOAD): ends it amid what it does.
sub load_kill
{
	my ($load) = @_;

	@loads = grep { $_ != $load } @loads;
	$load->{h}->signal('TERM');
	IPC::Run::finish($load->{h});
}

# session(NODE, DATABASE): a psql that stays open, see package Session below.
sub session
{
	my ($node, $db) = @_;
	my $s = PgqTest::Session->new($node, $db);

	push @sessions, $s;
	return $s;
}

# start_pgqd(NODE, key => value ...): pgqd with this ini, see package Pgqd; sources are
# sections: sources => { NAME => { key => value ... } ... }
sub start_pgqd
{
	my ($node, %ini) = @_;
	my $d = PgqTest::Pgqd->new($node, %ini);

	push @daemons, $d;
	return $d;
}

END
{
	my $rc = $?;

	$_->{pid} && $_->kill9 foreach @daemons;
	$_->close foreach @sessions;
	eval { IPC::Run::kill_kill($_->{h}) } foreach @loads;
	$? = $rc;
}

# A psql that stays open. query() waits for the answer; send() does not, then
# busy() tells whether it is still at it and answer() waits for it.
package PgqTest::Session;

use strict;
use warnings;

sub new
{
	my ($class, $node, $db) = @_;
	my $self = bless { in => '', out => '', err => '', n => 0, answered => 0 },
	  $class;

	$self->{timer} = IPC::Run::timer($PgqTest::patience * 3);
	$self->{h} = IPC::Run::start(
		[
			'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d',
			$node->connstr($db)
		],
		\$self->{in},
		\$self->{out},
		\$self->{err},
		$self->{timer});
	return $self;
}

sub send
{
	my ($self, $text) = @_;

	$self->{n}++;
	$self->{in} .= "$text;\n\\echo __end_$self->{n}__\n";
	$self->{h}->pump_nb;
	return;
}

sub busy
{
	my ($self) = @_;

	$self->{h}->pump_nb;
	return $self->{answered} < $self->{n}
	  && $self->{out} !~ /__end_$self->{n}__\n/;
}

# The output of the statement sent last, once. Its errors are left in {err}.
sub answer
{
	my ($self) = @_;
	my $out;

	return '' if $self->{answered} == $self->{n};
	$self->{timer}->start($PgqTest::patience * 3);
	$self->{h}->pump while $self->{out} !~ /__end_$self->{n}__\n/;
	($out = $self->{out}) =~ s/\n?__end_\d+__\n//;
	$self->{out} = '';
	$self->{answered} = $self->{n};
	return $out;
}

# Runs it, waits and returns the output; dies on an error.
sub query
{
	my ($self, $text) = @_;
	my $out;

	$self->{err} = '';
	$self->send($text);
	$out = $self->answer;
	die "$text\n$self->{err}" if $self->{err} =~ /ERROR|FATAL|PANIC/;
	return $out;
}

# Runs it, waits and returns the SQLSTATE, '' if there was no error.
sub sqlstate
{
	my ($self, $text) = @_;

	$self->{err} = '';
	$self->send($text);
	$self->answer;
	# psql's two pipes are not in step
	for (my $i = 0; $i < 20 && $self->{err} eq ''; $i++)
	{
		Time::HiRes::sleep(0.01);
		$self->{h}->pump_nb;
	}
	return $self->{err} =~ /(?:ERROR|FATAL):  (\w{5}):/ ? $1 : '';
}

sub close
{
	my ($self) = @_;

	return if !$self->{h};
	$self->{in} .= "\\q\n";
	eval { $self->{h}->finish };
	eval { $self->{h}->kill_kill };
	$self->{h} = undef;
	return;
}

# One pgqd process, in the foreground, with an ini file and a log of its own.
package PgqTest::Pgqd;

use strict;
use warnings;

my $count = 0;

sub new
{
	my ($class, $node, %ini) = @_;
	my $base = PostgreSQL::Test::Utils::tempdir() . "/pgqd" . ++$count;
	my $log = "$PostgreSQL::Test::Utils::log_path/pgqd$count.log";
	my $self = bless { ini => "$base.ini", log => $log }, $class;
	my $sources = delete $ini{sources} // {};

	# every period short, so that tests don't wait
	%ini = (
		base_connstr => 'host=' . $node->host . ' port=' . $node->port,
		initial_database => 'postgres',
		logfile => $self->{log},
		pidfile => "$base.pid",
		syslog => 0,
		check_period => 1,
		retry_period => 1,
		maint_period => 2,
		ticker_period => 0.5,
		stats_period => 1,
		%ini);
	open(my $fh, '>', $self->{ini}) or die $!;
	print $fh "[pgqd]\n";
	print $fh "$_ = $ini{$_}\n" foreach sort keys %ini;
	foreach my $name (sort keys %$sources)
	{
		my $keys = $sources->{$name};

		print $fh "\n[source $name]\n";
		print $fh "$_ = $keys->{$_}\n" foreach sort keys %$keys;
	}
	CORE::close($fh);
	$self->start;
	return $self;
}

# Returns when the program is loaded: until then a signal would end a copy of this
# test, with its END blocks.
sub start
{
	my ($self) = @_;

	# closed by exec
	pipe(my $loaded, my $loading) or die "pipe: $!";
	my $pid = fork() // die "fork: $!";

	if (!$pid)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', "$self->{log}.stdout");
		open(STDERR, '>&', \*STDOUT);
		exec('pgqd', $self->{ini}) or POSIX::_exit(127);
	}
	CORE::close($loading);
	readline($loaded);
	$self->{pid} = $pid;
	return;
}

sub signal
{
	my ($self, $signal) = @_;
	return kill($signal, $self->{pid});
}

sub kill9
{
	my ($self) = @_;

	kill('CONT', $self->{pid});
	kill('KILL', $self->{pid});
	waitpid($self->{pid}, 0);
	$self->{pid} = undef;
	return;
}

# Ends it with SIGINT and waits; its exit code, 'signal N', or 'late' after the
# patience.
sub stop
{
	my ($self, $signal) = @_;
	my $rc;

	kill($signal // 'INT', $self->{pid});
	$rc = eval { $self->wait_end; };
	if (!defined $rc)
	{
		$self->kill9;
		return 'late';
	}
	return $rc;
}

# Waits until it has ended by itself; its exit code, or the signal that ended it.
sub wait_end
{
	my ($self) = @_;
	my $rc;

	PgqTest::wait_for(
		'end of pgqd',
		sub {
			return 0 if waitpid($self->{pid}, POSIX::WNOHANG()) == 0;
			$rc = $? & 127 ? "signal $?" : $? >> 8;
			return 1;
		},
		20);
	$self->{pid} = undef;
	return $rc;
}

sub alive
{
	my ($self) = @_;

	return 0 if !$self->{pid};
	if (waitpid($self->{pid}, POSIX::WNOHANG()) != 0)
	{
		$self->{pid} = undef;
		return 0;
	}
	return 1;
}

# All it has logged so far.
sub text
{
	my ($self) = @_;
	return join('',
		map { -f $_ ? PgqTest::slurp($_) : '' }
		  ($self->{log}, "$self->{log}.stdout"));
}

# Waits until it has logged something like this.
sub wait_log
{
	my ($self, $like) = @_;

	PgqTest::wait_for("pgqd to log $like", sub { $self->text =~ $like; });
	return;
}

require POSIX;
require IPC::Run;

1;
