
# Every block of README.md does what the text around it says, in its order.
#
# Blocks of language sh are one bash session; conf is put into postgresql.conf, and
# the server restarted; sql is run statement by statement; json is what a
# program in the background prints. What is not as written:
# - make, sudo and scripts/... do nothing: this server has been built and
#   installed by them, and scripts/demo is a test by itself
# - sql blocks have a database of their own, lest they and the consumer in the
#   background take each other's batches; next_batch is asked until it answers

use strict;
use warnings;

use DocBlocks;
use FindBin;
use PgqTest;
use Test::More;
use IPC::Run;

my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init;
# the test modules set these otherwise than PostgreSQL's defaults
$node->append_conf('postgresql.conf',
	"wal_level = replica\nmax_wal_senders = 10\n");
$node->start;

my $dir = PostgreSQL::Test::Utils::tempdir();
my @blocks = doc_blocks("$FindBin::Bin/../../README.md");
my ($in, $out) = ('', '');
my $shell = IPC::Run::start(
	[ 'bash', '-c', "cd '$dir' && exec bash -e" ],
	'<', \$in, '>&', \$out,
	IPC::Run::timeout(120));

# Functions may have such names in bash.
$in .= join('', map { "function $_ { :; }\n" }
	  qw(make sudo scripts/demo scripts/install-deps scripts/check));
$in .= "export HOME='$dir' PGHOST='" . $node->host . "' PGPORT=" . $node->port
  . " PGDATABASE=postgres\n";

# until(PATTERN): pumps the shell until its output has it, or it ends.
sub until_output
{
	my ($pattern) = @_;

	# a time-out dies
	eval { $shell->pump while $out !~ $pattern && $shell->pumpable };
	return $out =~ $pattern;
}

sub set_conf
{
	my ($text) = @_;

	# servers of before that minor release do not know it
	$text =~ s/^output_plugin_libraries.*\n//m
	  if slurp($ENV{PGQ_CONF}) !~ /output_plugin_libraries/;
	$node->append_conf('postgresql.conf', $text);
	$node->restart;
	return 1;
}

sub run_sql
{
	my ($text) = @_;

	new_database($node, 'readme_sql');
	sql($node, 'readme_sql', 'create table item (id int primary key, name text)');
	for my $statement ($text =~ /\G\s*([^;]+;)[^\n]*/g)
	{
		my $result = sql($node, 'readme_sql', $statement);

		if ($statement =~ /next_batch/)
		{
			$result = wait_for($statement,
				sub { sql($node, 'readme_sql', $statement) });
			is($result, '1', "$statement: the batch that the next lines name");
		}
		else
		{
			isnt($result, '', $statement);
		}
	}
	return;
}

my $nr = 0;
for my $block (@blocks)
{
	my $name = sprintf('block %d (%s)', ++$nr, $block->{heading});

	if ($block->{lang} =~ /^(python|go|js)$/)
	{
		next;    # test client_examples_work runs them
	}
	elsif ($block->{lang} eq 'sh')
	{
		$in .= "$block->{text}\necho 'end of $nr'\n";
		ok(until_output(qr/^end of $nr$/m), $name)
		  or diag("$block->{text}\n$out");
	}
	elsif ($block->{lang} eq 'conf')
	{
		ok(set_conf($block->{text}), $name);
	}
	elsif ($block->{lang} eq 'sql')
	{
		run_sql($block->{text});
	}
	elsif ($block->{lang} eq 'json')
	{
		# the keys in order; values are of their kind, and "..." is the rest
		my $pattern = quotemeta($block->{text} =~ s/\s+\z//r);
		$pattern =~ s/\\"\d{4}\\-[^"]*\\"/"[^"]*"/g;
		$pattern =~ s/\\:\d+/:\\d+/g;
		$pattern =~ s/(\\\.){3}/.*/g;
		ok(until_output(qr/^$pattern/m), $name) or diag("$pattern\n$out");
	}
	else
	{
		is($block->{lang}, '', "$name: a picture");
	}
	last if !Test::More->builder->is_passing;
}

$in .= "kill \$(jobs -p)\nexit\n";
$shell->finish;
cmp_ok(scalar(grep { $_->{lang} eq 'sh' } @blocks), '>=', 3, 'blocks were found');
foreach my $command ('scripts/demo', 'scripts/check')
{
	is(scalar(grep { $_->{lang} eq 'sh' && $_->{text} eq "$command\n" } @blocks),
		1, "$command stands by itself");
}

done_testing();
