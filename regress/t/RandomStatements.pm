
# The statements of RandomSchema: changes of rows and of the schema.

package RandomSchema;

use strict;
use warnings;

use RandomValues qw(any chance value odd_name);

# A value for a column; partition keys must find their partition.
sub value_for
{
	my ($self, $t, $c) = @_;
	my @opt = (null => !($c->{notnull} || $c->{key}), large => !$c->{key});

	return int(rand(40)) if $t->{partitioned} && $c->{name} eq $t->{part_key};
	# in the sql format a condition has to find one row
	return "md5('" . rand() . "')::uuid" if $t->{simple} && $c->{type} eq 'uuid';
	return int(rand(60)) if $c->{key} && $c->{type} =~ /^int[48]$/;
	return $self->here(value($c->{type}, @opt));
}

sub writable { return grep { !$_->{generated} && ($_->{identity} // '') ne 'always' } @{ $_[0]{cols} }; }

# The table, or one of its partitions in its place.
sub target
{
	my ($t) = @_;
	my @leaves = grep { $_->{attached} } @{ $t->{leaves} // [] };

	return name_of(@leaves && chance(5) ? any(@leaves) : $t);
}

sub some_rows
{
	my ($t, $n) = @_;
	my $name = name_of($t);

	return "(tableoid, ctid) in (select tableoid, ctid from $name x "
	  . "order by md5(x::text), ctid limit $n offset " . int(rand 4) . ")";
}

sub insert
{
	my ($self, $t) = @_;
	my @cols = grep { $_->{notnull} || $_->{key} || !chance(5) } writable($t);
	@cols = writable($t) if !@cols;
	my $names = join(', ', map { quoted($_->{name}) } @cols);
	my @rows = map {
		join(', ', map { $self->value_for($t, $_) } @cols) } 1 .. any(1, 1, 2, 4);
	my $into = target($t) . " ($names)";

	if (chance(6))
	{
		my $file = "/tmp/pgq_rnd_$$.copy";
		my $casts = sub {
			my @values = map {
				"(" . $self->value_for($t, $_) . ")::" . $self->here($_->{type}) } @cols;
			return 'select ' . join(', ', @values) };

		return ("copy (" . join(' union all ', map { $casts->() } 1 .. 3) . ") to '$file'",
			"copy $into from '$file'");
	}
	my $sql = "insert into $into values (" . join('), (', @rows) . ')';
	my @set = grep { !$_->{key} } @cols;
	if (@{ $t->{pk} } && @set && chance(4) && $t->{kind} ne 'insert' && $into !~ /"p/)
	{
		my $c = quoted(any(@set)->{name});

		$sql .= ' on conflict (' . join(', ', map { quoted($_) } @{ $t->{pk} }) . ') do '
		  . any('nothing', "update set $c = excluded.$c");
	}
	return $sql;
}

sub update
{
	my ($self, $t) = @_;
	my @cols = writable($t);
	my @free = grep { !$_->{key} } @cols;
	my @set = grep { chance(3) } @free;
	my @parts;

	@set = any(@free) if !@set && @free;
	# triggers refuse to change the key
	push @set, grep { $_->{key} && chance(2) } @cols if !$t->{trigger} && chance(4);
	return $self->insert($t) if !@set && $t->{trigger};
	@set = @cols if !@set;
	foreach my $c (@set)
	{
		my $name = quoted($c->{name});

		push @parts, "$name = " . (chance(6) ? $name : $self->value_for($t, $c));
	}
	return 'update ' . name_of($t) . ' set ' . join(', ', @parts) . ' where '
	  . some_rows($t, any(1, 1, 2, 5));
}

sub delete
{
	my ($self, $t) = @_;
	return 'delete from ' . name_of($t) . ' where ' . some_rows($t, any(1, 1, 2));
}

# Statements that change rows of one table.
sub dml
{
	my ($self, $t) = @_;

	return 'truncate ' . target($t) if chance(25);
	return $self->insert($t) if $t->{kind} eq 'insert' || chance(2);
	return chance(4) ? $self->delete($t) : $self->update($t);
}

sub some_dml
{
	my ($self, @tables) = @_;

	$self->say(map { "$_;" } $self->dml(any(@tables))) for 1 .. 1 + rand 4;
	return;
}

# Lines that are undone: the schema is afterwards what it was.
sub undone
{
	my ($self, $t) = @_;

	$self->some_dml($t);
	return if !chance(3);
	$self->say('alter table ' . name_of($t) . ' add column zz_tmp int default 7;',
		'insert into rnd.mark values (-1);');
	$self->some_dml($t);
	return;
}

sub subtransactions
{
	my ($self) = @_;

	$self->some_dml(@{ $self->{tables} });
	$self->say('savepoint a;');
	$self->undone(any(@{ $self->{tables} }));
	if (chance(2))
	{
		$self->say('savepoint b;');
		$self->some_dml(@{ $self->{tables} });
		$self->say(any('release b;', 'rollback to b;'));
	}
	$self->say('rollback to a;');
	$self->some_dml(@{ $self->{tables} });
	return;
}

sub prepared
{
	my ($self) = @_;
	my $id = "p$self->{seed}_" . @{ $self->{script} };
	my ($mine, @others) = sort { rand() <=> 0.5 } @{ $self->{tables} };

	$self->say('begin;');
	$self->some_dml($mine);
	$self->say("prepare transaction '$id';");
	if (@others)
	{
		# locks of the prepared one must not be in the way
		my @free = grep { $_ != $mine } @others;
		$self->some_dml(@free);
	}
	$self->say((chance(3) ? 'rollback' : 'commit') . " prepared '$id';");
	return;
}

# Columns that a change of the schema may touch.
sub free_columns
{
	my ($t) = @_;
	return grep { !$_->{key} && !$_->{used} && !$_->{generated} && !$_->{ignored}
		&& !$_->{in_expr}
		&& $_->{name} ne $t->{part_key} && !$_->{identity}
		&& !($t->{only_columns}) } @{ $t->{cols} };
}

my %retype = (
	int2 => [ 'int8', 'text', 'numeric' ], int4 => [ 'int8', 'text', 'numeric' ],
	bool => ['text'], uuid => ['text'], text => ['varchar'], json => [ 'jsonb', 'text' ],
	jsonb => [ 'json', 'text' ], 'varchar(80)' => ['text'], date => [ 'timestamp', 'text' ],
	'HERE.mood' => ['text'], 'HERE.small' => ['int4'], 'int4[]' => ['text'],
	timestamptz => ['text'], 'HERE.label' => ['text']);

# Any column, those that the capture's arguments name too: these follow. A list
# can't hold every name.
sub rename_column
{
	my ($t) = @_;
	# the arguments of triggers don't follow
	my $c = any($t->{trigger} ? free_columns($t) : grep { !$_->{used} } @{ $t->{cols} })
	  // return;
	my $old = $c->{name};
	my $named = grep { /^(ignore|columns|pkey)=/ } @{ $t->{args} };

	do { $c->{name} = odd_name('r') } while $named && $c->{name} =~ /,/;
	$_ = $_ eq $old ? $c->{name} : $_ foreach @{ $t->{pk} };
	$t->{part_key} = $c->{name} if $t->{part_key} eq $old;
	foreach my $arg (@{ $t->{args} })
	{
		if ($arg =~ /^(ignore|columns|pkey)=(.*)/s)
		{
			$arg = "$1=" . join(',',
				map { $_ eq $old ? $c->{name} : $_ } split(/, ?/, $2));
		}
		elsif ($arg =~ /^ev_/ && $c->{in_expr})
		{
			$arg = expression_on($c);
		}
	}
	return 'alter table ' . name_of($t) . ' rename column ' . quoted($old)
	  . ' to ' . quoted($c->{name});
}

sub alter_table
{
	my ($self, $t) = @_;
	my $alter = 'alter table ' . name_of($t);
	my @free = free_columns($t);
	my $c = @free ? any(@free) : undef;
	my $what = any(qw(add add drop rename rename retype default null table
		schema identity rewrite cluster storage leaf leaf detach names));

	if ($what eq 'add')
	{
		my $new = $self->new_column($t);

		$new->{type} = any('int4', 'text', 'HERE.small', 'HERE.mood', 'timestamptz')
		  if chance(2);
		$new->{ignored} = 1 if $t->{only_columns};
		$new->{default} = $self->here(value($new->{type}, null => 0)) if chance(2);
		$new->{notnull} = 1
		  if defined $new->{default} && chance(2) && !$new->{ignored};
		push @{ $t->{cols} }, $new;
		return "$alter add column " . $self->column_sql($new);
	}
	if ($what eq 'drop' && $c && @free > 1)
	{
		$t->{cols} = [ grep { $_ != $c } @{ $t->{cols} } ];
		return "$alter drop column " . quoted($c->{name});
	}
	return rename_column($t) if $what eq 'rename';
	if ($what eq 'retype' && $c && $retype{ $c->{type} } && !$c->{notnull})
	{
		my $name = quoted($c->{name});

		$c->{type} = any(@{ $retype{ $c->{type} } });
		$c->{type} = 'varchar(80)' if $c->{type} eq 'varchar';
		my @sql = ("$alter alter $name drop default");
		delete $c->{default};
		my $type = $self->here($c->{type});
		my $using = $c->{type} eq 'varchar(80)' ? "left($name, 80)" : "$name\::text";
		return (@sql, "$alter alter $name type $type using $using\::$type");
	}
	if ($what eq 'default' && $c)
	{
		return "$alter alter " . quoted($c->{name}) . ' set default '
		  . $self->here(value($c->{type}, null => 0));
	}
	if ($what eq 'null' && $c && $c->{notnull} && !$t->{partitioned})
	{
		delete $c->{notnull};
		return "$alter alter " . quoted($c->{name}) . ' drop not null';
	}
	if ($what eq 'table')
	{
		$t->{name} = odd_name('t');
		return "$alter rename to " . quoted($t->{name});
	}
	if ($what eq 'schema')
	{
		my ($other) = grep { $_ ne $t->{schema} } @{ $self->{schemas} };

		$t->{schema} = $other;
		return "$alter set schema " . quoted($other);
	}
	if ($what eq 'names')
	{
		my $i = int(rand 2);
		my $old = $self->{schemas}[$i];
		my $new = $self->{schemas}[$i] = $self->schema_name;

		foreach my $r (map { $_, @{ $_->{leaves} // [] } } @{ $self->{tables} })
		{
			$r->{schema} = $new if $r->{schema} eq $old;
		}
		$self->{types_in} = $new if $self->{types_in} eq $old;
		return 'alter schema ' . quoted($old) . ' rename to ' . quoted($new);
	}
	if ($what eq 'identity' && !$t->{partitioned} && !$t->{trigger} && $t->{kind} =~ /^(pk|full|index)$/
		&& !grep { /backup/ } @{ $t->{args} })
	{
		$t->{identity} = any('FULL', 'DEFAULT');
		return "$alter replica identity $t->{identity}";
	}
	if ($what eq 'storage')
	{
		my ($text) = grep { $_->{type} eq 'text' } @free;
		return if !$text;
		return "$alter alter " . quoted($text->{name}) . ' set storage external';
	}
	if ($what eq 'leaf' && $t->{partitioned})
	{
		my ($leaf) = grep { !$_->{attached} } @{ $t->{leaves} };

		return $self->new_leaf($t) if !$leaf || $leaf->{stale};
		$leaf->{attached} = 1;
		return $self->attach_sql($t, $leaf);
	}
	if ($what eq 'detach' && $t->{partitioned})
	{
		my @attached = grep { $_->{attached} } @{ $t->{leaves} };
		return if @attached < 2;
		my $leaf = any(@attached);

		if (chance(3))
		{
			$t->{leaves} = [ grep { $_ != $leaf } @{ $t->{leaves} } ];
			return 'drop table ' . name_of($leaf);
		}
		$leaf->{attached} = 0;
		return "$alter detach partition " . name_of($leaf);
	}
	return;
}

# Columns differ once the table has changed without a detached partition.
sub note_stale
{
	my ($t, @sql) = @_;

	return if !grep { / (column|type|identity|null) / } @sql;
	$_->{attached} || ($_->{stale} = 1) foreach @{ $t->{leaves} // [] };
	return;
}

# Changes that leave rows and columns as they are; the copy need not hear.
sub rewrite
{
	my ($self, $t) = @_;
	my $name = name_of($t);

	return "vacuum full $name;" if chance(2);
	return if $t->{partitioned} || !@{ $t->{pk} };
	return "alter table $name set (fillfactor = 90);" if chance(2);
	return "reindex table $name;";
}

# What must not be possible while the table is captured.
sub refused
{
	my ($self, $t) = @_;
	my $alter = 'alter table ' . name_of($t);
	my $needed = $t->{kind} eq 'keyless' ? undef : (grep { $_->{key} } @{ $t->{cols} })[0];
	my @ways;

	return if $t->{kind} eq 'insert';
	push @ways, "$alter replica identity nothing" if !$t->{partitioned};
	push @ways, "$alter set unlogged" if !$t->{partitioned};
	push @ways, "$alter replica identity default" if $t->{kind} eq 'keyless'
	  && !$t->{partitioned};
	push @ways, "$alter drop column " . quoted($needed->{name})
	  if $needed && !$t->{partitioned} && $t->{identity} ne 'FULL';
	push @ways, "$alter alter " . quoted($needed->{name})
	  . ' type text using \'x\'' if $needed && $needed->{type} =~ /^(int8|uuid)$/
	  && !$t->{partitioned};
	return if !@ways;
	$self->say(any(@ways) . ';');
	$self->{expect}{ scalar @{ $self->{script} } } = '55000';
	return;
}

sub capture_anew
{
	my ($self, $t) = @_;

	return if $t->{simple} || $t->{kind} eq 'keyless' || $t->{trigger};
	$t->{format} = any('json', 'urlenc', 'sql');
	s/^format=.*/format=$t->{format}/ foreach @{ $t->{args} };
	$self->say('select pgq.uncapture_table('
		. join(', ', sql_text($self->{queue}), sql_text(name_of($t)) . '::regclass')
		. ');') if chance(2);
	$self->say($self->capture_call($t) . ';');
	return;
}

sub change_schema
{
	my ($self) = @_;
	my $t = any(@{ $self->{tables} });
	my @sql = $self->alter_table($t);

	return if !@sql;
	note_stale($t, @sql);
	$self->ddl(@sql);
	return;
}

sub drop_table
{
	my ($self) = @_;
	my $i = int(rand @{ $self->{tables} });
	my ($t) = splice(@{ $self->{tables} }, $i, 1);

	$self->ddl('drop table ' . name_of($t));
	$self->add_table;
	# the name comes back with another table behind it
	my $new = $self->{tables}[-1];
	return if !chance(2);
	my $alter = 'alter table ' . name_of($new);
	@$new{qw(schema name)} = ($new->{schema}, $t->{name});
	$self->ddl("$alter rename to " . quoted($t->{name}));
	return;
}

# One step of the stream.
sub step
{
	my ($self) = @_;
	my @tables = @{ $self->{tables} };
	my $kind = any(qw(plain plain plain plain transaction transaction mixed mixed
		ddl ddl rollback savepoint savepoint prepared refused rewrite capture
		enum drop));

	if ($kind eq 'plain') { $self->some_dml(@tables) }
	elsif ($kind eq 'ddl') { $self->change_schema }
	elsif ($kind eq 'prepared') { $self->prepared }
	elsif ($kind eq 'refused') { $self->refused(any(@tables)) }
	elsif ($kind eq 'rewrite') { $self->say($self->rewrite(any(@tables))) }
	elsif ($kind eq 'capture') { $self->capture_anew(any(@tables)) }
	elsif ($kind eq 'drop') { $self->drop_table if chance(2) }
	elsif ($kind eq 'enum') { $self->rename_enum }
	else
	{
		$self->say('begin;');
		if ($kind eq 'savepoint') { $self->subtransactions }
		elsif ($kind eq 'rollback') { $self->undone(any(@tables)) }
		elsif ($kind eq 'mixed')
		{
			for (1 .. 2 + rand 2)
			{
				$self->some_dml(@tables);
				$self->change_schema;
			}
			$self->some_dml(@tables);
		}
		else { $self->some_dml(@tables) for 1 .. 2 }
		$self->say($kind eq 'rollback' ? 'rollback;' : 'commit;');
	}
	return;
}

# A label that is in old events under its old name.
sub rename_enum
{
	my ($self) = @_;
	my $type = $self->here('HERE.mood');

	return if $self->{enum_renamed}++;
	$self->ddl("alter type $type add value 'new one' before 'sad'");
	return;
}

sub steps
{
	my ($self, $n, $between) = @_;

	for (1 .. $n)
	{
		$self->step;
		$self->check;
		$self->say($between->()) if $between;
	}
	return;
}

1;
