# Writers that keep a ledger of what they committed, consumers that write down
# what they read, and the comparison of both.
#
# Every transaction of a writer changes rows of several captured tables, and
# notes in the table "ledger", in the same transaction, which events each queue
# has to get from it, in order. Its last captured change is a row of "lane"
# that carries its number: transactions of one lane wait for each other, so
# their numbers are the order of their commits.
#
# Writers and consumers are processes that bear any failure of the server.

package PgqLedger;

use strict;
use warnings;

use IPC::Open2;
use Exporter 'import';
use POSIX ();
use PostgreSQL::Test::Utils ();
use Time::HiRes qw(sleep time);

our @EXPORT = qw(
  ledger_schema start_writer start_preparer start_consumer stop_helpers
  drain ledger_expected ledger_check
);

our @queues = qw(qa qb qc);

# Which queue gets which table; lane goes to all.
my %captures = (t0 => ['qa'], t1 => [ 'qa', 'qb' ], t2 => ['qb'], t3 => ['qc']);

my @helpers;

sub ledger_schema
{
	my $sql = q{
	create table lane (lane int, g int, client int, x int,
		primary key (lane, g));
	create table lane_counter (lane int primary key, g int not null);
	insert into lane_counter select i, 0 from generate_series(0, 9) i;
	create table ledger (lane int, g int, client int, x int, queue text,
		tokens text[], primary key (client, x, queue));
	create sequence run;
	};
	$sql .= qq{
	select pgq.create_queue('$_');
	select pgq.capture_table('$_', 'lane'::regclass);
	} foreach @queues;
	foreach my $t (sort keys %captures)
	{
		$sql .= qq{
		create table $t (client int, x int, id int, k int, pad text,
			primary key (client, x, id));
		};
		$sql .= "select pgq.capture_table('$_', '$t'::regclass);\n"
		  foreach @{ $captures{$t} };
	}
	my $of = join(' ',
		map { "when '$_' then '{" . join(',', @{ $captures{$_} }) . "}'" }
		  sort keys %captures);
	$sql .= qq{
	create function queues_of(t text) returns text[] immutable
		language sql as \$\$ select (case t $of end)::text[] \$\$;
	};
	$sql .= q{
	create procedure one_transaction(c int, xno int, l int, big int) as $$
	declare
		t text; q text; k int := 0; i int; what int; gno int;
		tok jsonb := '{"qa":[], "qb":[], "qc":[]}';
		fresh text[];
	begin
		for i in 1 .. 1 + (random() * 4)::int loop
			t := 't' || (random() * 3)::int;
			what := (random() * 9)::int;
			k := k + 1;
			execute format('insert into %I values ($1, $2, $3, $3,'
				' repeat(''x'', (random() * 300)::int))', t) using c, xno, k;
			fresh := array['I' || k];
			if what = 0 then
				k := k + 1;
				execute format('update %I set k = $3 where (client, x, id) = '
					'($1, $2, $4)', t) using c, xno, k, k - 1;
				fresh := fresh || ('U' || k);
			elsif what = 1 then
				execute format('delete from %I where (client, x, id) = '
					'($1, $2, $3)', t) using c, xno, k;
				fresh := fresh || ('D' || k);
			elsif what = 2 then
				begin
					execute format('insert into %I values ($1, $2, -1, -1)', t)
						using c, xno;
					raise exception 'back';
				exception when raise_exception then null;
				end;
			elsif what = 3 and big > 0 then
				execute format('insert into %I select $1, $2, n, n, '
					'repeat(''y'', 100) from generate_series($3::int, $4) n', t)
					using c, xno, k + 1, k + big;
				fresh := fresh || (select array_agg('I' || n)
					from generate_series(k + 1, k + big) n);
				k := k + big;
			end if;
			foreach q in array queues_of(t) loop
				tok := jsonb_set(tok, array[q], (tok->q) || to_jsonb(fresh));
			end loop;
		end loop;
		update lane_counter set g = g + 1 where lane = l returning g into gno;
		insert into lane values (l, gno, c, xno);
		insert into ledger select l, gno, c, xno, key,
			array(select jsonb_array_elements_text(value))
			from jsonb_each(tok);
	end $$ language plpgsql;

	-- transactions number x, x + 1, ... of client c; one of seven rolls back
	create procedure write_on(c int, l int, n int, nap float, big int) as $$
	declare
		xno int := nextval('run') * 100000;
	begin
		for i in 1 .. n loop
			xno := xno + 1;
			call one_transaction(c, xno, l,
				case when random() < 0.1 then big else 0 end);
			if random() < 0.14 then rollback; else commit; end if;
			perform pg_sleep(nap * random());
			commit;
		end loop;
	end $$ language plpgsql;
	};
	return $sql;
}

