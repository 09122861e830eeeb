
# Builds tables again from events, as a consumer would: makes the statements
# for a copy of the tables, from nothing but the events, the documentation
# (doc/events.md) and the names of the tables.

package PgqReplay;

use strict;
use warnings;

use JSON::PP ();
use RandomValues qw(literal);

my $json = JSON::PP->new->utf8(1)->allow_nonref;

sub quoted
{
	my ($name) = @_;

	$name =~ s/"/""/g;
	return "\"$name\"";
}

# text_of(VALUE): what JSON::PP made of a value, as the text of a literal
sub text_of
{
	my ($value) = @_;

	return $value ? 't' : 'f' if ref $value;
	utf8::encode($value);
	return $value;
}

# A row of the json format: a list of [name, text or undef].
sub json_row
{
	my ($text) = @_;
	my $row = $json->decode($text);
	my %row;

	foreach my $name (keys %$row)
	{
		my $value = $row->{$name};

		utf8::encode($name);
		$row{$name} = defined $value ? text_of($value) : undef;
	}
	return \%row;
}

sub url_decoded
{
	my ($text) = @_;

	$text =~ tr/+/ /;
	$text =~ s/%([0-9a-f]{2})/chr(hex($1))/ge;
	return $text;
}

sub url_row
{
	my ($text) = @_;
	my %row;

	foreach my $pair (split(/&/, $text))
	{
		my ($name, $value) = split(/=/, $pair, 2);

		$row{ url_decoded($name) } = defined $value ? url_decoded($value) : undef;
	}
	return \%row;
}

# The names in a list that is joined by commas: those that fit to a column.
sub split_key
{
	my ($text, $columns) = @_;
	my @words = split(/,/, $text, -1);
	my @names;

	while (@words)
	{
		my $name = shift @words;

		$name .= ',' . shift @words while !exists $columns->{$name} && @words;
		push @names, $name;
	}
	return @names;
}

sub new
{
	my ($class, $marks) = @_;
	return bless { marks => $marks, tables => {}, out => [], n => 0, as_trigger => [] }, $class;
}

sub value_sql { return defined $_[0] ? literal($_[0]) : 'null'; }

# One row has to be hit, no more and no less.
sub one
{
	my ($self, $statement) = @_;

	push @{ $self->{out} },
	  "with x as ($statement returning 1) select rnd.one(count(*), $self->{n}) from x;";
	return;
}

sub condition
{
	my ($table, $row, @names) = @_;

	return join(' and ', map {
		quoted($_) . (defined $row->{$_} ? ' = ' . literal($row->{$_}) . "::$table->{types}{$_}" : ' is null')
	} @names);
}

# The one row that looks like this, of any number that do.
sub like_row
{
	my ($table, $row) = @_;
	my @parts = map {
		quoted($_) . '::text ' . (defined $row->{$_}
			? "= (" . literal($row->{$_}) . "::$table->{types}{$_})::text" : 'is null')
	} sort keys %$row;

	return "(tableoid, ctid) = (select tableoid, ctid from $table->{name} where "
	  . join(' and ', @parts) . ' limit 1)';
}

# insert, update and delete of the json and urlenc formats
sub replay_row
{
	my ($self, $op, $table, $data, $key, $old) = @_;
	my $name = $table->{name};
	my @set = grep { !$table->{generated}{$_} } sort keys %$data;
	my $where;

	if ($op eq 'INSERT')
	{
		$self->one("insert into $name (" . join(', ', map { quoted($_) } @set)
			  . ') values (' . join(', ', map { value_sql($data->{$_}) } @set) . ')');
		return;
	}
	my $from = $old // $data;
	$where = @$key ? condition($table, $from, @$key) : like_row($table, $from);
	# with backup the whole old row has to be there
	$where .= ' and ' . like_row_check($table, $old) if $old && @$key;
	if ($op eq 'DELETE')
	{
		$self->one("delete from $name where $where");
		return;
	}
	$self->one("update $name set " . join(', ',
		map { quoted($_) . ' = ' . value_sql($data->{$_}) } @set) . " where $where");
	return;
}

