# A trouble is said once, and not shown any more when it is over: of a slot that
# is no longer wanted, of a server that was away, of a pgqd that stands by.

use strict;
use warnings;

use HTTP::Tiny;
use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $http = HTTP::Tiny->new(timeout => 20);
my @ports;

sub start
{
	push @ports, PostgreSQL::Test::Cluster::get_free_port();
	return start_pgqd($node, http_listen => "127.0.0.1:$ports[-1]");
}

sub health
{
	return $http->get("http://127.0.0.1:$_[0]/health")->{content};
}

sub up
{
	return $http->get("http://127.0.0.1:$_[0]/metrics")->{content}
	  =~ /^pgqd_database_up\{database="shop"\} (\d)$/m ? $1 : '';
}

sub becomes_healthy
{
	my ($port, $name) = @_;
	eval { wait_for('health', sub { health($port) =~ /^ok$/m }, 25) };
	like(health($port), qr/^ok$/m, $name);
	return;
}

my $first = start();
$first->wait_log(qr/serves http|without libmicrohttpd/);
plan skip_all => 'pgqd was built without libmicrohttpd'
  if $first->text =~ /without libmicrohttpd/;
$first->wait_log(qr/ingest reads slot/);
becomes_healthy($ports[0], 'all is well');

drop_slot($node, $db);
wait_for('a fault', sub { health($ports[0]) =~ /slot is missing/ });
sql($node, $db, 'select pgq.stop_capture()');
becomes_healthy($ports[0], 'a missing slot is no trouble after stop_capture');

sql($node, $db, 'select pgq.start_capture()');
my $second = start();
wait_for('one that stands by', sub { ($first->text . $second->text) =~ /stands by/ });
$node->stop('immediate');
wait_for('a fault', sub { health($_) =~ /connection/ }) foreach @ports;
is(up($_), 0, 'a database is not up while its server is away') foreach @ports;
$node->start;
becomes_healthy($_, 'well again after a restart of the server') foreach @ports;
wait_for('one to read, one to stand by', sub {
	my $text = join('', map { $http->get("http://127.0.0.1:$_/metrics")->{content} } @ports);
	return $text =~ /stands by/ && $text =~ /ingest runs/;
});
is(up($_), 1, 'then it is up') foreach @ports;
like(health($_), qr/^ok$/m, 'whether it reads the slot or stands by') foreach @ports;
foreach my $port (@ports)
{
	like($http->get("http://127.0.0.1:$port/metrics")->{content},
		qr/^pgqd_database_troubles\{database="postgres"\} 0$/m,
		'none in a database without pgq');
}

# ticks by commit fail, those of each period work; an event from SQL alone, since one
# that is captured waits in ingest, which asks the same function
sql($node, $db, q{
	select pgq.create_queue('q'), pgq.register_consumer('q', 'c');
	alter function pgq.tick(text[], xid[]) rename to no_tick;
	select pgq.insert_event('q', 'x', 'y')});
my ($reader) = grep { $_->text =~ /reads slot(?!.*stands by)/s } $first, $second;
$reader->wait_log(qr/pgq\.tick failed/);
sleep(3);
is(scalar(() = PgqTest::slurp($reader->{log}) =~ /WARNING \S+ pgq\.tick failed/g), 1,
	'a trouble that lasts is logged once');
sql($node, $db, 'alter function pgq.no_tick(text[], xid[]) rename to tick');
$reader->wait_log(qr/pgq\.tick works again/);
pass('and its end, too');

# a write that failed is over soon, though nothing comes that were to be written
sql($node, $db, q{alter function pgq.ingest(text, pg_lsn, pg_lsn, bytea) rename to no_ingest});
wait_for('a fault', sub { grep { health($_) =~ /ingest failed.*pgq\.ingest/ } @ports });
sql($node, $db, q{alter function pgq.no_ingest(text, pg_lsn, pg_lsn, bytea) rename to ingest});
ok(wait_for('an end', sub { 2 == grep { health($_) =~ /^ok$/m } @ports }, 6),
	'a failed write is told no longer than 6 s');
is($_->stop, 0, 'pgqd ends cleanly') foreach $first, $second;

done_testing();
