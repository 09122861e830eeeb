
# The example in the help of pgqd and of each command of pgqadm is run, and the
# man page has it, too.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PgqTest;
use Test::More;

my $node = new_server('main');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $man = join('', map { slurp("$FindBin::RealBin/../../doc/man/$_") } 'pgqadm.1', 'pgqd.1');
my %ran;

$man =~ s/\\-/-/g;
# who follows an example has a home and sits before his own server
$ENV{HOME} = $dir;
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
mkdir "$dir/bin" or die $!;
PostgreSQL::Test::Utils::append_to_file("$dir/bin/mail", qq{#!/bin/sh\ncat >> $dir/mail.txt\n});
chmod(0755, "$dir/bin/mail") or die $!;
$ENV{PATH} = "$dir/bin:$ENV{PATH}";
chdir $dir or die $!;
sql($node, 'postgres', 'create database shop');
sql($node, 'shop', 'create table item (id int primary key, seen_at timestamptz)');

# example(COMMAND): what its help gives
sub example
{
	my ($command) = @_;
	my ($example) = `pgqadm $command --help` =~ /^example:\n  (.*)$/m;

	$ran{$command} = 1;
	ok($example, "$command --help has an example") or return 'false';
	like($man, qr/^\Q$example\E$/m, 'the man page has it, too');
	return $example;
}

# start(EXAMPLE [, IPC::Run's arguments]): in the background
sub start
{
	my ($example, @io) = @_;
	return IPC::Run::start([ 'sh', '-c', "exec $example" ],
		@io ? @io : ('<', \undef, '>', '/dev/null', '2>', '/dev/null'),
		IPC::Run::timeout(120));
}

# works(COMMAND [, STATUS]): runs its example
sub works
{
	my ($command, $status) = @_;
	my $example = example($command);
	my $out = '';

	IPC::Run::run([ 'sh', '-c', $example ], '<', \undef, '>&', \$out,
		IPC::Run::timeout(60));
	is($? >> 8, $status // 0, $example) or diag($out);
	return;
}

works($_) foreach qw(install slot create register seek config capture status migrate relay source);
works('doctor', 1);    # no pgqd
sql($node, 'shop', q{select pgq.capture_table('orders', 'item', 'copy')});
works('cancel');
drop_slot($node, 'shop');

my $ticker = start(example('ticker'));
wait_for('ticks', sub {
	sql($node, 'shop', 'select count(*) > 1 from pgq.tick') eq 't' });
pass('it ticks');
works('resync');
works('uncapture');
sql($node, 'shop', q{select pgq.insert_event('orders', 'greeting', 'hello')});
my $consume = start(example('consume'));
wait_for('mail', sub { -s "$dir/mail.txt" && slurp("$dir/mail.txt") =~ /hello/ });
pass('it is mailed');
works('drain');
$consume->signal('TERM');
ok($consume->finish, 'consume ends');
my $seen = '';
my $top = start(example('top'), '<pty<', \my $keys, '>pty>', \$seen);
wait_for('queues', sub { $top->pump_nb; $seen =~ /orders/ || $seen =~ /without ncurses/ });
$keys = 'q';
$top->finish;
pass('top shows queues');
works('dead');
works('unregister');
works('drop');
$ticker->signal('TERM');
$ticker->finish;

my @commands = `pgqadm --help` =~ /^  ([a-z]+)\b.*\n {6}\S/mg;
ok(@commands > 10, 'the help can be read');
is(join(' ', grep { !$ran{$_} } @commands), '', 'each command was run');

# pgqd

my ($examples) = `pgqd --help` =~ /^Example:\n((?:  .*\n)+)/m;
my @examples = $examples =~ /^  (.*)$/mg;

ok(@examples >= 3, 'pgqd --help has examples');
foreach my $example (@examples)
{
	like($man, qr/^\Q$example\E$/m, 'the man page has it, too');
	is(system("$example > $dir/out 2>&1 < /dev/null"), 0, $example)
	  or diag(slurp("$dir/out"))
	  if $example !~ />/;
	is(system($example), 0, $example) if $example =~ />/;
	wait_for('pgqd', sub { -s "$dir/pgqd.pid" }) if $example =~ / -d /;
}
wait_for('its end', sub { !-e "$dir/pgqd.pid" });
pass('pgqd has run');

done_testing();
