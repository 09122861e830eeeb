
# Through PgBouncer in transaction mode the clients do their work, also for a role whose
# settings would break it, and leave nothing behind in the pooled session.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../../clients/behaviours";
use Behaviours;
use Languages;
use PgqPooler;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

find_pooler();

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $node = new_server('main');
new_shop($node, 'shop', 'UTF8');
new_shop($node, 'ascii', 'SQL_ASCII');
make_queue($node, 'ascii', 'q');
sql($node, 'shop', q{
	create role app superuser login;
	alter role app set statement_timeout = '300ms';
	alter role app set idle_in_transaction_session_timeout = '300ms';
	alter role app set default_transaction_read_only = on;
	alter role app set datestyle = 'German';
	create schema evil;
	create function evil.pg_backend_pid() returns int language sql as 'select 1 / 0';
	alter role app set search_path = evil, pg_catalog, public});

# What a pooler sets for its clients by itself.
my $own = "'application_name', 'client_encoding', 'DateStyle', 'TimeZone',
	'standard_conforming_strings', 'IntervalStyle', 'search_path',
	'default_transaction_read_only'";

# One session of the server for all, also while a batch is under way.
my $pool = start_pooler($node, pool_mode => 'transaction', default_pool_size => 1,
	ignore_startup_parameters => 'extra_float_digits');
my ($dir, $port) = $pool =~ /host=(\S+) port=(\d+)/;

foreach my $language (languages())
{
	my $name = $language->{name};
	my @twins = $name eq 'python' ? ('', 'twin=async') : ('');

  SKIP:
	foreach my $twin (@twins)
	{
		skip "$name: $language->{missing}", 1 if $language->{missing};
		my $consumer = $name . ($twin ? '_async' : '');
		my $uri = "postgresql:///shop?host=$dir&port=$port&user=app";
		my $w;

		make_queue($node, 'shop', $consumer, $consumer);
		$w = start_worker($language->{worker}, $uri, $consumer, $consumer, 'on_error=dead',
			$twin || ());
		produce($node, 'shop', $consumer, [ 'a', '' ], [ 'fail', '' ],
			[ 'hold', "$tmp/$consumer" ], [ 'b', '' ]);
		wait_for('the held event', sub { $w->{h}->pump_nb; $w->{out} =~ /^hold/ });
		sleep(0.6);    # longer than the limits
		append_to_file("$tmp/$consumer", 'x');
		wait_done($node, 'shop', $consumer, 'a hold b', "$consumer: a batch is done");
		is(sql($node, 'shop', "select count(*) from pgq.get_dead_events('$consumer', null)"),
			'1', '... what failed is put aside');
		produce($node, 'shop', $consumer, map { [ "n$_", '' ] } 1 .. 100);
		wait_done($node, 'shop', $consumer, join(' ', 'a hold b', map { "n$_" } 1 .. 100),
			'... and the next');
		is(stop_worker($w), 0, '... and it ends well');

		sql($node, 'ascii', "select pgq.register_consumer('q', '$consumer')");
		sql($node, 'ascii', q{select pgq.insert_event('q', 'bytes', E'\xe9')});
		tick($node, 'ascii', 'q');
		run_worker($language->{worker}, $uri =~ s/shop/ascii/r, 'q', $consumer,
			'mode=drain', $twin || ());
		is(done($node, 'ascii', $consumer), 'bytes', '... SQL_ASCII');

		my ($left) = run_command([ 'psql', '-XAt', '-d', "$pool dbname=shop user=app",
			'-c', "select string_agg(name || '=' || setting, ' ') from pg_settings
				where source = 'session' and name not in ($own)",
			'-c', 'select count(*) from pg_listening_channels()',
			'-c', 'select count(*) from pg_prepared_statements',
			'-c', "select current_setting('search_path')
				|| current_setting('default_transaction_read_only')" ]);
		is($left, "\n0\n0\nevil, pg_catalog, publicon", '... and leaves nothing behind');
	}
}
done_testing();
