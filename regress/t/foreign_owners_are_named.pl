
# Where PgQ, or a part of it, belongs to a role that nobody has called trusted,
# or such a role could put its code there, pgqd, pgqadm and libpgq do nothing, say
# who it is, and go on when that is mended or the role is named in
# database_owners.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $port = 20000 + $$ % 10000;

sql($node, $db, q{
	create role stranger; create role "dba, too"; create role dba;
	select pgq.create_queue('q'), pgq.register_consumer('q', 'c')});

# What a stranger has, how it is taken from him, and what is said.
my @cases = (
	[ 'grant create on schema pgq to stranger', 'revoke create on schema pgq from stranger',
		'stranger may create objects in schema "pgq"' ],
	[ 'grant create on schema pgq to public', 'revoke create on schema pgq from public',
		'PUBLIC may create objects in schema "pgq"' ],
	[ 'grant trigger on pgq.event_1_0 to stranger', 'revoke trigger on pgq.event_1_0 from stranger',
		'stranger may make triggers on table pgq.event_1_0' ],
	[ 'alter function pgq.version() owner to stranger', 'alter function pgq.version() owner to current_user',
		'function pgq.version() belongs to role stranger, who is not trusted' ],
	[ 'create view pgq.mine as select 1; alter view pgq.mine owner to stranger', 'drop view pgq.mine',
		'relation pgq.mine belongs to role stranger, who is not trusted' ],
	[ 'alter table pgq.retry_queue owner to stranger', 'alter table pgq.retry_queue owner to current_user',
		'relation pgq.retry_queue belongs to role stranger, who is not trusted' ],
	[ 'alter schema pgq owner to stranger', 'alter schema pgq owner to current_user',
		'schema "pgq" belongs to role stranger, who is not trusted' ],
	[ q{update pg_extension set extowner = 'stranger'::regrole where extname = 'pgq'},
		q{update pg_extension set extowner = current_user::regrole where extname = 'pgq'},
		'extension "pgq" belongs to role stranger, who is not trusted' ],
	[ 'alter extension pgq drop schema pgq', 'alter extension pgq add schema pgq',
		'schema "pgq" is not that of extension "pgq"' ]);

sub pgqadm
{
	my ($out, $err) = run_command([ 'pgqadm', '-d', $node->connstr($db), @_ ]);
	return "$out$err";
}
foreach my $case (@cases)
{
	my ($give, $take, $why) = @$case;

	sql($node, $db, $give);
	like(pgqadm('status'), qr/pgqadm: PgQ of database "shop" is left alone: \Q$why\E\nhint: /,
		"status: $why");
	is(sql($node, $db, q{select count(*) from pgq.queue}), 1, 'the queue is there');
	like(pgqadm('doctor'), qr/^problem  owners +\Q$why\E\n +fix: /m, 'doctor');
	{
		local $ENV{PGQ_DATABASE_OWNERS} = 'dba , stranger';
		like(pgqadm('doctor'), qr/^ok +owners$/m, 'but not when the role is trusted')
		  if $why !~ /PUBLIC|is not that/;
		local $ENV{PGQ_DATABASE_OWNERS} = 'strangers,dba';
		like(pgqadm('doctor'), qr/^problem  owners/m, 'or another one');
	}
	sql($node, $db, $take);
	like(pgqadm('doctor'), qr/^ok +owners$/m, 'and no longer when it is mended');
}

# libpgq by itself: pgqadm has asked for its own session before
my $case = $cases[3];
my $client = PostgreSQL::Test::Utils::tempdir() . '/consumer';
my $top = "$FindBin::RealBin/../..";
open(my $fh, '>', "$client.c") or die $!;
print $fh <<'END';
#include <stdio.h>
#include "consumer/libpgq.h"
int main(int argc, char **argv)
{
	PgqConsumer *c = pgq_open(argv[1], "q", "c", 0);
	printf("%s %s\n", pgq_sqlstate(c), pgq_error(c));
	pgq_close(c);
	return 0;
}
END
close $fh;
my $include = `pg_config --includedir`; chomp $include;
my $libdir = `pg_config --libdir`; chomp $libdir;
my $lib = -e "$top/consumer/libpgq.a" ? "$top/consumer/libpgq.a" : "$libdir/libpgq.a";
is(system('cc', '-I', $top, '-I', $include, '-o', $client, "$client.c", $lib, '-L', $libdir, '-lpq'),
	0, 'a client is built');
