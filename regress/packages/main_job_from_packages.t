
# The packages, installed in a bare system, do the main job: a captured table's
# change reaches a consumer, pgqd runs under its init script as a user of its
# own. Removed and purged, nothing of them is left.

use strict;
use warnings;

use PackageRoot;
use Test::More;

my $packages = "/packages/postgresql-$version-pgq4_*.deb /packages/pgqd_*.deb";
my $as = 'runuser -u postgres --';

start_server();
my $files = system_files();
my $users = system_users();

install($packages);
is(daemons(), 'pgqd /usr/bin/pgqd -d /etc/pgqd.ini',
	'pgqd is started when it is installed');
is(output('stat -c %U:%a /run/pgqd /var/log/pgqd'), "pgqd:755\npgqd:755",
	'in folders of its own');
works('test -s /usr/share/bash-completion/completions/pgqd'
	  . ' && test -s /usr/share/bash-completion/completions/pgqadm',
	'completion is where bash looks for it');

output("$as createuser --replication pgqd");
output("$as createdb shop");
works("$as pgqadm -d shop install", 'pgqadm finds the extension');
sql('shop', 'grant pgq_admin to pgqd; create table item (id int primary key, name text)');
output("$as pgqadm -d shop slot create");
output("$as pgqadm -d shop create orders");
output("$as pgqadm -d shop capture orders item");
output("$as pgqadm -d shop register orders mailer");
output('service pgqd restart');
sql('shop', "insert into item values (1, 'pen')");
like(
	output("$as pgqadm -d shop consume orders mailer --count 1 --timeout 60"),
	qr/"ev_data":"\{\\"id\\":1,\\"name\\":\\"pen\\"\}"/,
	'a captured row reaches the consumer');
works("$as pgqadm -d shop doctor", 'doctor has no complaint');

# a password in its home
is(output('stat -c %U:%a $(getent passwd pgqd | cut -d: -f6)'), 'pgqd:700',
	'the user has a home of its own');
sql('postgres', "alter role pgqd password 'secret'");
my $hba = "/etc/postgresql/$version/main/pg_hba.conf";
output("sed -i '1i local all pgqd scram-sha-256' $hba");
sql('postgres', 'select pg_reload_conf()');
output(q{runuser -u pgqd -- sh -c 'umask 077; HOME=$(getent passwd pgqd | }
	  . q{cut -d: -f6); echo "*:*:*:pgqd:secret" >$HOME/.pgpass'});
output(q{printf '[pgqd]\ndatabase_list = shop\n}
	  . q{pidfile = /run/pgqd/home.pid\nlogfile = /var/log/pgqd/home.log\n}
	  . q{syslog = 0\ningest = 0\n' >/etc/pgqd/home.ini});
output('service pgqd start');
wait_for('pgqd with a password from its home', sub {
	-e '/var/log/pgqd/home.log'
	  && output('cat /var/log/pgqd/home.log') =~ /pgq version ok/ });
pass('~/.pgpass is read');
like(output('cat /proc/$(cat /run/pgqd/home.pid)/limits'),
	qr/^Max open files +\d{5,}/m, 'it may open many files');
output('service pgqd stop');
output("sed -i 1d $hba");
sql('postgres', 'select pg_reload_conf()');
unlink('/etc/pgqd/home.ini', '/run/pgqd/home.pid',
	'/var/log/pgqd/home.log', '/var/lib/pgqd/.pgpass');
output('service pgqd start');

# one daemon for each ini file
open(my $fh, '>', '/etc/pgqd/shop.ini') or die $!;
print $fh "[pgqd]\npidfile = /run/pgqd/shop.pid\n"
  . "logfile = /var/log/pgqd/shop.log\ndatabase_list = shop\nsyslog = 0\n";
close $fh;
fails('service pgqd status', 'status tells that one is not running');
output('service pgqd start');
is(daemons(), "pgqd /usr/bin/pgqd -d /etc/pgqd.ini\n"
	  . 'pgqd /usr/bin/pgqd -d /etc/pgqd/shop.ini', 'start starts it');
works('service pgqd status', 'and now all are running');

works('logrotate -f /etc/logrotate.d/pgqd', 'logs are rotated');
wait_for('new logs',
	sub { -s '/var/log/pgqd/pgqd.log' && -s '/var/log/pgqd/shop.log' });
ok(-s '/var/log/pgqd/pgqd.log.1', 'and pgqd goes on in a new file');

works('service pgqd stop', 'stop');
is(daemons(), '', 'stops all of them');
unlink('/etc/pgqd/shop.ini');
output('service pgqd start');

# away with it
output("apt-get remove -q -y pgqd postgresql-$version-pgq4");
is(daemons(), '', 'removal stops pgqd');
ok(-f '/etc/pgqd.ini', 'and leaves the ini file');
output("apt-get purge -q -y pgqd postgresql-$version-pgq4");
# a library that came with it may be one that another package only suggests
output('apt-get autoremove --purge -q -y -o APT::AutoRemove::SuggestsImportant=false'
	  . ' -o APT::AutoRemove::RecommendsImportant=false');
is(system_files(), $files, 'after a purge no file is left');
is(system_users(), $users, 'and no user');
is(sql('shop', 'select count(*) from pgq.queue'), '1',
	'the database keeps its queues');

done_testing();
