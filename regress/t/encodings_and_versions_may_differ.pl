
# Queues on a host whose encoding is not that of its sources: text comes converted, in
# data, types, keys and extra fields. A character that the host has not stops its source
# and no other. The host may be a server of another version, and so may the source:
# PGQ_OTHER_SERVER names one's installation, the folder above bin/, with PgQ in it
# (scripts/check-mixed makes it); without, both are of this version.

use strict;
use warnings;

use PgqTest;
use Test::More;

# all texts below are bytes of UTF-8
$ENV{PGCLIENTENCODING} = 'UTF8';

sub new_database_of
{
	my ($node, $db, $encoding) = @_;

	sql($node, 'postgres',
		"create database \"$db\" encoding '$encoding' locale 'C' template template0");
	sql($node, $db, 'create extension pgq');
	return;
}

# A source of encoding ENCODING, and in the host a database for its queue.
sub new_source
{
	my ($source, $encoding, $host, $host_encoding) = @_;
	my $db = lc $encoding;

	new_database_of($source, $db, $encoding);
	sql($source, $db, q{select pgq.declare_remote_queue('orders')});
	sql($source, $db, 'select pgq.start_capture()');
	sql($source, $db, q{
		create table "größe" ("schlüssel" text primary key, v text);
		create table one (id int primary key, v text);
		alter table one replica identity full;
		select pgq.capture_table('orders', '"größe"', 'ev_extra2=v'),
			pgq.capture_table('orders', 'one', 'format=urlenc', 'backup', 'ev_extra3=v')});

	new_database_of($host, "for_$db", $host_encoding);
	sql($host, "for_$db", qq{
		select pgq.create_queue('orders'), pgq.register_consumer('orders', 'c'),
			pgq.create_source('$db', 'orders')});
	return ($db => {
		connstr => 'host=' . $source->host . ' port=' . $source->port . " dbname=$db",
		queue_db => "for_$db" });
}

# What SOURCE sends arrives at HOST.
sub try_pair
{
	my ($source, $host) = @_;
	my ($from, $to) =
	  map { int(sql($_, 'postgres', 'show server_version_num') / 10000) } $source, $host;
	my %sources = (
		new_source($source, 'LATIN1', $host, 'UTF8'),
		new_source($source, 'UTF8', $host, 'LATIN1'));
	new_database_of($source, "odd\e", 'UTF8');
	$sources{odd} = {
		connstr => 'host=' . $source->host . ' port=' . $source->port . " dbname='odd\e'",
		queue_db => 'for_utf8' };
	sql($source, "odd\e", q{select pgq.declare_remote_queue('orders')});
	sql($source, "odd\e", q{select pgq.start_capture(i_slot => 'odd')});
	sql($host, 'for_utf8', q{select pgq.create_source('odd')});
	my $pgqd = start_pgqd($host, sources => \%sources);
	my $info = sub {
		my ($db, $what) = @_;
		return sql($host, "for_$db",
			"select $what from pgq.get_source_info() where source_name = '$db'");
	};

	foreach my $db (qw(latin1 utf8))
	{
		# escaped bytes stay what they are
		my ($c, $i) = $db eq 'latin1' ? qw(%e7 %ef) : qw(%c3%a7 %c3%af);

		sql($source, $db, q{
			insert into "größe" values ('ä', 'süß');
			update "größe" set "schlüssel" = 'ö';
			insert into one values (1, 'façade');
			update one set v = 'naïve';
			truncate "größe";
			select pgq.emit_event('orders', 'grün', 'weiß', 'á', 'é', 'í', 'ó')});
		wait_ingest($source, $db);
		is_deeply(
			consume($host, "for_$db", 'orders', 'c',
				q{concat_ws('|', ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4)}),
			[
				'{"op":"INSERT","table":["public","größe"],"pkey":["schlüssel"]}'
				  . '|{"schlüssel":"ä","v":"süß"}|public.größe|süß',
				'{"op":"DELETE","table":["public","größe"],"pkey":["schlüssel"]}'
				  . '|{"schlüssel":"ä"}|public.größe',
				'{"op":"INSERT","table":["public","größe"],"pkey":["schlüssel"]}'
				  . '|{"schlüssel":"ö","v":"süß"}|public.größe|süß',
				"I:id|id=1&v=fa${c}ade|public.one|façade",
				"U:id|id=1&v=na${i}ve|public.one|id=1&v=fa${c}ade|naïve",
				'{"op":"TRUNCATE","table":["public","größe"],"pkey":["schlüssel"]}'
				  . '|{}|public.größe',
				'grün|weiß|á|é|í|ó' ],
			"$from to $to: text of $db arrives as it was written");
	}

	$pgqd->wait_log(qr/source odd\]: .*has control characters in its name/);
	unlike($pgqd->text, qr/\e/, 'and none of them comes into the log');

	# a character that LATIN1 has not
	sql($source, 'utf8', q{insert into one values (2, '5 €'), (3, 'after it')});
	wait_for('the source to stand still', sub {
		sql($host, 'for_utf8', q{select problem from pgq.get_problems()
			where kind = 'pgqd/source' and severity = 'standstill'})
		  =~ /source utf8: .*"UTF8" has no equivalent in encoding "LATIN1"/ });
	my $read = () = $pgqd->text =~ /source utf8\]: ingest reads slot/g;
	sql($source, 'latin1', q{insert into one values (2, 'goes on')});
	wait_ingest($source, 'latin1');
	is($info->('latin1', 'state'), 'ok', 'another source goes on');
	is_deeply(consume($host, 'for_utf8', 'orders', 'c'), [], 'and nothing is skipped');
	cmp_ok($read, '<=', 2, 'the log does not say at each try that it reads');
	sql($host, 'for_utf8', q{select pgq.revoke_source('utf8', 'orders')});
	wait_ingest($source, 'utf8');
	wait_for('it to go on without the queue', sub {
		sql($host, 'for_utf8', q{select count(*) from pgq.get_problems()
			where kind = 'pgqd/source' and problem ~ 'source utf8'}) eq '0' });
	$pgqd->stop;
	unlike($pgqd->text, qr/waited for no longer/, 'looks of two databases end with pgqd');
	return;
}

my $here = new_server('here');
my $there = new_server('there',
	$ENV{PGQ_OTHER_SERVER} ? (install_path => $ENV{PGQ_OTHER_SERVER}) : ());

try_pair($here, $there);
if ($ENV{PGQ_OTHER_SERVER})
{
	sql($here, 'postgres', qq{drop database "$_"})
	  foreach map { sql($here, $_, 'select pgq.stop_capture()'); $_ } qw(latin1 utf8), "odd\e";
	sql($there, 'postgres', "drop database for_$_") foreach qw(latin1 utf8);
	try_pair($there, $here);
}

done_testing();
