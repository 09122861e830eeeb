
# What the tests of copies share: a consumer that keeps a copy of tables by
# what their events say and nothing else, and complains of events that do not
# fit to what it has.

package PgqCopy;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP ();
use PgqTest;
use Test::More;

our @EXPORT = qw(new_replica replica_read replica_is wait_copied copy_state);

my $json = JSON::PP->new->utf8(0)->canonical;

# new_replica(NODE, DATABASE, QUEUE, CONSUMER): of tables with a key "id" that
# are captured with format=json. partitions => { NAME => [ TABLE, SUB ] }: what
# TRUNCATE of a partition removes, those for whose id SUB is true.
sub new_replica
{
	my ($node, $db, $queue, $consumer, %opt) = @_;
	return {
		node => $node, db => $db, queue => $queue, consumer => $consumer,
		partitions => $opt{partitions} // {},
		tables => {}, inserted => {}, wrong => [], events => 0, copied => 0, others => []
	};
}

sub apply
{
	my ($r, $e) = @_;
	my $op = $json->decode($e->{ev_type})->{op};
	my $data = $json->decode($e->{ev_data});
	my $table = $e->{ev_extra1};
	my $id = $data->{id};
	my $rows = $r->{tables}{$table} //= {};

	$r->{events}++;
	if ($op eq 'INSERT')
	{
		if (($e->{ev_extra3} // '') eq 'copy') { $r->{copied}++ }
		else { $r->{inserted}{$table}{$id}++ }
	}
	if ($op eq 'TRUNCATE')
	{
		my $part = $r->{partitions}{$table};

		if ($part)
		{
			$rows = $r->{tables}{ $part->[0] };
			delete $rows->{$_} foreach grep { $part->[1]->($_) } keys %$rows;
		}
		else { $r->{tables}{$table} = {} }
		return;
	}
	push @{ $r->{wrong} },
	  "event $e->{ev_id}, $op of $table $id: it is "
	  . ($op eq 'INSERT' ? '' : 'not ') . 'there'
	  if ($op eq 'INSERT') == exists $rows->{$id};
	if ($op eq 'DELETE') { delete $rows->{$id} }
	else { $rows->{$id} = $json->encode($data) }
	return;
}

# Reads all that is in the queue; events of other kinds are kept in {others}.
# Returns how many changes there were.
sub replica_read
{
	my ($r) = @_;
	my $before = $r->{events};

	foreach my $e (@{ consume_json($r->{node}, $r->{db}, $r->{queue}, $r->{consumer}) })
	{
		if ($e->{ev_type} =~ /^\{/) { apply($r, $e) }
		else { push @{ $r->{others} }, $e }
	}
	return $r->{events} - $before;
}

sub some { return join(' ', grep { defined } @_[ 0 .. 4 ]) }

# Nothing did not fit so far, and the replica is what the tables are now.
sub replica_is
{
	my ($r, $what, @tables) = @_;

	is(join("\n", grep { defined } @{ $r->{wrong} }[ 0 .. 4 ]),
		'', "$what: each event fits to what was there");
	foreach my $table (@tables)
	{
		my %rows = map { my $d = $json->decode($_); $d->{id} => $json->encode($d) }
		  split(/\n/, sql($r->{node}, $r->{db},
			"select row_to_json(t)::text from $table t"));
		my $mine = $r->{tables}{$table} // {};

		is(some(grep { !exists $mine->{$_} } sort keys %rows),
			'', "$what: no row of $table is missing");
		is(some(grep { !exists $rows{$_} } sort keys %$mine),
			'', "$what: no row of $table is too many");
		is( some(grep { exists $mine->{$_} && $mine->{$_} ne $rows{$_} }
				  sort keys %rows),
			'', "$what: the rows of $table are the same");
	}
	return;
}

sub copy_state
{
	my ($node, $db, $table) = @_;
	return sql($node, $db, "select state from pgq.get_copy_info()
		where table_name = '$table'");
}

# Waits until no copy is under way any more.
sub wait_copied
{
	my ($node, $db) = @_;

	wait_for('copies', sub {
		sql($node, $db, q{select count(*) from pgq.copy
			where copy_state <> 'done'}) eq '0';
	});
	return;
}

1;
