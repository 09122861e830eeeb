
# doc/reference.md is what the extension's own comments say.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = $ENV{PGQ_TOP} // "$FindBin::RealBin/../..";
my $node = new_server('reference');
new_database($node, 'ref', slot => 0);

my ($out, $err) = run_command([
	'psql', '-X', '-q', '-d', $node->connstr('ref'),
	'-f', "$top/scripts/reference.sql" ]);
is($err, '', 'the reference can be written');

my $doc = slurp("$top/doc/reference.md");
chomp $doc;
is($out, $doc,
	'doc/reference.md is current: psql -Xqf scripts/reference.sql > doc/reference.md');
unlike($out, qr/^: $/m, 'every function and table has a comment');

$node->stop;
done_testing();
