
# Names of queues, consumers, tables and columns are anybody's text: in no
# output are they anything else.

use strict;
use warnings;
use utf8;

use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use JSON::PP;
use MIME::Base64;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $port = PostgreSQL::Test::Cluster::get_free_port();
my @names = (
	q{<script>alert(1)</script>"'&},
	q{'; drop table item; --},
	"two\nlines 2026-01-01 00:00:00.000 1 FATAL forged",
	q{%s%n%d{}[]\\n\\},
	q{a,"b",{c}},
	"\x{202e}right to left \x{1F4A3}",
	'$(touch /tmp/x) `id` ${HOME}',
	"red \e[31m \e]0;title\a \x{9b}31m\nok       forged",
	'n' x 1000);

sub quoted
{
	my ($text) = @_;
	my $q = $text;
	$q =~ s/\\/\\\\/g;
	$q =~ s/'/''/g;
	$q =~ s/\n/\\n/g;
	return "E'$q'";
}

sub bytes
{
	my ($text) = @_;
	utf8::encode($text);
	return $text;
}

sub do_sql
{
	my ($text) = @_;
	return sql($node, $db, bytes($text));
}

my $pgqd = start_pgqd($node, http_listen => "127.0.0.1:$port");
my @db = ('-d', $node->connstr($db));

do_sql('create table item (id int primary key)');
foreach my $i (0 .. $#names)
{
	my $name = bytes($names[$i]);

	foreach my $command ([ 'create', $name ], [ 'register', $name, $name ])
	{
		command_ok([ 'pgqadm', @db, @$command ], "name $i: $command->[0]");
	}
	my $short = substr($names[$i], 0, 15);
	do_sql('do $do$ begin execute format($f$create table %I (id int primary key, %I text)$f$, '
		  . quoted("t$short") . ', ' . quoted($short) . '); end $do$');
	do_sql('select pgq.capture_table(' . quoted($names[$i]) . ', quote_ident('
		  . quoted("t$short") . ')::regclass)');
	do_sql('do $do$ begin execute format($f$insert into %I values (1, %L)$f$, '
		  . quoted("t$short") . ', ' . quoted($names[$i]) . '); end $do$');
}
wait_ingest($node, $db);

my $json = JSON::PP->new->utf8;
foreach my $i (0 .. $#names)
{
	my $name = quoted($names[$i]);
	my $rows = consume($node, $db, (map { (my $n = bytes($names[$i])) =~ s/'/''/g;
				# the helper puts names between quotes as they are
				$n } 1 .. 2), q{translate(encode(convert_to(ev_data, 'UTF8'), 'base64'), E'\n', '')})
	  if $names[$i] !~ /[\n\\]/;
	next if !$rows;
	is(scalar(@$rows), 1, "name $i: its change came");
	my $data = $json->decode(MIME::Base64::decode_base64(join('', @$rows)));
	is($data->{ substr($names[$i], 0, 15) }, $names[$i], "name $i: key and value are whole");
}

# pgqadm's JSON

foreach my $command ([ 'status', '--json' ], [ 'doctor', '--json' ])
{
	my ($out, $err) = run_command([ 'pgqadm', @db, @$command ]);
	my $data = eval { $json->decode($out) };

	ok($data, "$command->[0] --json is JSON") or diag($@);
	next if $command->[0] ne 'status';
	foreach my $i (0 .. $#names)
	{
		like(JSON::PP->new->allow_nonref->canonical->encode($data),
			qr/\Q${\ JSON::PP->new->allow_nonref->encode($names[$i]) }\E/,
			"name $i is in it, whole");
	}
}
my ($out, $err) = run_command([ 'pgqadm', @db, 'status' ]);
unlike($out, qr/^2026-01-01/m, 'a name with a newline makes no line of its own in status');

# what people read of it

my $red = $names[-2];
do_sql('select pgq.insert_event(' . quoted($red) . ', ' . quoted($red) . ', ' . quoted($red) . '),'
	  . ' pgq.force_tick(' . quoted($red) . ')');
do_sql('select pgq.ticker(' . quoted($red) . ')');
# pgqd ticks, too: a batch may be empty
my $batch = wait_for('a batch with events', sub {
	my $b = do_sql('select pgq.next_batch(' . quoted($red) . ', ' . quoted($red) . ')');
	return if $b eq '';
	return $b if do_sql("select count(*) from pgq.get_batch_events($b)") > 0;
	do_sql("select pgq.finish_batch($b)");
	return;
});
do_sql("select pgq.event_dead($batch, ev_id, " . quoted($red) . ") from pgq.get_batch_events($batch)");
do_sql('select pgq.create_source(' . quoted('s') . ', ' . quoted($red) . ')');
my $id = do_sql('select ev_id from pgq.get_dead_events(null, null)');
foreach my $command ([ 'status' ], [ 'doctor' ], [ 'top', '--once' ], [ 'slot', 'status' ],
	[ 'config' ], [ 'dead', 'list' ], [ 'source', 'list' ], [ 'create', bytes($red) ],
	[ 'drop', bytes($red) ], [ 'relay', 'show', bytes($red), bytes($red) ],
	[ 'seek', bytes($red), bytes($red), '--end', '--yes' ],
	[ 'dead', 'requeue', bytes($red), bytes($red), $id ])
{
	($out, $err) = run_command([ 'pgqadm', @db, @$command ]);
	my $text = $out . $err;
	utf8::decode($text);
	like($text, qr/red/, "@{$command}[0] names it") if $command->[0] !~ /doctor|slot|drop/;
	unlike($text, qr/[^\P{Cc}\n\t]/, "@{$command}[0] prints no control characters");
	unlike($text, qr/^ok +forged/m, 'and no line that a name made')
	  if $err eq '';
}

# the log

unlike($pgqd->text, qr/^2026-01-01 00:00:00.000 1 FATAL/m, 'nor in the log');

# the page and the metrics

SKIP:
{
	skip 'pgqd was built without libmicrohttpd', 4 if $pgqd->text =~ /without libmicrohttpd/;
	my $get = sub { HTTP::Tiny->new->get("http://127.0.0.1:$port$_[0]")->{content} };
	wait_for('the page', sub { $get->('/') =~ /alert/ });
	my $page = $get->('/');
	my $metrics = $get->('/metrics');

	unlike($page, qr/<script>alert/, 'no name is markup in the page');
	like($page, qr/&lt;script&gt;alert\(1\)&lt;\/script&gt;&quot;/, 'but text');
	unlike($metrics, qr/^lines 2026/m, 'a newline in a label is escaped');
	my @bad = grep { !/^(#.*|\w+(\{(\w+="([^"\\\n]|\\[\\"n])*",?)+\})? \S+)?$/ }
	  split(/\n/, $metrics);
	is(join("\n", @bad), '', 'every line of the metrics is one');
}

# text that is not in the database's encoding, and far too long

foreach my $bad ("\xff\xfe", "\xc3", 'x' x 3000)
{
	($out, $err) = run_command([ 'pgqadm', @db, 'create', $bad ]);
	like($err, qr/(encoding|too long)/, 'a bad name is refused')
	  or diag(substr($err, 0, 300));
}
ok($pgqd->alive, 'pgqd lives');
is(do_sql('select count(*) from item'), 0, 'nothing was dropped');
is($pgqd->stop, 0, 'and ends cleanly');

$node->stop;
done_testing();
