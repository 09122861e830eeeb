
# What the tests of standstills share: one is made, all that tell of it must name it
# in time, and no longer when it is over. Each stands in doc/standstills.md, whose
# text must be what was told.
#
# pgqd runs with its usual periods, since these decide how long that takes.

package Standstill;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use HTTP::Tiny;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(watch standstill get connstr set_ini end_standstills);

# The promise is 15 s and 5 s; the machine of the test may be busy.
my $named_within = 15 + ($ENV{PGQ_SLACK} // 15);
my $gone_within = 5 + ($ENV{PGQ_SLACK} // 15);

my $http = HTTP::Tiny->new(timeout => 20);
my $doc = slurp("$FindBin::RealBin/../../doc/standstills.md");
my ($node, $db, $pgqd, $port);
my %worst = (named => 0, gone => 0);

# Every outlet: what it tells now.
my %outlets = (
	health => sub { get('/health')->{content} },
	page => sub { get('/')->{content} },
	metrics => sub { get('/metrics')->{content} },
	log => sub { $pgqd->text },
	map { my $command = $_; ($command => sub {
		my $connstr = connstr();
		# its two samples apart are part of the time that is measured
		my $once = $command eq 'top' ? '--once --interval 0.5' : '';
		return `pgqadm -d '$connstr' $command $once 2>&1` })
	} qw(status top doctor));

# watch(NODE, DATABASE, key => value ...): looks from now on at this database, by a
# pgqd with these settings, which is returned when it is ready.
sub watch
{
	($node, $db, my %ini) = @_;

	$port = PostgreSQL::Test::Cluster::get_free_port();
	$pgqd = start_pgqd($node, http_listen => $port, database_list => $db,
		check_period => 60, retry_period => 30, maint_period => 120,
		ticker_period => 1, stats_period => 30, %ini);
	$pgqd->wait_log(qr/serves http|without libmicrohttpd/);
	plan skip_all => 'pgqd was built without libmicrohttpd'
	  if $pgqd->text =~ /without libmicrohttpd/;
	wait_for('ready', sub { get('/ready')->{status} == 200 });
	wait_ingest($node, $db);
	return $pgqd;
}

sub connstr { return $node->connstr($db) }

sub get { return $http->get("http://127.0.0.1:$port$_[0]") }

# set_ini(KEY, VALUE): in pgqd's ini file, which it reads again.
sub set_ini
{
	my ($key, $value) = @_;
	my $text = slurp($pgqd->{ini});

	$text =~ s/^\Q$key\E = .*\n//m;
	open(my $out, '>', $pgqd->{ini}) or die;
	print $out $text . "$key = $value\n";
	close($out);
	$pgqd->signal('HUP');
	return;
}

# The text that people read.
sub plain
{
	my ($text) = @_;
	$text =~ s/&quot;/"/g;
	$text =~ s/&lt;/</g;
	$text =~ s/&gt;/>/g;
	$text =~ s/\s+/ /g;
	return $text;
}

# names(OUTLET, CASE): does it name the trouble?
sub names
{
	my ($outlet, $case) = @_;
	my $text = $outlets{$outlet}->();
	my $like = $case->{$outlet} // $case->{like};

	return $text =~ $case->{metrics} if $outlet eq 'metrics' && $case->{metrics};
	return $text =~
	  /^pgq_problem_seconds\{database="\Q$db\E",kind="\Q$case->{kind}\E",object="[^\n]*",severity="$case->{severity}"\} [\d.]+$/m
	  if $outlet eq 'metrics';
	return substr($text, $case->{mark} // 0) =~ $like if $outlet eq 'log';
	return plain($text) =~ $like;
}

# standstill(NAME, kind => of the problem, like => its text, begin => SUB, end => SUB,
#	severity => 'standstill', without => [ outlets that can't tell ],
#	outlet => regex for another text there, stands_by => pgqd is well)
sub standstill
{
	my ($name, %case) = @_;
	my @named = grep { my $o = $_; !grep { $_ eq $o } @{ $case{without} // [] } }
	  qw(log metrics health page status top doctor);
	my ($begin, %left, %took);

	$case{severity} //= 'standstill';
	my ($row) = $doc =~ /^\| \Q$name\E \| (.*) \|$/m;
	ok($row, "$name: is in the manual's table");
	like($row // '', $case{like}, 'with the text');
	like($row // '', qr/^`\Q$case{kind}\E` \| $case{severity} \|/, 'and its kind');

	$case{mark} = length $pgqd->text;
	$case{begin}->();
	$begin = time();
	%left = map { $_ => 1 } @named;
	eval {
		wait_for(
			"$name: to be named",
			sub {
				foreach (grep { $left{$_} } @named)
				{
					# what costs a process is asked when the others know
					last if /status|top|doctor/ && grep { $left{$_} } qw(log metrics health page);
					names($_, \%case) or next;
					delete $left{$_};
					$took{$_} = time() - $begin;
				}
				return !%left;
			},
			45);
	};
	is(join(' ', sort keys %left), '', "$name: is named by all")
	  or diag(map { "$_: " . substr($outlets{$_}->(), -3000) } keys %left);
	my ($last) = sort { $took{$b} <=> $took{$a} } keys %took;
	my $took = $took{$last // ''} // 60;
	cmp_ok($took, '<', $named_within, sprintf("$name: is named, at last by %s", $last // ''));
	$worst{named} = $took if $took > $worst{named};
	if (grep { $_ eq 'health' } @named)
	{
		my $bad = $case{severity} eq 'standstill' ? 503 : 200;

		is(get('/health')->{status}, $case{stands_by} ? 200 : $bad, "$name: /health");
		is(get('/ready')->{status}, $bad, "$name: /ready");
		is(get('/live')->{status}, 200, "$name: /live");
	}

	$case{end}->();
	$begin = time();
	@named = grep { $_ ne 'log' } @named;
	%left = map { $_ => 1 } @named;
	eval {
		wait_for(
			"$name: to be over",
			sub {
				foreach (grep { $left{$_} } @named)
				{
					last if /status|top|doctor/ && grep { $left{$_} } qw(metrics health page);
					do { delete $left{$_}; note(sprintf 'GONE %s %.1f', $_, time() - $begin) } if !names($_, \%case);
				}
				note(sprintf 'READY %.1f %s', time()-$begin, get('/ready')->{content}) if !%left; return !%left && get('/ready')->{status} == 200;
			},
			45);
	};
	my $gone = time() - $begin;
	is(join(' ', sort keys %left), '', "$name: is over for all")
	  or diag(map { "$_: " . substr($outlets{$_}->(), -3000) } keys %left);
	cmp_ok($gone, '<', $gone_within, "$name: is over in time");
	$worst{gone} = $gone if $gone > $worst{gone};
	note(sprintf("%-60s named after %4.1f s by %s, over after %4.1f s", $name, $took,
		$last // '', $gone));
	wait_ingest($node, $db);
	return;
}

sub end_standstills
{
	note(sprintf('named within %.1f s, over within %.1f s', $worst{named}, $worst{gone}));
	is($pgqd->stop, 0, 'pgqd ends cleanly');
	done_testing();
	return;
}

1;
