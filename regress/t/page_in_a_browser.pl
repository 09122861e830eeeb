
# pgqd's page in a real browser, if Chromium is installed: it asks for nothing
# but itself, what is there to see is on the screen, wide and narrow, in dark
# and light. The screenshots are left beside the logs.

use strict;
use warnings;

use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my ($chromium) = grep { -x } map { "$_/chromium" } split(/:/, $ENV{PATH});
plan skip_all => 'chromium is not installed' if !$chromium;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $port = PostgreSQL::Test::Cluster::get_free_port();

sql($node, $db, q{
	create table t (id int primary key);
	select pgq.create_queue('orders');
	select pgq.register_consumer('orders', 'mailer');
	select pgq.capture_table('orders', 't');
	create table bad (id int primary key, n int);
	select pgq.capture_table('orders', 'bad', 'ev_extra2=100/n')});
my $pgqd = start_pgqd($node, http_listen => "127.0.0.1:$port",
	stats_period => 0.2);
$pgqd->wait_log(qr/serves http|without libmicrohttpd/);
if ($pgqd->text =~ /without libmicrohttpd/)
{
	$pgqd->stop;
	plan skip_all => 'pgqd was built without libmicrohttpd';
}
sql($node, $db, 'insert into t select generate_series(1, 1000)');
sql($node, $db, 'insert into bad values (1, 0), (2, 0)');
sql($node, $db, q{alter event trigger pgq_capture_ddl disable;
	alter table t replica identity nothing;
	alter event trigger pgq_capture_ddl enable always});
wait_ingest($node, $db);
sleep 1;

# browse(ARGUMENT...): what Chromium prints of the page.
sub browse
{
	my $home = PostgreSQL::Test::Utils::tempdir();
	my ($out, $err) = ('', '');

	local $ENV{HOME} = $home;
	IPC::Run::run(
		[
			$chromium, '--headless', '--no-sandbox',
			'--disable-gpu', '--no-first-run',
			'--disable-background-networking',
			'--disable-component-update', '--disable-sync',
			"--user-data-dir=$home/profile", @_,
			"http://127.0.0.1:$port/"
		],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(120));
	return $out;
}

# width(FILE): of a PNG, and how many bytes it has.
sub png
{
	my ($file) = @_;
	my $data = -f $file ? slurp($file) : '';

	return (0, 0, 0) if $data !~ /^\x89PNG\r\n/;
	return (unpack('x16 N N', $data), length $data);
}

my $dom = browse('--dump-dom');
like($dom, qr/<h2>shop<\/h2>.*<polyline.*<td class="t">mailer<\/td>/s,
	'the browser understands it');
unlike($dom, qr/parsererror|<script/, 'without errors and scripts');

my %sizes = (
	wide => [ 1280, 900 ],
	narrow => [ 500, 1200 ],
	dark => [ 1280, 900, '--blink-settings=preferredColorScheme=0' ]);
my %bytes;
foreach my $name (sort keys %sizes)
{
	my ($width, $height, @more) = @{ $sizes{$name} };
	my $file = "$PostgreSQL::Test::Utils::log_path/page-$name.png";

	browse("--window-size=$width,$height", @more, "--screenshot=$file");
	my ($w, $h, $n) = png($file);
	is("$w x $h", "$width x $height", "screenshot: $name");
	# an empty page of this size has some 5 kB
	ok($n > 15000, 'there is something to see') or diag($n);
	$bytes{$name} = slurp($file);
}
isnt($bytes{wide}, $bytes{dark}, 'dark is another page');

is($pgqd->stop, 0, 'pgqd ends cleanly');
done_testing();
