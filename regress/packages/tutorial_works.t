
# Every command of doc/tutorial.md, in its order, does what the text says.
#
# Blocks of language sh are run by one who may sudo, in the source tree; those
# with the note "pgqadm" by that user, at home; those of language sql by psql, by
# that user too. A block without a language is what the block before it
# prints. The version of PostgreSQL is the one that is here, and the list of output
# plugins is set only where the server has one, as the text says.

use strict;
use warnings;

use DocBlocks;
use PackageRoot;
use Test::More;

start_server(conf => '');
output('useradd -m -s /bin/bash reader && chown -R reader /pgq');
# sudo complains about a host without an address
output('echo "127.0.0.1 $(hostname)" >>/etc/hosts');
output(q{echo 'reader ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/reader});

my %run = (
	'sh' => 'runuser -u reader -- sh -c "cd /pgq && exec bash -e /tmp/block"',
	'sh pgqadm' => 'sudo -iu pgqadm sh -e /tmp/block',
	'sql ' => 'sudo -iu pgqadm psql -XAtq -v ON_ERROR_STOP=1 -d shop -f /tmp/block');
$run{'sh '} = $run{sh};

my $printed = '';
my $nr = 0;

for my $block (doc_blocks('/pgq/doc/tutorial.md'))
{
	my $name = sprintf('block %d (%s)', ++$nr, $block->{heading});

	$block->{text} =~ s/postgresql-15\b/postgresql-$version/g;
	next if $block->{text} =~ /output_plugin_libraries/ && !has_plugin_list();
	if ($block->{lang} eq '')
	{
		is("$printed\n", $block->{text}, "$name: as printed");
		next;
	}
	my $command = $run{"$block->{lang} $block->{note}"}
	  // die "$name: no way to run it\n";
	open(my $fh, '>', '/tmp/block') or die $!;
	print $fh $block->{text};
	close $fh;
	$printed = works($command, $name);
	last if !Test::More->builder->is_passing;
}

is(daemons(), '', 'in the end nothing runs');
is(sql('shop', 'select count(*) from pg_replication_slots'), '0',
	'and no slot is left');

done_testing();
