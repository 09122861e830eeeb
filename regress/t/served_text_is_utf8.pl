# What pgqd serves is UTF-8, whatever the encoding of a database: one byte that
# is not would make Prometheus throw away the answer about all databases.

use strict;
use warnings;

use HTTP::Tiny;
use PgqTest;
use Test::More;

my $node = new_server('main');
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $http = HTTP::Tiny->new(timeout => 20);

foreach my $encoding ('latin1', 'sql_ascii')
{
	sql($node, 'postgres', "create database $encoding template template0"
		. " encoding '$encoding' locale 'C'");
	sql($node, $encoding, qq{
		set client_encoding = '$encoding';
		create extension pgq;
		select pgq.create_queue(convert_from('\\x62fc63686572', '$encoding'));
		select pgq.set_queue_config(convert_from('\\x62fc63686572', '$encoding'),
			'ticker_paused', 'true')});
}
my $pgqd = start_pgqd($node, database_list => 'latin1, sql_ascii',
	http_listen => "127.0.0.1:$port", stats_period => 0.5);
$pgqd->wait_log(qr/serves http|without libmicrohttpd/);
plan skip_all => 'pgqd was built without libmicrohttpd'
  if $pgqd->text =~ /without libmicrohttpd/;

my $text;
wait_for('both queues', sub {
	$text = $http->get("http://127.0.0.1:$port/metrics")->{content};
	return 2 == grep { /^pgq_queue_tick_age_seconds\{/ } split(/\n/, $text);
});
like($text, qr/\{database="latin1",queue="b\xc3\xbccher"\}/, 'LATIN1 is converted');
like($text, qr/\{database="sql_ascii",queue="b\?cher"\}/,
	'what cannot be known is replaced');
foreach my $path ('/metrics', '/health', '/')
{
	my $served;
	wait_for("$path to tell of the queue", sub {
		$served = $http->get("http://127.0.0.1:$port$path")->{content};
		return $served =~ /cher/;
	});
	like($served, qr/cher/, "$path tells of the queue");
	ok(utf8::decode($served), 'in UTF-8');
}
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
