
# Debian's PgQ 3.5 gives way to our packages, without a word to the database: its
# queue is ticked and read as before, and updated when one likes.

use strict;
use warnings;

use PackageRoot;
use Test::More;

my @old = ("postgresql-$version-pgq3", "postgresql-$version-pgq-node");
my ($status) = run("apt-cache show @old pgqd");
plan(skip_all => 'the archive has no PgQ 3.5 for this server') if $status != 0;

my $as = 'runuser -u postgres --';

# next_events(): those of the next batch that holds some
sub next_events
{
	return wait_for(
		'a batch with events',
		sub {
			my $batch = sql('old', q{select pgq.next_batch('q', 'c')}) or return '';
			my $events = sql('old',
				"select ev_data from pgq.get_batch_events($batch) order by ev_id");
			sql('old', "select pgq.finish_batch($batch)");
			return $events;
		});
}

start_server();
install(@old, 'pgqd');
like(output('dpkg-query -W pgqd'), qr/\t3\./, q{Debian's pgqd is installed});
output("$as createdb old");
sql('old', q{
	create extension pgq;
	select pgq.create_queue('q'), pgq.register_consumer('q', 'c');
	select pgq.set_queue_config('q', 'ticker_max_lag', '0.1 second');
	create table item (id int primary key);
	create trigger t after insert on item
		for each row execute function pgq.jsontriga('q');
});
output('service pgqd restart');
sql('old', q{select pgq.insert_event('q', 't', 'first')});
is(next_events(), 'first', 'it works');
sql('old', q{select pgq.insert_event('q', 't', 'in between')});

install("/packages/postgresql-$version-pgq4_*.deb /packages/pgqd_*.deb");
fails("dpkg -s postgresql-$version-pgq3 | grep '^Status: .* installed'",
	'ours takes its place');
works("dpkg -s postgresql-$version-pgq-node | grep '^Status: .* installed'",
	'what depends on it stays');
is(daemons(), 'postgres /usr/bin/pgqd -d /etc/pgqd.ini',
	'our pgqd runs, as the role that the databases know');
like(output('pgqd -V'), qr/^pgqd version 4\./, 'and is ours');

is(next_events(), 'in between', 'events of before are there');
sql('old', q{insert into item values (7)});
is(next_events(), '{"id":7}', 'functions and triggers of 3.5 find our library');
like(sql('old', 'select pgq.version()'), qr/^3\./, 'the database was left alone');

sql('old', 'alter extension pgq update');
sql('old', q{insert into item values (8)});
is(next_events(), '{"id":8}', 'it goes on after the update');
sql('old', q{
	drop trigger t on item;
	select pgq.start_capture();
	select pgq.capture_table('q', 'item')});
sql('old', q{insert into item values (9)});
is(next_events(), '{"id":9}', 'and can capture');

output("apt-get purge -q -y pgqd postgresql-$version-pgq4 @old");
is(output('find /etc /var/log /run /usr/bin -name "*pgqd*"'), '', 'a purge leaves nothing');

done_testing();
