
# A newer version of the packages over an older one: the ini file is kept as the
# administrator wrote it, pgqd is restarted, no event is missed.

use strict;
use warnings;

use PackageRoot;
use Test::More;

my $as = 'runuser -u postgres --';

# The same packages under an older version.
for my $name ("postgresql-$version-pgq4", 'pgqd')
{
	output("dpkg-deb -R /packages/${name}_*.deb /tmp/$name");
	output("sed -i 's/^Version: .*/&~old/' /tmp/$name/DEBIAN/control");
	output("dpkg-deb --root-owner-group -b /tmp/$name /tmp/$name.deb");
}

start_server();
output("$as createuser --replication pgqd");
install("/tmp/postgresql-$version-pgq4.deb /tmp/pgqd.deb");
output('echo "; mine" >> /etc/pgqd.ini');
output("$as createdb shop");
sql('shop', q{
	create extension pgq;
	grant pgq_admin to pgqd;
	select pgq.create_queue('q'), pgq.register_consumer('q', 'c');
	select pgq.insert_event('q', 't', 'before');
});
# it looked for databases before this one was there
output('service pgqd restart');
my $old = output('cat /run/pgqd/pgqd.pid');

install("/packages/postgresql-$version-pgq4_*.deb /packages/pgqd_*.deb");
unlike(output('dpkg-query -W pgqd'), qr/~old/, 'the newer version is installed');
isnt(output('cat /run/pgqd/pgqd.pid'), $old, 'and pgqd is another process');
is(daemons(), 'pgqd /usr/bin/pgqd -d /etc/pgqd.ini', 'of the same kind');
like(output('cat /etc/pgqd.ini'), qr/^; mine$/m, 'the ini file is kept');
ok(!-e '/etc/default/pgqd', 'and its user');
sql('shop', q{select pgq.insert_event('q', 't', 'after')});
my $out = output("$as pgqadm -d shop consume q c --count 2 --timeout 60 --fields ev_data");
is($out, qq({"ev_data":"before"}\n{"ev_data":"after"}), 'no event is missed');

done_testing();
