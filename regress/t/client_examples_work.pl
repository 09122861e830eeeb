
# The programs in clients/*/examples, and those in the READMEs there and in
# doc/consumers.md, do what they say. Languages that are not here are left out, and
# said to be.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../../clients/behaviours";
use Behaviours;
use Languages;
use PgqTest;
use Test::More;

my $node = new_server('main');
my $nr = 0;

new_shop($node, 'shop', 'UTF8');
sql($node, 'shop', q{
	create table item (name text);
	create table mail (body text);
	create table copy (id int8, data text)});
make_queue($node, 'shop', 'orders', 'mailer', 'copier', 'all');
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'shop';
$ENV{PGUSER} = getpwuid($>);

# consumes(NAME, COMMAND...): whatever is in the queue comes into its table, once.
sub consumes
{
	my ($name, @command) = @_;
	my $w = start_worker(\@command);
	my $data = 'event ' . ++$nr;
	my $count = q{select (select count(*) from mail where body = '%1$s')
		+ (select count(*) from copy where data = '%1$s')};

	produce($node, 'shop', 'orders', [ 'new', $data ]);
	ok(eval { wait_for($name, sub {
			$w->{h}->pump_nb;
			die "it has ended: $w->{out}$w->{err}" if !$w->{h}->pumpable;
			return sql($node, 'shop', sprintf($count, $data)) == 1 }) },
		"$name does its work") or diag($@ . $w->{out} . $w->{err});
	is(stop_worker($w), 0, '... and ends by SIGTERM');
	# the other consumer's turn starts here, too
	sql($node, 'shop', "select pgq.register_consumer_at('orders', '$_',
			(select max(tick_id) from pgq.tick))") foreach qw(mailer copier);
	return;
}

# produces(NAME, COMMAND...): something comes into the queue.
sub produces
{
	my ($name, @command) = @_;
	my ($rc) = run_worker(\@command);

	is($rc, 0, "$name ends well");
	cmp_ok(scalar(@{ consume($node, 'shop', 'orders', 'all') }), '>', 0, '... with events');
	return;
}

foreach my $language (languages())
{
	my $name = $language->{name};
  SKIP:
	{
		skip "$name: $language->{missing}", 1 if $language->{missing};
		foreach my $program (sort keys %{ $language->{programs} })
		{
			my @command = @{ $language->{programs}{$program} };

			$program =~ /producer/
			  ? produces("$name, $program", @command)
			  : consumes("$name, $program", @command);
		}
		cmp_ok(scalar(keys %{ $language->{programs} }), '>', 3, "$name has programs");
	}
}
done_testing();
