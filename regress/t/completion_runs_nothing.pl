# The shell's completion offers queues and databases by their names, fit to be
# typed, and runs no command that a name holds.

use strict;
use warnings;

use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();
my $script = (glob("$ENV{PGQ_TREE}/usr/share/postgresql/*/"
	  . 'bash-completion/completions/pgqadm'))[0];
my $evil = '$(touch${IFS}ran)';

plan skip_all => 'completion is not installed' if !$script;
sql($node, $db, "select pgq.create_queue(n) from unnest(array['orders',
	'two words', \$\$$evil\$\$]) n");
sql($node, 'postgres', "create database \"$evil\"");

# complete(WORD...): what is offered for the last one, as the shell reads it
sub complete
{
	my $out = '';
	my $words = join(' ', map { "'$_'" } @_);

	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	IPC::Run::run(['bash', '-c', "cd '$dir'; . '$script'; COMP_WORDS=($words);"
		. " COMP_CWORD=$#_; _pgqadm 2>/dev/null;"
		. ' for word in "${COMPREPLY[@]}"; do echo "$word"; done'],
		'<', \undef, '>', \$out, IPC::Run::timeout(60));
	return [ sort split(/\n/, $out) ];
}

my $quoted = $evil =~ s/([^\w\/.])/\\$1/gr;
is_deeply(complete('pgqadm', '-d', $db, 'drop', ''),
	[ sort 'orders', 'two\ words', $quoted ], 'all queues');
is_deeply(complete('pgqadm', '-d', $db, 'drop', 'or'), ['orders'], 'one');
is_deeply(complete('pgqadm', '-d', ''), [ sort 'postgres', $db, 'template1', $quoted ],
	'all databases');
ok(!-e "$dir/ran", 'no command in a name was run');

done_testing();