# Runs SUB in a process of its own until it is told to stop.
sub helper
{
	my ($sub) = @_;
	my $n = @helpers + 1;
	my $pid = fork() // die "fork: $!";

	if (!$pid)
	{
		my $stop = 0;

		$SIG{TERM} = sub { $stop = 1 };
		$SIG{PIPE} = 'IGNORE';
		open(STDOUT, '>>',
			"$PostgreSQL::Test::Utils::log_path/helper$n.log");
		open(STDERR, '>&', \*STDOUT);
		eval { $sub->(\$stop); 1 } or print STDERR "helper: $@";
		POSIX::_exit($@ ? 1 : 0);
	}
	push @helpers, $pid;
	return;
}

# A writer: any number of transactions, whatever breaks them off.
sub start_writer
{
	my ($connstr, $client, $lane, $nap, $big) = @_;

	helper(
		sub {
			my ($stop) = @_;

			while (!$$stop)
			{
				system('psql', '-XAtqc',
					"call write_on($client, $lane, 20, $nap, $big)",
					$connstr) == 0 or sleep(0.2);
			}
		});
	return;
}

# A writer of prepared transactions. One that is left over, by a crash or since it
# could not be ended, holds its lane: it is ended, one way or the other, before the
# next one begins, which would wait for it forever.
sub start_preparer
{
	my ($connstr, $client, $lane) = @_;

	helper(
		sub {
			my ($stop) = @_;

			for (;;)
			{
				my $left = `psql -XAtq "$connstr" -c "select gid from pg_prepared_xacts where gid like 'ledger%'"`;
				my $is_clean = $? == 0 && $left eq '';

				last if $$stop && $is_clean;
				foreach my $gid (split /\n/, $left)
				{
					my $how = rand() < 0.3 ? 'rollback' : 'commit';

					system('psql', '-XAtqc', "$how prepared '$gid'", $connstr);
				}
				if (!$is_clean)
				{
					sleep(0.1);
					next;
				}
				my $x = int(time() * 100) % 2000000000;
				open(my $fh, '|-', 'psql', '-XAtq', $connstr) or next;
				print $fh "begin; call one_transaction($client, $x, $lane, 0);\n"
				  . "prepare transaction 'ledger$x';\n";
				close($fh);
				sleep(rand() * 2);
			}
		});
	return;
}

# A psql that may die at any time. ask() returns its output, undef if it died
# or the statement failed.
package PgqLedger::Session;

use strict;
use warnings;

sub new
{
	my ($class, $connstr) = @_;
	return bless { connstr => $connstr, n => 0 }, $class;
}

sub ask
{
	my ($self, $sql) = @_;
	my $out = '';
	my $end = '__end_' . ++$self->{n} . '__';
	my $from;

	if (!$self->{pid})
	{
		$self->{pid} = eval {
			IPC::Open2::open2(
				$self->{from}, $self->{to}, 'psql', '-XAtq',
				'-v', 'ON_ERROR_STOP=1', $self->{connstr});
		};
		$self->{to}->autoflush(1);
	}
	$from = $self->{from};
	print { $self->{to} } "$sql;\n\\echo $end\n";
	while (my $line = <$from>)
	{
		chomp($line);
		return $out if $line eq $end;
		$out .= "$line\n";
	}
	$self->close;
	return;
}

sub close
{
	my ($self) = @_;

	return if !$self->{pid};
	CORE::close($self->{to});
	CORE::close($self->{from});
	waitpid($self->{pid}, 0);
	$self->{pid} = undef;
	return;
}

package PgqLedger;

# An event as one line: the ledger's token, or the row of lane.
my $line_sql = q{
	select ev_id || ' ' || case
		when ev_extra1 = 'public.lane' then 'L ' || (ev_data::json->>'lane')
			|| ' ' || (ev_data::json->>'g') || ' '
			|| (ev_data::json->>'client') || ' ' || (ev_data::json->>'x')
		else substr(ev_type::json->>'op', 1, 1) || ' ' || (ev_data::json->>'client') || ' '
			|| (ev_data::json->>'x') || ' ' || coalesce(ev_data::json->>'k',
				ev_data::json->>'id') end
	from pgq.get_batch_events(%s) order by ev_id};

# Reads one batch into the consumer's file: a head line, then the events. A batch
# is read, held for a while, read again and finished; each reading must be the
# same. Returns 1 for a batch, 0 for none, undef for a failure.
sub read_batch
{
	my ($s, $queue, $consumer, $fh, $hold) = @_;
	my $batch = $s->ask("select pgq.next_batch('$queue', '$consumer')");
	my ($first, $second);

	return if !defined $batch;
	chomp($batch);
	return 0 if $batch eq '';
	foreach my $time (0 .. ($hold > 0 ? 1 : 0))
	{
		my $events = $s->ask(sprintf($line_sql, $batch));

		return if !defined $events;
		print $fh "B $batch " . length($events) . "\n$events";
		$fh->flush;
		sleep($hold) if !$time && $hold > 0;
	}
	my $done = $s->ask("select pgq.finish_batch($batch)");
	return defined $done ? 1 : undef;
}

