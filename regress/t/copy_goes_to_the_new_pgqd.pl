# A second pgqd that takes over in the middle of a copy begins it anew, and the
# first one, which comes to life again, leaves it alone.

use strict;
use warnings;

use PgqCopy;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('main', conf => "wal_sender_timeout = 3s\n");
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id int primary key, n int);
	insert into t select i, 0 from generate_series(1, 4000) i;
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
});
my $first = start_pgqd($node);
$first->wait_log(qr/ingest reads slot/);
my $second = start_pgqd($node);
$second->wait_log(qr/stands by/);

sql($node, $db, q{select pgq.capture_table('q', 't'::regclass, 'copy',
	'when=length(repeat(md5(id::text), 4000)) > 0')});
wait_for('the copy', sub {
	sql($node, $db, q{select copied_rows > 0 from pgq.get_copy_info()}) eq 't';
});
$first->signal('STOP');
# both tell of changes that come meanwhile
sql($node, $db, 'insert into t values (10001, 0); update t set n = 1 where id < 10');
$second->wait_log(qr/copies table public\.t/);
$first->signal('CONT');
wait_copied($node, $db);
foreach my $case ([ $first, 'first' ], [ $second, 'second' ])
{
	my $n = () = slurp($case->[0]{log}) =~ /copies table/g;
	is($n, 1, "the $case->[1] one began it once");
}
unlike($first->text, qr/copied table/, 'the first one did not end it');
sql($node, $db, 'delete from t where id = 20');
wait_ingest($node, $db);

my $r = new_replica($node, $db, 'q', 'c');
replica_read($r);
replica_is($r, 'after the change', 'public.t');
is($second->stop, 0, 'the second pgqd ends cleanly');

done_testing();
