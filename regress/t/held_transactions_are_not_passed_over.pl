# A walsender that holds small transactions back, to send several of them at once,
# sends them before it waits for WAL, and says itself how far it is: no keepalive
# that it may have sent meanwhile lets pgqd pass over them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PgqProxy;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $small = 500;
my $slot = sql($node, $db, 'select slot_name from pgq.slot');

sql($node, $db, q{
	create table item (id int primary key);
	select pgq.create_queue('q');
	select pgq.capture_table('q', 'item')});

# read_slot(HOLD_BACK): pg_recvlogical in the background, what it has in $r->{out}
sub read_slot
{
	my ($hold_back) = @_;
	my $r = { out => '', err => '' };

	$r->{h} = IPC::Run::start(
		[
			'pg_recvlogical', '-d', $node->connstr($db), '-S', $slot, '--start',
			'-f', '-', '-o', 'format=frames', '-o', 'proto_version=1', '-o',
			"hold_back=$hold_back"
		], '>', \$r->{out}, '2>', \$r->{err});
	return $r;
}

sub stop_reading
{
	my ($r) = @_;

	$r->{h}->signal('KILL');
	eval { $r->{h}->finish };
	wait_for('the slot to be let go', sub {
		sql($node, $db, "select not active from pg_replication_slots
			where slot_name = '$slot'") eq 't' });
	return;
}

# messages(TEXT): how many messages with frames, and the LSNs of their C frames;
# pg_recvlogical ends each message with a line feed
sub messages
{
	my ($text) = @_;
	my ($n, $at, @commits) = (0, 0);

	while ($at < length($text))
	{
		if (substr($text, $at, 1) eq "\n")
		{
			$n++;
			$at++;
			next;
		}
		last if length($text) < $at + 13;
		my ($tag, $len) = unpack('aN', substr($text, $at, 5));
		push @commits, unpack('Q>', substr($text, $at + 5, 8)) if $tag eq 'C';
		$at += 5 + $len;
	}
	return ($n, @commits);
}

# the whole is there when so many transactions have come
sub read_all
{
	my ($hold_back, $n) = @_;
	my $r = read_slot($hold_back);
	my @all;

	wait_for("$n transactions", sub {
		$r->{h}->pump_nb;
		die $r->{err} if $r->{err} =~ /ERROR/;
		@all = messages($r->{out});
		# messages end behind their last transaction
		return @all - 1 >= $n && $r->{out} =~ /\n\z/;
	});
	stop_reading($r);
	return @all;
}

my $reader = read_slot('true');
wait_for('the slot to be read', sub {
	sql($node, $db, "select active from pg_replication_slots
		where slot_name = '$slot'") eq 't' });
sql($node, $db, 'insert into item values (0)');
wait_for('a transaction that nothing follows', sub {
	$reader->{h}->pump_nb;
	return (messages($reader->{out}))[1];
});
pass('a walsender that waits holds nothing back');
stop_reading($reader);

sql($node, $db, "do \$\$ begin for i in 1..$small loop
	insert into item values (i); commit; end loop; end \$\$");
my ($single, @commits) = read_all('false', $small + 1);
my ($together, @held) = read_all('true', $small + 1);
cmp_ok($single, '>=', $small, "$single messages when nothing is held back");
cmp_ok($together, '<', $small / 4, "$together when small transactions are");
is_deeply(\@held, \@commits, 'the same transactions in the same order');

my $refused = read_slot('maybe');
wait_for('the refusal', sub {
	$refused->{h}->pump_nb;
	return $refused->{err} =~ /invalid value "maybe" for option "hold_back"/;
});
stop_reading($refused);

# Whoever asks in a function gets all at once, whatever the option says.
is(sql($node, $db, "select count(*) from pg_logical_slot_peek_binary_changes('$slot',
	null, null, 'format', 'frames', 'proto_version', '1', 'hold_back', 'true')"),
	$single, 'an SQL function holds nothing back');

# A keepalive may overtake what is held back. Here each tells of a megabyte that is
# not there, and commits wait for pgqd, so the position follows the stream closely.
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $forge = qr/d\0\0\0\x16k(.{8})(.{9})/s;
my $proxy = PgqProxy->new($node->host, $node->port, $dir, sub {
	$_[0] =~ s/$forge/"d\0\0\0\x16k" . pack('Q>', unpack('Q>', $1) + 1048576) . $2/ge;
});

sql($node, 'postgres', q{alter system set synchronous_standby_names = '*'});
sql($node, 'postgres', 'select pg_reload_conf()');
my $pgqd = start_pgqd($node, base_connstr => "host=$dir port=" . $node->port,
	database_list => $db);
my $queued = sub {
	my ($n) = @_;
	wait_for("$n events", sub {
		sql($node, $db, 'select count(*) from pgq.event_template') eq $n });
};
$pgqd->wait_log(qr/own walsender counts as a synchronous standby/);
$queued->($small + 1);
sql($node, $db, 'set synchronous_commit = local; insert into item values (-1)');
$queued->($small + 2);
sql($node, $db, 'create table other (id int); insert into other values (1)');
pass('a commit that waits for pgqd and has nothing for it comes back');
is(sql($node, $db, 'select max(pos_lsn) <= pg_current_wal_insert_lsn() from pgq.position'),
	't', 'the position does not go past what has come');
sql($node, $db, 'set synchronous_commit = local; insert into item values (-2)');
$queued->($small + 3);
is(sql($node, $db, 'select count(distinct ev_data) from pgq.event_template'), $small + 3,
	'each event is in the queue once');
sql($node, 'postgres', 'alter system reset synchronous_standby_names');
sql($node, 'postgres', 'select pg_reload_conf()');

# No commit waits any more, and nobody wants what is written.
my $end = sql($node, $db, q{insert into other select generate_series(1, 20000);
	select pg_current_wal_insert_lsn()});
wait_for('a slot that has nothing to do to move on', sub {
	sql($node, $db, "select confirmed_flush_lsn >= '$end'::pg_lsn - 65536
		from pg_replication_slots where slot_name = '$slot'") eq 't' });
pass('the slot follows WAL that has nothing for it');
$pgqd->stop;
$proxy->stop;

done_testing();
