
# How relays are is seen from anywhere: by pgq.get_relay_info() and pgqadm relay, while
# they run, stand still, are ended and are killed. Secrets are seen nowhere.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'pgqrelay was not built here'
  if system('pgqrelay --version >/dev/null 2>&1') != 0;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();

sql($node, $db, q{select pgq.create_queue('q')});

# seen(COLUMN...): of the relay, by SQL
sub seen
{
	return sql($node, $db, 'select ' . join(', ', @_) . ' from pgq.get_relay_info()');
}

sub adm
{
	my (@args) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'pgqadm', '-d', $node->connstr($db), 'relay', @args ], '<', \undef,
		'>', \$out, '2>', \$err, IPC::Run::timeout(60));
	return ($? >> 8, $out, $err);
}

like((adm('list'))[1], qr/none has run yet/, 'no relay yet');

# a path that nobody should see
local $ENV{HIDDEN} = 'hidden-path';
my %keys = (
	db => $node->connstr($db),
	queue => 'q',
	target => "file:$dir/\${HIDDEN}");
my $port = free_port();
my $relay = start_relay('' => { http_listen => "127.0.0.1:$port" }, r => \%keys);
wait_for('it to run', sub { seen('state') eq 'running' });
sql($node, $db, q{select pgq.insert_event('q', 't', 'n' || i) from generate_series(1, 5) i});
ticks($node, $db, 'q');
wait_for('the events', sub { seen('engine_position') eq '15' });
is(seen('queue_name', 'consumer_name', 'pending_events', q{coalesce(last_error, 'none')}),
	'q|relay_r|0|none', 'it runs');
like(seen('target'), qr/^file:.*\$\{HIDDEN\}$/, 'its target, without what the environment has');

# page(PATH): status and text of what HTTP answers; "" without libmicrohttpd
sub page
{
	my $page = HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port$_[0]");

	return $page->{status} == 599 ? '' : "$page->{status} $page->{content}";
}

my $labels = '{relay="r",queue="q",consumer="relay_r"}';
SKIP:
{
	skip('built without libmicrohttpd', 5) if page('/none') eq '';
	is(page('/none'), "404 There is /health and /metrics.\n", 'HTTP names its own pages');
	is(page('/health'), "200 ok\n", 'all is well');
	my $metrics = page('/metrics');
	like($metrics, qr/^pgqrelay_running\Q$labels\E 1$/m, 'and in metrics, too');
	like($metrics, qr/^# TYPE pgqrelay_events_total counter\npgqrelay_events_total\Q$labels\E 5$/m,
		'with what it has sent');
	like($metrics, qr/^pgqrelay_bytes_total\Q$labels\E 10$/m, 'and how much of it');
}

# it stands still
my $ran_since = seen('since');
sql($node, $db, q{select pgq.insert_event('q', 't', E'two\nlines')});
ticks($node, $db, 'q');
wait_for('it to stand still', sub { seen('state') eq 'stands still' });
like(seen('last_error'), qr/^the engine will not take event 6: .*newline/, 'and why');
is(seen("since > '$ran_since'"), 't', 'and since when');
like(sql($node, $db, q{select problem from pgq.get_problems() where kind = 'relay'}),
	qr{^relay "relay_r" of queue "q" into file:.*\$\{HIDDEN\} stands still: the engine will not take event 6: },
	'as a problem of the database, too');
SKIP:
{
	skip('built without libmicrohttpd', 2) if page('/none') eq '';
	like(page('/health'), qr/^503 r: stands still for \d+ s: the engine will not take event 6/,
		'by HTTP, too');
	like(page('/metrics'), qr/^pgqrelay_running\Q$labels\E 0$/m, 'and in metrics');
}
my ($rc, $out, $err) = adm('list');
is($rc, 0, 'relay list');
like($out, qr/^q:\n  relay_r +stands still +\d+ s +\d+ s .*\n    file:.*, \d+ events pending\n    the engine will not/m, 'as lines');
($rc, $out, $err) = adm('show', 'q', 'relay_r');
like($out, qr/^state +stands still$/m, 'relay show');
like($out, qr/^engine position +15$/m, 'where the engine is');
like($out, qr/^last error +the engine will not take event 6/m, 'the last error');
foreach my $args ([ 'list', '--json' ], [ 'show', '--json', 'q', 'relay_r' ])
{
	my $all = eval { decode_json((adm(@$args))[1]) };

	is($all->[0]{state}, 'stands still', "relay @$args");
	is($all->[0]{engine_position}, '15', 'its keys');
}
$relay->stop;
is(seen('state'), 'ended', 'it was ended');

