
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
output('apt-get autoremove --purge -q -y');
is(system_files(), $files, 'after a purge no file is left');
is(system_users(), $users, 'and no user');
is(sql('shop', 'select count(*) from pgq.queue'), '1',
	'the database keeps its queues');

done_testing();