sql($node, $db, $case->[0]);
is(`$client "@{[ $node->connstr($db) ]}"`, "42501 $case->[2]\n", 'libpgq says so');
$ENV{PGQ_DATABASE_OWNERS} = 'stranger';
is(`$client "@{[ $node->connstr($db) ]}"`, " \n", 'and obeys the variable');
delete $ENV{PGQ_DATABASE_OWNERS};

# pgqadm's ini file, which is for its consumer, too
foreach my $owners ('stranger, dba', 'dba')
{
	my $ini = PostgreSQL::Test::Utils::tempdir() . '/pgqadm.ini';
	open(my $out, '>', $ini) or die $!;
	print $out "[pgqadm]\ndb = ", $node->connstr($db), "\ndatabase_owners = $owners\n";
	close $out;
	is(system('pgqadm', '-q', $ini, 'consume', 'q', 'c', '--once') == 0 ? 1 : 0,
		$owners =~ /stranger/ ? 1 : 0, "pgqadm's ini file: $owners");
}

# pgqd: at its start and while it runs; a role with a comma can't be named
my $pgqd = start_pgqd($node, http_listen => "127.0.0.1:$port", database_owners => 'dba, other');
$pgqd->wait_log(qr/\[shop\]: is left alone: \Q$case->[2]\E - Let a superuser own it/);
my $health = sub { HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port/health")->{content} };
like($health->(), qr/\[shop\]: is left alone: \Q$case->[2]\E/, 'so does pgqd, in /health too');
unlike($health->(), qr/^ok$/m, 'which is not well');
sql($node, $db, $case->[1]);
$pgqd->wait_log(qr/\[shop\]: pgq version ok/);
wait_for('health', sub { $health->() =~ /^ok$/m });
sql($node, $db, $cases[0][0]);
$pgqd->wait_log(qr/\[shop\]: is left alone: \Q$cases[0][2]\E/);
my $ticks = sql($node, $db, 'select pgq.ticker(); select max(tick_id) from pgq.tick');
my $n = () = $pgqd->text =~ /may create objects/g;
sleep(3);
is(sql($node, $db, 'select max(tick_id) from pgq.tick'), (split /\n/, $ticks)[-1], 'no more ticks');
is(scalar(() = $pgqd->text =~ /may create objects/g), $n, 'it is said once');
$pgqd->stop;
sql($node, $db, $cases[0][1]);

# queue_extra_maint: functions of trusted roles only
sql($node, $db, q{
	create table public.done (what text);
	grant insert on public.done to public;
	create schema trusted; create schema strange authorization stranger;
	create function trusted.ours(text) returns int language sql as
		$$insert into public.done values ('ours'); select 0$$;
	create function trusted.nobodys(text) returns int language sql as
		$$insert into public.done values ('nobodys'); select 0$$;
	alter function trusted.nobodys(text) owner to stranger;
	create function strange.strange(text) returns int language sql as
		$$insert into public.done values ('strange'); select 0$$;
	create function strange.ours(anyelement) returns int language sql as
		$$insert into public.done values ('strange ours'); select 0$$;
	update pgq.queue set queue_extra_maint = '{strange.strange, strange.ours, trusted.nobodys,
		trusted.missing, trusted.ours}'});
$pgqd = start_pgqd($node, maint_period => 0.3);
wait_for('maintenance', sub { sql($node, $db, 'select count(*) > 1 from public.done') eq 't' });
is(sql($node, $db, 'select distinct what from public.done'), 'ours',
	'maintenance runs functions of trusted roles only');
like($pgqd->text, qr/cannot run \Q$_\E\(q\): there is no such function that belongs/, "and says so: $_")
  foreach qw(strange.strange strange.ours trusted.nobodys trusted.missing);
is($pgqd->stop, 0, 'pgqd ends cleanly');

# What looks like a PgQ 3 from SQL files becomes no extension while it is a
# stranger's.
sql($node, 'postgres', 'create database old');
sql($node, 'old', q{
	create schema pgq authorization stranger;
	create function pgq.maint_operations() returns setof record language sql as 'select 1, 2'});
my ($rc, $out, $err) = $node->psql('old', "create extension pgq version 'unpackaged'");
like($err, qr/schema pgq belongs to role "stranger", who is no superuser/,
	'a schema of a stranger is not made the extension');

$node->stop;
done_testing();
