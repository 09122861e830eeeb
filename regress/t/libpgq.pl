
# libpgq: work done through the batch's own connection is there exactly once,
# whatever happens before the batch is finished; retries; calls out of turn.

use strict;
use warnings;

use PgqTest;
use Test::More;
use File::Basename;
use IPC::Run;

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $source = dirname($0) . '/libpgq_client.c';
chomp(my $libdir = `pg_config --libdir`);
my $built = system(
	"cc -Wall -Wextra -o $tmp/client $source"
	  . " \$(PKG_CONFIG_PATH=$libdir/pkgconfig pkg-config --cflags --libs libpgq)") == 0;
ok($built, 'a client builds with what pkg-config says') or BAIL_OUT('no client');
$ENV{LD_LIBRARY_PATH} = join(':', $libdir, $ENV{LD_LIBRARY_PATH} // ());

my $node = new_server('main');
new_database($node, 'shop', slot => 0);
sql($node, 'shop', q{
	create table copy (data text);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c')});

sub produce
{
	my (@data) = @_;
	my $s = session($node, 'shop');

	$s->query("select count(pgq.insert_event('q', 't', d))"
		  . " from unnest('{@{[join(',', @data)]}}'::text[]) d");
	$s->query("select pgq.force_tick('q')");
	$s->query("select pgq.ticker('q')");
	$s->close;
	return;
}

# Runs the client: exit status and what it prints.
sub client
{
	my ($mode, $consumer, $more) = @_;
	my $out = '';

	IPC::Run::run([ "$tmp/client", $node->connstr('shop') . ($more // ''), 'q',
			$consumer // 'c', $mode ],
		\undef, \$out, '2>', '/dev/null', IPC::Run::timeout(60));
	return $? . $out;
}

sub copied
{
	return sql($node, 'shop', "select count(*) || ' ' ||
		count(distinct data) from copy where data ~ '^$_[0]'");
}

produce(map { "a$_" } 1 .. 3000);
is(client('copy'), '0', 'three pages are read');
is(copied('a'), '3000 3000', 'each event was copied');

produce((map { "b$_" } 1 .. 1500), 'die', 'bx');
unlike(client('copy'), qr/^0/, 'it dies in the batch');
is(copied('b'), '0 0', 'nothing of the batch was kept');
unlike(client('copy'), qr/^0/, 'it dies again');
sql($node, 'shop', "select pgq.finish_batch(current_batch)
	from pgq.get_consumer_info('q', 'c')");
is(client('copy'), '0', 'until somebody skips the batch');

produce('again', 'c1');
is(client('copy'), '0', 'an event is retried');
is(copied('again'), '0 0', 'not copied yet');
sql($node, 'shop', 'select pgq.maint_retry_events()');
produce('c2');
is(client('copy'), '0', 'the retry comes');
is(copied('(again|c)'), '3 3', 'and is copied once');

produce('d');
is(client('misuse'), "0ok\n", 'calls out of turn are refused');
is(client('copy'), '0', 'and leave the batch for the next');
is(copied('d'), '1 1', 'once');
produce('e1', 'e2');
is(client('renew'), "0ok\n", 'a share is renewed without a transaction');
sql($node, 'shop', q{update pgq.share set sh_until = now()});
like(client('copy', 'stranger'),
	qr/^256batch: \w{5}\|Not subscriber to queue: q\/stranger\|/,
	'a consumer that is not registered');

is(client('session'), "0keepalives_idle=60\ntcp_user_timeout=120000\n",
	'a server that is gone without a word is noticed');
is(client('session', 'c', ' tcp_user_timeout=7'),
	"0keepalives_idle=60\ntcp_user_timeout=7\n", 'when the connect string says');

done_testing();
