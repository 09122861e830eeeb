
# Each pgqadm command that doc/troubleshooting.md and doc/operations.md tell to run is
# run.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use DocBlocks;
use IPC::Run;
use PgqTest;
use Test::More;

my $node = new_server('main');
my %ran;

# run(COMMAND...): each as the manual writes it, behind "pgqadm -d shop "
sub run
{
	foreach my $command (@_)
	{
		my $out = '';

		IPC::Run::run([ 'sh', '-c', "pgqadm -d '" . $node->connstr('shop') . "' $command" ],
			\undef, '>&', \$out, IPC::Run::timeout(60));
		# a doctor that finds something is well, too
		ok($? == 0 || ($command eq 'doctor' && $? >> 8 == 1), $command)
		  or diag($out);
		$ran{$command} = 1;
	}
	return;
}

sub lose_slot
{
	drop_slot($node, 'shop');
	return;
}

sql($node, 'postgres', 'create database shop');
run('install', 'slot create', 'create orders', 'register orders mailer');
sql($node, 'shop', q{create table item (id int primary key);
	select pgq.capture_table('orders', 'item')});
run('doctor', 'status', 'slot status', 'config orders ticker_paused=false',
	"config orders ticker_max_lag='100 milliseconds'",
	'config orders disable_insert=false', 'unregister orders mailer',
	'capture orders public.item copy', 'uncapture orders public.item');
lose_slot();
run('resync');
lose_slot();
run('resync --wait');
lose_slot();
run('resync --without-copy');
lose_slot();
run('resync --without-copy --slot pgq_copy', 'slot drop');

my $doc = slurp("$FindBin::RealBin/../../doc/troubleshooting.md");
my %told = map { $_ => 1 } $doc =~ /^pgqadm -d shop (.*)$/mg;

# in a table's third column; the first holds what programs say
foreach my $line (grep { /^\| / } split(/\n/, $doc))
{
	my $todo = (split(/ \| /, $line))[2];

	$told{$_} = 1 foreach $todo =~ /`pgqadm -d shop ([^`]*)`/g;
}
ok(keys %told > 10, 'the manual can be read');
is(join("\n", grep { !$ran{$_} } sort keys %told), '', 'all were run');

# The blocks of operations.md, in their order, with what its text says between them.
my $pgqd = start_pgqd($node);
run('install', 'slot create', 'register orders mailer', 'capture orders public.item');
my @commands = map { s/ \| jq .*//r =~ /^\s*pgqadm -d shop (.*)$/mg }
  map { $_->{text} } doc_blocks("$FindBin::RealBin/../../doc/operations.md");
cmp_ok(scalar(@commands), '>', 8, 'operations.md can be read');
foreach my $command (@commands)
{
	# it asks; and the example's time is before a new queue's first event
	$command =~ s/--time '[^']*'/--start --yes/ if $command =~ /^seek /;
	$pgqd->stop if $command eq 'slot drop';
	run($command);
	$pgqd->start if $command eq 'slot create';
}

done_testing();