sub like_row_check
{
	my ($table, $row) = @_;

	return join(' and ', 'true', map {
		quoted($_) . '::text ' . (defined $row->{$_}
			? "= (" . literal($row->{$_}) . "::$table->{types}{$_})::text" : 'is null')
	} sort keys %$row);
}

sub replay_sql
{
	my ($self, $event, $table) = @_;
	my $data = $event->{ev_data};
	my $name = $table->{name};

	if ($event->{ev_type} eq 'I') { $self->one("insert into $name $data") }
	elsif ($event->{ev_type} eq 'U') { $self->one("update $name set $data") }
	else { $self->one("delete from $name where $data") }
	return;
}

sub pass_mark
{
	my ($self, $number) = @_;
	my $mark = $self->{marks}[$number];

	push @{ $self->{out} }, @{ $mark->{sql} };
	$self->{tables} = $mark->{tables};
	return;
}

# What the test has seen of each kind, to be told at its end.
our %seen;

sub count
{
	my ($self, $e) = @_;
	my ($op) = $e->{ev_type} =~ /^(?:\{"op":")?(\w)/;

	$seen{ ($e->{ev_type} =~ /^\{/ ? 'json' : $e->{ev_type} =~ /:/ ? 'urlenc' : 'sql') . " $op" }++;
	$seen{'old row or key'}++ if defined $e->{ev_extra2};
	$seen{'unchanged'}++ if defined $e->{ev_extra4};
	$seen{'partition'}++ if ($e->{ev_extra3} // '') eq 'partition';
	$seen{'no key'}++ if $e->{ev_type} =~ /"pkey":\[\]|:$/;
	return;
}

# The fields that a trigger writes, too.
sub event_text
{
	my ($e) = @_;
	return join('|', map { defined $e->{$_} ? "=$e->{$_}" : '-' }
		  qw(ev_type ev_data ev_extra1 ev_extra2 ev_extra3 ev_extra4));
}

# event(HASH): ev_type, ev_data, ev_extra1 .. 4 as bytes
sub event
{
	my ($self, $e) = @_;
	my $type = $e->{ev_type};

	$self->{n}++;
	$self->count($e);
	if ($e->{ev_extra1} eq 'rnd.mark')
	{
		$self->pass_mark(json_row($e->{ev_data})->{n});
		return;
	}
	my $table = $self->{tables}{ $e->{ev_extra1} }
	  or die "event $self->{n} of unknown table $e->{ev_extra1}\n";
	push @{ $self->{as_trigger} }, event_text($e) if $table->{trigger};

	if ($type eq 'R' || $type =~ /^\{"op":"TRUNCATE"/)
	{
		push @{ $self->{out} }, "truncate $table->{name};";
	}
	elsif ($type =~ /^[IUD]$/)
	{
		$self->replay_sql($e, $table);
	}
	elsif ($type =~ /^([IUD]):(.*)$/s)
	{
		my $data = url_row($e->{ev_data});
		my %op = (I => 'INSERT', U => 'UPDATE', D => 'DELETE');
		my @key = split_key($2, $table->{types});

		$self->replay_row($op{$1}, $table, $data, \@key,
			defined $e->{ev_extra2} ? url_row($e->{ev_extra2}) : undef);
	}
	else
	{
		my $about = $json->decode($type);
		my @key = map { text_of($_) } @{ $about->{pkey} };

		$self->replay_row($about->{op}, $table, json_row($e->{ev_data}), \@key,
			defined $e->{ev_extra2} ? json_row($e->{ev_extra2}) : undef);
	}
	return;
}

sub parsed
{
	my ($line) = @_;
	my $e = $json->decode($line);

	defined && utf8::encode($_) foreach values %$e;
	return $e;
}

# line(TEXT): an event as the plugin's text format has it
sub line
{
	my ($self, $line) = @_;

	$self->event(parsed($line));
	return;
}

1;