# A consumer that writes what it reads to FILE and holds each batch for up to
# HOLD seconds.
sub start_consumer
{
	my ($connstr, $queue, $consumer, $file, $hold) = @_;

	helper(
		sub {
			my ($stop) = @_;
			my $s = PgqLedger::Session->new($connstr);

			open(my $fh, '>>', $file) or die "$file: $!";
			while (!$$stop)
			{
				my $got = read_batch($s, $queue, $consumer, $fh,
					$hold * rand());

				sleep(0.1) if !$got;
			}
			$s->close;
		});
	return;
}

# Tells all helpers to stop and waits for them.
sub stop_helpers
{
	kill('TERM', $_) foreach @helpers;
	waitpid($_, 0) foreach @helpers;
	@helpers = ();
	return;
}

# Reads what is left, up to a fresh tick.
sub drain
{
	my ($connstr, $queue, $consumer, $file) = @_;
	my $s = PgqLedger::Session->new($connstr);

	open(my $fh, '>>', $file) or die "$file: $!";
	$s->ask("select pgq.force_tick('$queue'); select pgq.ticker('$queue')")
	  // die "can't tick";
	while (read_batch($s, $queue, $consumer, $fh, 0) // die "can't read") { }
	$s->close;
	close($fh);
	return;
}

# What the ledger says: { queue => { "client x" => "token token .." } } and the
# number of transactions.
sub ledger_expected
{
	my ($connstr) = @_;
	my %want;
	my $n = 0;

	open(my $fh, '-|', 'psql', '-XAtq', '-F', ' ', '-c',
		q{select queue, client, x, array_to_string(tokens, ' ') from ledger},
		$connstr) or die;
	while (my $line = <$fh>)
	{
		chomp($line);
		my ($queue, $client, $x, $tokens) = split / /, $line, 4;

		$want{$queue}{"$client $x"} = $tokens;
		$n++;
	}
	close($fh);
	return (\%want, $n / @queues);
}

# Compares a consumer's file with what the ledger wants of its queue. Returns
# the list of what is wrong, and how many events and batches were read.
sub ledger_check
{
	my ($file, $want) = @_;
	my (%batch, @order, @wrong, %seen, %lane, $last_id);
	my ($events, $again) = (0, 0);

	open(my $fh, '<', $file) or die "$file: $!";
	while (my $head = <$fh>)
	{
		my ($id, $len) = $head =~ /^B (\d+) (\d+)$/ or die "bad line: $head";
		my $text = '';

		read($fh, $text, $len) if $len > 0;
		if (!exists $batch{$id})
		{
			push @order, $id;
			$batch{$id} = $text;
		}
		else
		{
			$again++;
			push @wrong, "batch $id came back with other contents"
			  if $batch{$id} ne $text;
		}
	}
	foreach my $id (@order)
	{
		my ($open, @tokens) = ('');

		foreach my $line (split /\n/, $batch{$id})
		{
			my ($ev_id, $kind, @f) = split / /, $line;

			$events++;
			push @wrong, "event $ev_id after event $last_id"
			  if defined $last_id && $ev_id <= $last_id;
			$last_id = $ev_id;
			if ($kind eq 'L')
			{
				my ($lane, $g, $client, $x) = @f;
				my $key = "$client $x";

				push @wrong, "transaction $key ends inside of $open"
				  if @tokens && $open ne $key;
				push @wrong, "transaction $key comes twice" if $seen{$key}++;
				push @wrong, "transaction $key was never committed"
				  if !exists $want->{$key};
				push @wrong,
				  "transaction $key: events @tokens, not $want->{$key}"
				  if exists $want->{$key} && $want->{$key} ne "@tokens";
				push @wrong, "lane $lane: $g after $lane{$lane}"
				  if ($lane{$lane} // 0) >= $g;
				$lane{$lane} = $g;
				@tokens = ();
				$open = '';
			}
			else
			{
				my ($client, $x, $k) = @f;

				push @wrong, "events of $client $x inside of $open"
				  if @tokens && $open ne "$client $x";
				$open = "$client $x";
				push @tokens, "$kind$k";
			}
		}
		push @wrong, "transaction $open is split after batch $id" if @tokens;
	}
	push @wrong, map { "transaction $_ is missing" }
	  grep { !$seen{$_} } sort keys %$want;
	return (\@wrong, $events, scalar @order, $again);
}

END
{
	my $rc = $?;

	kill('KILL', $_) foreach @helpers;
	$? = $rc;
}

1;
