
# /metrics is in Prometheus' format to the letter and tells the truth; /health
# turns red and green again; / needs nothing from elsewhere.

use strict;
use warnings;

use FindBin;
use PgqTest;
use HTTP::Tiny;
use IO::Socket::INET;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $odd = q{a "queue" \ with <odd> & name};
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $http = HTTP::Tiny->new(timeout => 20);

sub get
{
	my ($path) = @_;
	return $http->get("http://127.0.0.1:$port$path");
}

# Not healthy, for this reason.  There may be another one first.
sub is_red
{
	my ($what, $why) = @_;

	wait_for("red $what", sub {
		my $r = get('/health');
		$r->{status} == 503 && $r->{content} =~ $why });
	pass("red $what");
	return;
}

sql($node, $db, q{
	create table t (id int primary key, n int);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'::regclass);
	select pgq.create_queue('paused');
	select pgq.set_queue_config('paused', 'ticker_paused', 'true');
	select pgq.register_consumer('paused', 'has done all');
	update pgq.tick set tick_time = tick_time - interval '1 day'
	where tick_queue = (select queue_id from pgq.queue where queue_name = 'paused');
});
sql($node, $db, "select pgq.create_queue(\$\$$odd\$\$)");

my $pgqd = start_pgqd($node, http_listen => "127.0.0.1:$port",
	ticker_period => 0.2, stats_period => 0.3);
$pgqd->wait_log(qr/serves http|without libmicrohttpd/);
plan skip_all => 'pgqd was built without libmicrohttpd'
  if $pgqd->text =~ /without libmicrohttpd/;
wait_for('health', sub { get('/health')->{status} == 200 });
like(get('/health')->{content}, qr/^ok$/m, 'all is well');

sql($node, $db, 'insert into t select g, g from generate_series(1, 123) g');
wait_ingest($node, $db);

