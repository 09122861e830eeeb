# A backlog for many queues is written though the server has room for few locks: a
# group feeds no more of them than that.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main',
	conf => "max_connections = 20\nmax_locks_per_transaction = 10\n");
my $db = new_database($node, 'shop');
my $queues = 600;

sql($node, $db, "do \$\$ begin for i in 1..$queues loop
	perform pgq.create_queue('q' || i); commit; end loop; end \$\$");
sql($node, $db, "do \$\$ begin for i in 1..$queues loop
	perform pgq.emit_event('q' || i, 't', 'x'); commit; end loop; end \$\$");

my $pgqd = start_pgqd($node);
wait_ingest($node, $db);
# one by one, for want of locks
my $counts = sql($node, $db,
	"select 'select count(*) from ' || queue_data_pfx from pgq.queue\n\\gexec");
is($counts =~ tr/\n//dr, '1' x $queues, 'each event is in its queue');
unlike($pgqd->text, qr/out of shared memory/, 'no group was too large');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
