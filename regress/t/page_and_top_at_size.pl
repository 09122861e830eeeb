
# With 1,000 queues and 5,000 consumers the page and top stay small and quick, show the
# worst first, and find a name. Prints what each of them takes; page and top are
# left in the logs.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use PgqTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_server('main', conf => "max_locks_per_transaction = 1000\n");
my $db = new_database($node, 'shop');
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $http = HTTP::Tiny->new(timeout => 60);

sql($node, $db, q{
	create table item (id serial primary key, name text);
	select count(pgq.create_queue(format('%s_%s',
		(array['orders', 'stock', 'mail', 'audit', 'search'])[1 + g % 5], g)))
	from generate_series(1, 1000) g});
sql($node, $db, q{
	select count(pgq.register_consumer(q.queue_name, c))
	from pgq.queue q, unnest(array['mailer', 'report', 'index', 'cache', 'copy']) c;
	select pgq.capture_table('orders_5', 'item');
	insert into item (name) select 'item ' || g from generate_series(1, 2000) g;
	select count(pgq.insert_event(q.queue_name, 'I', 'event ' || g))
	from pgq.queue q, generate_series(1, 20) g where q.queue_id % 20 = 0});
my $pgqd = start_pgqd($node, http_listen => $port, database_list => $db,
	ticker_period => 1, stats_period => 2);
$pgqd->wait_log(qr/serves http|without libmicrohttpd/);
plan skip_all => 'pgqd was built without libmicrohttpd'
  if $pgqd->text =~ /without libmicrohttpd/;
wait_ingest($node, $db);

# The ones to be found: one that is long away, one that is paused.
sql($node, $db, q{
	update pgq.tick set tick_time = tick_time - interval '1 day'
	from pgq.queue q where q.queue_id = tick_queue and q.queue_name = 'stock_741';
	select pgq.insert_event('stock_741', 'I', 'late ' || g) from generate_series(1, 50) g;
	select pgq.force_tick('stock_741')});
sql($node, $db, q{select pgq.ticker('stock_741'); update pgq.tick set
	tick_time = tick_time - interval '9 hours' from pgq.queue q
	where q.queue_id = tick_queue and q.queue_name = 'stock_741';
	select pgq.force_tick('stock_741')});
sql($node, $db, q{select pgq.ticker('stock_741');
	select pgq.set_queue_config('audit_333', 'ticker_paused', 'true')});

sub timed
{
	my ($what, $sub) = @_;
	my $begin = time();
	my $text = $sub->();

	diag(sprintf('%-28s %7.0f ms %9d bytes', $what, (time() - $begin) * 1000, length $text));
	return $text;
}

sub page
{
	my ($path) = @_;
	my $r = $http->get("http://127.0.0.1:$port$path");

	is($r->{status}, 200, $path) if $path ne '/health';
	return $r->{content};
}

sub keep
{
	my ($file, $text) = @_;
	open(my $out, '>', "$PostgreSQL::Test::Utils::log_path/$file") or die;
	print $out $text;
	close($out);
	return;
}

wait_for('what is wrong', sub { page('/') =~ /<p class="warning">/ });
wait_for('a sample of all', sub {
	page('/') =~ /<\/th><\/tr>\s*<tr><td class="t">\w+<\/td><td class="t">stock_741<.*/s });
my $connstr = $node->connstr($db);

timed('/health', sub { page('/health') });
timed('/metrics', sub { page('/metrics') });
my $page = timed('/', sub { page('/') });
keep('page.html', $page);
cmp_ok(length $page, '<', 150_000, 'the page is small');
like($page, qr/<p class="warning">[^<]*consumer &quot;\w+&quot; of queue &quot;stock_741&quot; is/,
	'it says what is wrong');
my ($queues, $consumers) = $page =~ /(<table>.*?<\/table>)/gs;
like($queues, qr/<\/th><\/tr>\s*<tr><td class="t">audit_333</, 'the worst queue is first');
my ($table) = $page =~ /(<table><tr><th class="t">Consumer.*?<\/table>)/s;
like($table, qr/<\/th><\/tr>\s*<tr><td class="t">\w+<\/td><td class="t">stock_741</,
	'the consumer farthest behind is first');
like($page, qr/\d more, idle/, 'what is idle is folded');
like($page, qr/more, not shown: <a href="\/\?all=1/, 'and what is too much is left out');

my $some = timed('/?filter=SEARCH_99', sub { page('/?filter=SEARCH_99') });
keep('filtered.html', $some);
like($some, qr/<td class="t">search_999</, 'a filter finds a queue');
unlike($some, qr/<td class="t">(?:orders|mail)_/, 'and nothing else');
like($some, qr/value="SEARCH_99"/, 'and stays in its field');
my $odd = page('/?filter=%22%3E%3Cscript%3E');
unlike($odd, qr/<script/, 'a filter is text');
like($odd, qr/value="&quot;&gt;&lt;script&gt;"/, 'as it was written');
my $all = timed('/?all=1', sub { page('/?all=1') });
is(scalar(() = $all =~ /<td class="t">(?:orders|stock|mail|audit|search)_\d+</g), 6000,
	'all are there for who asks');

my $top = timed('pgqadm top --once', sub { `pgqadm -d '$connstr' top --once --interval 0.5` });
keep('top.txt', $top);
cmp_ok(scalar(() = $top =~ /\n/g), '<', 400, 'top folds what is idle');
like($top, qr/^Queue .*\naudit_333 /m, 'the worst queue is first');
like($top, qr/^Consumer .*\nstock_741\/\w/m, 'the consumer farthest behind is first');
like($top, qr/^\d+ more, idle$/m, 'the others are counted');
my $found = timed('pgqadm top --filter', sub {
	`pgqadm -d '$connstr' top --once --interval 0.5 --filter Search_99` });
like($found, qr/^search_999 /m, 'a filter finds a queue');
like($found, qr/^search_999\/mailer /m, 'and its consumers');
unlike($found, qr/^(?:orders|mail)_/m, 'and nothing else');
timed('pgqadm status', sub { `pgqadm -d '$connstr' status` });
timed('pgqadm doctor', sub { `pgqadm -d '$connstr' doctor` });
timed('pgq.get_problems()', sub { sql($node, $db, 'select * from pgq.get_problems()') });

is($pgqd->stop, 0, 'pgqd ends cleanly');
done_testing();
