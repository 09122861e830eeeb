
# Packages that were built here are installed here, and work: on a machine that had
# a server, on one that had a client only, on one that had nothing.

use strict;
use warnings;

use PackageRoot;
use Test::More;

my $as = 'runuser -u postgres --';

# wait_for_end(PROGRAM): until none of it runs
sub wait_for_end
{
	my ($program) = @_;

	wait_for("the end of $program", sub { (run("pgrep -x $program"))[0] != 0 });
	return;
}

# the tests' own; a machine without any server gets one for what follows
output('apt-get install -q -y --no-install-recommends logrotate procps postgresql');
install('/packages/*.deb');
look_for_server();
start_server();
output("$as createuser --replication pgqd");
output("$as createdb shop");
works("$as pgqadm -d shop install", 'pgqadm finds the extension');
sql('shop', 'grant pgq_admin to pgqd; create table item (id int primary key)');
output("$as pgqadm -d shop slot create");
output("$as pgqadm -d shop create orders");
output("$as pgqadm -d shop capture orders item");
output("$as pgqadm -d shop register orders mailer");
output('service pgqd restart');
sql('shop', 'insert into item values (1)');
like(
	output("$as pgqadm -d shop consume orders mailer --count 1 --timeout 60"),
	qr/"ev_data":"\{\\"id\\":1\}"/,
	'a captured row reaches the consumer');

# a relay, as its service runs it
my ($unit_file) = map { glob("$_/systemd/system/pgqrelay.service") } '/usr/lib', '/lib';
my %unit = map { /^(\w+)=(.*)/ ? ($1 => $2) : () }
  split(/\n/, output("cat $unit_file"));
is(output('stat -c %U:%G:%a /etc/pgqrelay.ini'), 'root:pgqrelay:640',
	'its ini file may hold secrets');
my ($status, $said) = run("runuser -u $unit{User} -- $unit{ExecStart}");
is($status, 1, 'no relay is set up');
like($said, qr/there is no section \[relay NAME\]/, 'and that is said');
my $targets = output('pgqrelay --version');
my $sources = output('cat /pgq/relay/target_*.c');
foreach my $scheme ($sources =~ /\.scheme = "(\w+)"/g)
{
	like($targets, qr/\b$scheme\b/, "target $scheme is in the package");
}
output("$as createuser pgqrelay");
sql('shop', 'grant pgq_reader to pgqrelay');
output("$as pgqadm -d shop register orders relay_orders");
open(my $fh, '>>', '/etc/pgqrelay.ini') or die $!;
print $fh "[relay orders]\ndb = dbname=shop\nqueue = orders\n"
  . "target = file:/var/lib/pgqrelay/orders.jsonl\n";
close $fh;
output('install -d -o pgqrelay /run/pgqrelay /var/log/pgqrelay');
works("runuser -u $unit{User} -- pgqrelay --check /etc/pgqrelay.ini",
	'queue and target can be reached');
output("runuser -u $unit{User} -- $unit{ExecStart} &");
sql('shop', 'insert into item values (2)');
wait_for('the event in the file', sub {
	output('cat /var/lib/pgqrelay/orders.jsonl') =~ /"id\\?":2/ });
pass('a relay brings an event into a file');
works('logrotate -f /etc/logrotate.d/pgqrelay', 'its logs are rotated');
output('pkill -INT -x pgqrelay');
wait_for_end('pgqrelay');

foreach my $file ('pgqd/grafana.json', 'pgqd/alerts.yml', 'man/man1/pgqrelay.1.gz')
{
	works("test -s /usr/share/$file", "/usr/share/$file is there");
}

output('service pgqd stop');
sql('shop', 'select pgq.stop_capture()');
output('apt-get purge -q -y pgqrelay pgqd "postgresql-*-pgq4" libpgq4 libpgq-dev');
is( output('find / -xdev \( -path /proc -o -path /pgq -o -path /packages '
		  . '-o -path /tmp -o -path /dev -o -path /var/lib/dpkg -o -path /var/cache '
		  . '-o -path "/var/log/apt*" -o -path "/var/lib/postgresql/*" \) -prune '
		  . '-o \( -name "*pgqd*" -o -name "*pgqrelay*" -o -name "*libpgq*" \) -print'),
	'', 'a purge leaves nothing');
is(output('getent passwd pgqd pgqrelay || true'), '', 'nor users');

done_testing();