# and goes on
$relay = start_relay(r => { %keys, on_refused => 'dead' });
wait_for('it to run', sub { seen('state') eq 'running' });
like(seen('last_error'), qr/newline/, 'its last error is still told');
$relay->kill9;
sql($node, $db, q{update pgq.relay set rl_seen = now() - interval '4 minutes'});
is(seen('state', q{date_trunc('minute', now() - since)}), 'silent|00:04:00', 'it was killed');

# what can't be, has one clear message
foreach my $case (
	[ [ 'show', 'q', 'x' ], qr/no relay of queue q has run as consumer x\nhint: .*relay list/ ],
	[ ['show'], qr/usage: pgqadm \.\.\. relay show QUEUE CONSUMER/ ],
	[ ['check'], qr/usage: pgqadm \.\.\. relay check RELAY\.ini/ ],
	[ ['stop'], qr/unknown command: relay stop\nhint: There are list, show and check/ ])
{
	my ($args, $message) = @$case;
	($rc, $out, $err) = adm(@$args);
	is("$rc$out", 1, "relay @$args fails");
	like($err, $message, 'and says why');
}

# check(MODE, KEYS): pgqadm relay check, without a database of its own
sub check
{
	my ($mode, %more) = @_;
	my %all = (%keys, %more);
	my $ini = "$dir/check.ini";
	my $text = '';

	unlink $ini;
	append_to_file($ini, join("\n", '[pgqrelay]', 'syslog = 0', '[relay r]',
		map { "$_ = $all{$_}" } sort keys %all) . "\n");
	chmod $mode, $ini;
	IPC::Run::run([ 'pgqadm', 'relay', 'check', $ini ], '<', \undef, '>&', \$text,
		IPC::Run::timeout(60));
	return ($? >> 8) . $text;
}
is(check(0644), "0r: ok\n", 'relay check');
is(check(0644, target => "file:$dir/none/x"),
	"1r: target: could not open file:$dir/none/x: No such file or directory\n",
	'of a target that can not be');

# secrets that others could read
sub open_key { return qr{^1pgqrelay: .*\[relay r\]: others may read file \Q$dir\E/$_[1], and key "$_[0]" has a secret there: chmod 600} }
my $with = $node->connstr($db) . ' password=geheim';
like(check(0644, db => $with), open_key('db', 'check.ini'), 'a password in a connect string');
is(check(0600, db => $with), "0r: ok\n", 'is right where others can not read it');
local $ENV{SHOP_PASSWORD} = 'geheim';
is(check(0644, db => $node->connstr($db) . ' password=${SHOP_PASSWORD}'),
	"0r: ok\n", 'or stands in the environment');
my $none = '127.0.0.1:1';
foreach my $case (
	[ db => $node->connstr($db) . ' password=${SHOP_PASSWORD}x' ],
	[ db => '${SHOP_PASSWORD} password=x' ],
	[ db => $node->connstr($db) . " options='-c shop.secret=x'" ],
	[ db => "postgresql://u:x\@$none/x" ],
	[ password => 'x', target => "nats:$none" ],
	[ password => '${SHOP_PASSWORD}x', target => "nats:$none" ],
	[ token => 'x', target => "nats:$none" ],
	[ secret => 'whsec_x', target => "http://$none" ],
	[ options => 'linger.ms=5, sasl.password=x', target => "kafka:$none" ],
	[ options => 'ssl.key.password=${SHOP_PASSWORD},x', target => "kafka:$none" ],
	[ target => "http://$none/?a=1&token=x" ],
	[ target => "http://$none/?key=x" ])
{
	my ($key, $value, @more) = @$case;
	like(check(0644, $key => $value, @more), open_key($key, 'check.ini'), "$key = $value");
}
unlike(check(0644, options => 'linger.ms=5,sasl.password=${SHOP_PASSWORD}', target => "kafka:$none"),
	qr/others may read/, 'no secret');

# in a file that is included, it is that which counts
append_to_file("$dir/included.ini", "[relay r]\npassword = x\n");
foreach my $case ([ 0644, 0600, 1 ], [ 0600, 0644, 0 ])
{
	my ($inner, $outer, $told) = @$case;

	chmod $inner, "$dir/included.ini";
	my $text = check($outer, stream => "S\n%include $dir/included.ini", target => "nats:$none");
	($told ? \&like : \&unlike)->($text, open_key('password', 'included.ini'), "an included file, mode $inner");
}

# files of secrets, and those that can not be read
foreach my $key (qw(password_file credentials tls_key))
{
	my $file = "$dir/$key";

	like(check(0600, $key => $file, target => "nats:$none"),
		qr/^1r: target: could not read $key $file: No such file or directory$/, "no $key");
	append_to_file($file, "geheim\n");
	chmod 0640, $file;
	like(check(0600, $key => $file, target => "nats:$none"),
		qr/^1r: target: others may read $key $file: .*chmod 600$/, "$key that others can read");
	chmod 0600, $file;
	unlike(check(0600, $key => $file, target => "nats:$none"), qr/$file/, "$key for us alone");
}
like(check(0600, password_file => '/dev/null', target => "nats:$none"),
	qr/^1r: target: password_file \/dev\/null has nothing in its first line$/, 'an empty password_file');
