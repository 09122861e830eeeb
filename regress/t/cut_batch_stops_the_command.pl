# A command of pgqadm consume --exec, be it a pipeline, never takes a batch that
# was cut short for a whole one: the connection is lost, or pgqadm is stopped.

use strict;
use warnings;

use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();
my $events = 20000;
my $err = '';

sql($node, $db, q{
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
});

# far more than all pipes and sockets take
sub produce
{
	sql($node, $db, qq{
		select count(pgq.insert_event('q', 't', repeat('x', 300)))
		from generate_series(1, $events);
		select pgq.force_tick('q'); select pgq.ticker()});
	return;
}

# Reads a line, waits until it may go on, and counts the lines in the end.
sub start
{
	my ($name) = @_;
	return IPC::Run::start(['pgqadm', '-d', $node->connstr($db), 'consume',
		'q', 'c', '--exec', "exec 2>&-; cat | { read -r line; touch $dir/$name.begun;"
		. " while [ ! -e $dir/$name.go ]; do sleep 0.1; done;"
		. " wc -l >> $dir/$name.count; }; true"], '<', \undef, '2>', \$err);
}

sub go_on
{
	my ($name) = @_;
	PostgreSQL::Test::Utils::append_to_file("$dir/$name.go", "\n");
	return;
}

sub counted
{
	my ($name) = @_;
	return -e "$dir/$name.count" ? PgqTest::slurp("$dir/$name.count") : '';
}

produce();
my $run = start('lost');
wait_for('the command', sub { -e "$dir/lost.begun" });
is(sql($node, $db, q{select pg_terminate_backend(pid) from pg_stat_activity
	where backend_type = 'client backend' and pid <> pg_backend_pid()}), 't',
	'its session is ended');
go_on('lost');
wait_for('the batch', sub { $run->pump_nb; counted('lost') ne '' });
sleep(1);
is(counted('lost'), ($events - 1) . "\n", 'the batch is read once, whole');
$run->signal('TERM');
$run->finish;
like($err, qr/connection lost/, 'though its connection was lost on the way');

produce();
$run = start('stopped');
wait_for('the command', sub { -e "$dir/stopped.begun" });
$run->signal('TERM');
sleep(1);
$run->signal('TERM');
$run->finish;
go_on('stopped');
sleep(1.5);
is(counted('stopped'), '', 'a second signal ends the command, too');

done_testing();