# metrics(): { name => { labels => value } }; fails on a line that is not in
# the format, and on values apart from their metric's head.
sub metrics
{
	my ($response) = @_;
	my (%value, %type, %seen, $current);
	my $name = qr/[a-zA-Z_:][a-zA-Z0-9_:]*/;
	my $label = qr/[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"/;
	my $bad = 0;

	my $text = $response->{content};
	like($text, qr/\n\z/, 'ends with a newline');
	foreach my $line (split(/\n/, $text))
	{
		if ($line =~ /^# HELP ($name) \S.*$/)
		{
			$bad++, diag("twice: $1") if $seen{$1}++;
			$current = $1;
		}
		elsif ($line =~ /^# TYPE ($name) (counter|gauge)$/)
		{
			my ($metric, $type) = ($1, $2);

			$bad++, diag("not after its HELP: $line") if $metric ne $current;
			$bad++, diag("a counter's name ends in _total: $line")
			  if ($type eq 'counter') != ($metric =~ /_total$/);
			$type{$metric} = $type;
		}
		elsif ($line =~
			/^($name)(?:\{($label(?:,$label)*)\})? (-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)$/)
		{
			$bad++, diag("not below its head: $line")
			  if $1 ne $current || !$type{$1};
			$bad++, diag("twice: $line") if exists $value{$1}{ $2 // '' };
			$value{$1}{ $2 // '' } = $3;
		}
		else
		{
			$bad++;
			diag("not in the format: $line");
		}
	}
	is($bad, 0, 'every line is in the format');
	return \%value;
}

my $shop = 'database="shop"';
wait_for('a sample of it',
	sub { get('/metrics')->{content} =~ /^pgq_slot_active\{.*\} 1$/m });
my $response = get('/metrics');
is($response->{headers}{'content-type'},
	'text/plain; version=0.0.4; charset=utf-8', 'content type');
my $m = metrics($response);
is($m->{pgqd_ingest_events_total}{$shop}, 123, 'events');
ok($m->{pgqd_ingest_bytes_total}{$shop} > 123, 'bytes');
ok($m->{pgqd_ingest_groups_total}{$shop} >= 1, 'groups');
ok($m->{pgqd_ticks_total}{$shop} > 0, 'ticks');
is($m->{pgqd_database_up}{$shop}, 1, 'up');
is($m->{pgqd_database_up}{'database="postgres"'}, 0, 'a database without PgQ');
is($m->{pgqd_database_state}{"$shop,state=\"ingest runs\""}, 1, 'state');
is($m->{pgq_slot_active}{"$shop,slot=\"pgq_shop\""}, 1, 'slot');
is($m->{pgq_slot_broken}{"$shop,slot=\"pgq_shop\""}, 0, 'slot is well');
(my $escaped = $odd) =~ s/([\\"])/\\$1/g;
ok(exists $m->{pgq_queue_tick_age_seconds}{"$shop,queue=\"$escaped\""},
	'a queue with an odd name');
{
	# the manual has the same metrics; those of ages come and go
	my $doc = slurp("$FindBin::RealBin/../../doc/pgqd.md");
	my %documented = map { $_ => 1 } $doc =~ /`(pgqd?_[a-z_]*[a-z])`/g;

	is(join(' ', grep { !$documented{$_} } sort keys %$m), '',
		'pgqd.md has all metrics');
	delete @documented{ $response->{content} =~ /^# HELP (\S+)/mg, 'pgq_admin' };
	is(join(' ', sort keys %documented), '', 'and no others');
}
{
	# nor do dashboard and alerts ask for others
	my %known = map { $_ => 1 } $response->{content} =~ /^# HELP (\S+)/mg;

	foreach my $file ('grafana.json', 'alerts.yml')
	{
		my $text = slurp("$FindBin::RealBin/../../doc/$file");
		my %used = map { $_ => 1 } $text =~ /\b(pgqd?_[a-z_]+(?:_total|_seconds|_events|_bytes|_rows|_up|_broken|_active|_troubles|_second))\b/g;

		ok(keys %used > 5, "$file asks for metrics");
		is(join(' ', grep { !$known{$_} } sort keys %used), '',
			"$file: all are there");
		# it is 0 where nobody knows since when
		unlike($text, qr/pgq_problem_seconds[^\n]*[<>]=? *[1-9]/,
			"$file: asks for problems whose age is not known, too");
	}
	require JSON::PP;
	ok(JSON::PP->new->decode(slurp("$FindBin::RealBin/../../doc/grafana.json")),
		'grafana.json is JSON');
}
wait_for(
	'pending events',
	sub {
		my $now = get('/metrics')->{content};
		return $now =~
		  /^pgq_consumer_pending_events\{$shop,queue="q",consumer="c"\} (\d+)$/m
		  && $1 >= 122;    # about
	});
pass('pending events of a consumer');

sql($node, $db, 'insert into t select g, g from generate_series(200, 209) g');
wait_ingest($node, $db);
wait_for('counters that go on', sub {
	get('/metrics')->{content} =~ /^pgqd_ingest_events_total\{$shop\} 133$/m });
$pgqd->wait_log(qr/events: 10,/);
pass('lines of counts tell what is new');

# the page

wait_for('curves', sub { get('/')->{content} =~ /<polyline/ });
my $page = get('/')->{content};
like($page, qr/<h2>shop<\/h2>/, 'the database');
like($page, qr/class="pill good">healthy</, 'all is well');
like($page, qr/class="warning">[^<]*queue &quot;paused&quot; is paused: /, 'a warning');
unlike(get('/health')->{content}, qr/has done all/,
	'who has finished all of a paused queue is not behind');
like($page, qr/a &quot;queue&quot; \\ with &lt;odd&gt; &amp; name/,
	'text is escaped');
unlike($page, qr/<odd>/, 'everywhere');
unlike($page, qr/(?:src|href)="(?!\/(?:metrics|health)?")|url\(|<script/,
	'no assets from elsewhere');
like(get('/')->{headers}{'content-security-policy'}, qr/default-src 'none'/,
	'nor are any allowed');

# at size: who has something to do comes first, the others are folded

sql($node, $db, q{select pgq.create_queue('idle' || g) from generate_series(1, 40) g});
sql($node, $db, q{select pgq.set_queue_config('idle33', 'ticker_paused', 'true')});
sql($node, $db, q{select pgq.insert_event('idle33', 't', 'd') from generate_series(1, 9)});
my $folded = wait_for('a folded page', sub {
	my $text = get('/')->{content};
	return $text =~ /<details><summary class="dim">\d+ more, idle</
	  && $text =~ />idle33<.*<details>/s && $text });
cmp_ok(scalar(() = $folded =~ /<details>.*?<\/details>/sg), '==', 1, 'consumers are few');
sub set_per_queue
{
	my $text = PgqTest::slurp($pgqd->{ini});

	$text =~ s/^metrics_per_queue = .*\n//m;
	open(my $fh, '>', $pgqd->{ini}) or die;
	print $fh $text . "metrics_per_queue = $_[0]\n";
	close($fh);
	$pgqd->signal('HUP');
}
set_per_queue(0);
wait_for('a series for each database', sub {
	get('/metrics')->{content} =~ /^pgq_queue_new_events\{$shop\} \d+$/m });
$response = get('/metrics');
unlike($response->{content}, qr/(?:queue|consumer|table)="/, 'and no others');
metrics($response);
set_per_queue(1);
wait_for('a series for each queue', sub {
	get('/metrics')->{content} =~ /^pgq_queue_new_events\{$shop,queue="idle33"\} [89]$/m });
sql($node, $db, q{select pgq.drop_queue('idle' || g) from generate_series(1, 40) g});

# captures that do not bring all

my $gone = qq{odd "queue"\n<gone>};
(my $gone_in_line = $gone) =~ s/\n/ /;
sql($node, $db, q{
	create table fails (id int primary key, n int);
	create table breaks (id int primary key);
	select pgq.capture_table('q', 'fails', 'ev_extra2=100/n');
	select pgq.capture_table('q', 'breaks');
});
sql($node, $db, 'insert into fails values (1, 0), (2, 0), (3, 1)');
wait_ingest($node, $db);
wait_for('rows on which an expression failed', sub {
	get('/metrics')->{content} =~
	  /^pgq_capture_failed_rows\{$shop,queue="q",table="public.fails"\} 2$/m });
like(get('/metrics')->{content},
	qr/^pgq_capture_failed_rows\{$shop,queue="q",table="public.breaks"\} 0$/m,
	'none of another table');
like(scalar(`pgqadm -d '@{[ $node->connstr($db) ]}' status --json`),
	qr/"table" : "public\.fails".*?"failed_rows" : 2, "large_events" : 0/s,
	'pgqadm status --json counts them, too');
wait_for('health to say so', sub {
	($response = get('/health'))->{content} =~ qr/^\[shop\]: warning: table public\.fails, queue "q": An expression failed on 2 rows, the last time at .*; its field is NULL there\.$/m });
is($response->{status}, 200, 'health stays green');
like(get('/')->{content},
	qr/class="warning">[^<]*table public\.fails, queue &quot;q&quot;: An expression failed on 2 rows,/,
	'so does the page');

sql($node, $db, q{
	alter event trigger pgq_capture_ddl disable;
	alter table breaks replica identity nothing;
	alter event trigger pgq_capture_ddl enable always});
wait_for('red with a broken capture', sub { get('/health')->{status} == 503 });
like(get('/health')->{content},
	qr/^\[shop\]: table public\.breaks, captured for queue "q", has no replica identity: /m,
	'with the reason');
like(get('/')->{content},
	qr/class="fault">\[shop\]: table public\.breaks, captured/, 'so does the page');
like(get('/metrics')->{content},
	qr/^pgq_capture_broken\{$shop,queue="q",table="public.breaks"\} 1$/m,
	'and the metric');
sql($node, $db, q{
	alter table breaks replica identity default;
	insert into pgq.capture values ('breaks'::regclass, $$} . $gone . q{$$)});
wait_for('red with a queue that is gone', sub {
	get('/health')->{content} =~
	  /^\[shop\]: table public\.breaks is captured into queue "\Q$gone_in_line\E", which does not exist: its events are discarded$/m });
like(get('/metrics')->{content},
	qr/^pgq_capture_broken\{$shop,queue="q",table="public.breaks"\} 0$/m,
	'the other is well again');
my ($discarded) = get('/metrics')->{content} =~ /^pgqd_discarded_events_total\{$shop\} (\d+)$/m;
sql($node, $db, 'insert into breaks values (-1)');
wait_ingest($node, $db);
like(get('/metrics')->{content},
	qr/^pgqd_discarded_events_total\{$shop\} ${\($discarded + 1)}$/m,
	'they are counted');
sql($node, $db, "select pgq.uncapture_table(\$\$$gone\$\$, 'breaks')");
wait_for('green again', sub { get('/health')->{status} == 200 });

# what is not there

is(get('/none')->{status}, 404, 'no such page');
is($http->post("http://127.0.0.1:$port/", { content => 'x' x 100000 })
	  ->{status}, 405, 'nothing but GET');
is($http->head("http://127.0.0.1:$port/metrics")->{status}, 200, 'HEAD');
{
	# 50 that say nothing: more than it lets in
	my @idle = map {
		IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
	} 1 .. 50;
	my $before = sql($node, $db, 'select max(tick_id) from pgq.tick');

	$idle[0]->print("GARBAGE\r\n\r\n") if $idle[0];
	sql($node, $db, 'insert into t values (1000, 1)');
	wait_ingest($node, $db);
	wait_for('ticks', sub {
		sql($node, $db, 'select max(tick_id) from pgq.tick') > $before });
	pass('idle clients do not disturb the work');
}
wait_for('answers again', sub { get('/health')->{status} == 200 });

# health

sql($node, $db, q{alter function pgq.tick_due() rename to tick_due_away});
is_red('without ticks', qr/^\[shop\]: ticker failed: .*tick_due/m);
sql($node, $db, q{alter function pgq.tick_due_away() rename to tick_due});
wait_for('green again', sub { get('/health')->{status} == 200 });

# bytes that do not move: keepalives go on, but events can't be written
my $lock = session($node, $db);
$lock->query('begin; lock table pgq.event_template, ' . sql($node, $db,
		"select pgq.current_event_table('q')") . ' in access exclusive mode');
sql($node, $db, 'insert into t values (2000, 1)');
is_red('when nothing moves',
	qr/^\[shop\]: ingest does not come to the end of a group of events; /m);
$lock->query('rollback');
wait_for('green when it moves', sub { get('/health')->{status} == 200 });

drop_slot($node, $db);
is_red('without slot', qr/^\[shop\]: .*slot is missing/m);
like(get('/')->{content}, qr/class="pill bad">.*class="fault">\[shop\]: /s,
	'the page says so too');
wait_for('slot broken', sub {
	get('/metrics')->{content} =~
	  /^pgq_slot_broken\{$shop,slot="pgq_shop"\} 1$/m });

$node->stop;
wait_for('red without server', sub {
	get('/health')->{content} =~ /^\[shop\]: connection: /m });
is(get('/metrics')->{status}, 200, 'metrics without server');
metrics(get('/metrics'));
$node->start;
is($pgqd->stop, 0, 'pgqd ends cleanly');

# an address that is taken

my $taken = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1',
	LocalPort => 0);
$pgqd = start_pgqd($node, http_listen => '127.0.0.1:' . $taken->sockport);
$pgqd->wait_log(qr/could not serve http_listen = .*: Address already in use/);
$pgqd->wait_log(qr/pgq version ok/);
pass('it works without, and says why');
close($taken);
$pgqd->wait_log(qr/serves http/);
pass('it serves when the address is free');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