like(check(0600, password_file => $dir, target => "nats:$none"),
	qr/^1r: target: could not read password_file $dir: Is a directory$/, 'a folder as password_file');

like(check(0600, target => $_), qr/"target" has a password in it/, $_)
  foreach 'nats://u:geheim@localhost', 'nats://geheim@localhost', 'https://u:geheim@localhost/x',
  'nats://localhost,nats://u:geheim@localhost', 'postgresql://u:geheim@localhost/x',
  'nats://localhost:4222,u:geheim@localhost', 'nats://${SHOP_PASSWORD}x@localhost',
  'amqp://u:ge/heim@localhost', 'https://u:ge/heim@localhost/x', 'redis://u:gehe?im@localhost',
  'postgresql://localhost/x?password=geheim', 'amqp://u:geheim@localhost', 'nat://u:geheim@localhost';
unlike(check(0600, target => $_), qr/has a password in it/, $_)
  foreach 'nats://${SHOP_PASSWORD}@127.0.0.1:1', 'postgresql://me@127.0.0.1:1/x',
  'https://127.0.0.1:1/a:b@c', 'https://127.0.0.1/a:b@c', "file:$dir/a:b\@c";

# what is told has none
foreach my $case (
	[ "http://$none/hook?a=geheim&token=geheim#geheim", qr{http://$none/hook\?a=\*\*\*&token=\*\*\*#\*\*\*} ],
	[ "http://$none/services/T0/geheim1geheim1geheim1/x", qr{http://$none/services/T0/\*\*\*/x: } ],
	[ 'http://${SHOP_PASSWORD}.invalid/', qr{http://\$\{SHOP_PASSWORD\}\.invalid/: } ],
	[ 'nats://127.0.0.1:1,${SHOP_PASSWORD}@127.0.0.1:1', qr{127\.0\.0\.1:1,\$\{SHOP_PASSWORD\}\@127} ])
{
	my ($target, $shown) = @$case;
	my $text = check(0600, target => $target, $target =~ /nats/ ? (stream => 'S') : ());

	like($text, $shown, "$target is told so");
	unlike($text, qr/geheim/, 'and nothing of what is secret');
}
unlike(check(0600, db => "host=localhost password=x geheim"), qr/geheim/,
	'nor of a connect string that can not be read');

# a database that gives no answer holds up no other relay, neither when the ini file is
# read again nor at the end
{
	my $silent = new_database($node, 'silent', slot => 0);
	my @databases = ($silent, $db);
	my %of = map { $_ => { db => $node->connstr($_), queue => 'two', target => "file:$dir/$_" } } @databases;
	my $waits = sub { sql($node, 'postgres', "select count(*) from pg_stat_activity
		where datname = '$silent' and wait_event_type = 'Lock' and query ~ '$_[0]'") };

	add_relayed_queue($node, $_, 'two', "relay_$_") foreach @databases;
	$relay = start_relay('' => { http_listen => "127.0.0.1:$port" }, %of);
	wait_for('both to run', sub { sql($node, $_, q{select count(*) from pgq.get_relay_info()
		where queue_name = 'two' and state = 'running'}) == 1 }) foreach @databases;
	my $lock = session($node, $silent);
	$lock->query('begin; select from pgq.subscription for update; select from pgq.relay for update');
	sql($node, $silent, q{select pgq.insert_event('two', 't', 'never')});
	ticks($node, $silent, 'two');
	wait_for('its relay to wait', sub { $waits->('next_batch') > 0 });
	my $mark = length $relay->text;
	$relay->signal('HUP');
	$relay->wait_log(qr/ini file read again/, $mark);
	sql($node, $db, q{select pgq.insert_event('two', 't', 'after')});
	ticks($node, $db, 'two');
	wait_for('the other to go on', sub { -s "$dir/$db" });
	is(slurp("$dir/$db"), "after\n", 'a database that gives no answer: the others go on');
	wait_for('its relay to be told', sub { $waits->('note_relay') > 0 });
	isnt(page('/health'), '', 'and HTTP answers') if page('/none') ne '';
	my $start = time;
	is($relay->stop, 0, 'and pgqrelay ends');
	cmp_ok(time - $start, '<', 30, 'soon');
	like($relay->text, qr/\[$silent\]: it is waited for no longer/, 'and says for whom it does not wait');
	is(sql($node, $db, q{select state from pgq.get_relay_info() where queue_name = 'two'}), 'ended',
		'the others have noted that they ended');
	$lock->close;
}

done_testing();
