
# Ini files of PgQ 3's pgqd mean what they meant to it, those of PgQ 2's pgqadm
# what Python made of them. Every file here names a pidfile that can not be made,
# and pgqd says which.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $n = 0;

sub told
{
	my ($text) = @_;
	my $file = "$dir/" . ++$n . '.ini';

	$text =~ s/DIR/$dir/g;
	append_to_file($file, $text);
	return output_of('pgqd', $file);
}

sub output_of
{
	my @command = @_;
	my ($out, $err);

	IPC::Run::run(\@command, '<', '/dev/null', '>', \$out, '2>', \$err);
	return $out . $err;
}

sub goes_by
{
	my ($what, $name, $text) = @_;

	like(told($text), qr{"\Q$dir/no/$name\E"}, $what);
	return;
}

append_to_file("$dir/more.ini", "pidfile = $dir/no/included\n");

goes_by('indented keys', 'p', "[pgqd]\n  syslog = 0\n\tpidfile = DIR/no/p\n  logfile = DIR/l\n");
goes_by('an indented key behind one that is not', 'p',
	"[pgqd]\nsyslog = 0\n pidfile = DIR/no/p\n");
goes_by('an indented section and comments', 'p',
	"  [pgqd] ; here\n\n  ; one\n\t# two\nsyslog=0\npidfile=DIR/no/p\n");
goes_by('; and # in a value', 'p ; q # r',
	"[pgqd]\nsyslog = 0\npidfile = DIR/no/p ; q # r  \n");
goes_by('% in a value', 'p%(syslog)s', "[pgqd]\nsyslog = 0\npidfile = DIR/no/p%(syslog)s\n");
goes_by('the last of two', 'b', "[pgqd]\npidfile = DIR/no/a\nsyslog = 0\npidfile = DIR/no/b\n");
goes_by('a section that goes on', 'p', "[pgqd]\nsyslog = 0\n[x]\na = b\n[pgqd]\npidfile = DIR/no/p\n");
goes_by('lines that end as on Windows, behind a mark', 'p',
	"\xef\xbb\xbf[pgqd]\r\nsyslog = 0\r\npidfile = DIR/no/p\r\n");
goes_by('a last line without end', 'p', "[pgqd]\nsyslog = 0\npidfile = DIR/no/p");
goes_by('an included file', 'included', "[pgqd]\nsyslog = 0\n%include DIR/more.ini\n");
goes_by('a line of any length', 'p' x 3000, "[pgqd]\nsyslog = 0\npidfile = DIR/no/" . 'p' x 3000);

like(told("[pgqd]\ndatabase_list = a,\n  b\n"), qr/:3: neither "key = value"/,
	'a value does not go on in the next line');
like(told("[pgqd]\n  colour = red\n"), qr/:2: unknown key "colour"/,
	'an indented key that is unknown');
like(told("pidfile = x\n[pgqd]\nsyslog = 0\n"), qr/:1: no \[section\]/,
	'a key before any section');
like(told("[pgqd\nsyslog = 0\n"), qr/:1: section without/, 'a broken section');
like(told("[pgqd]\n%include DIR/nosuch.ini\n"), qr/nosuch\.ini/,
	'a file to include that is not there');
append_to_file("$dir/loop.ini", "[pgqd]\n%include $dir/loop.ini\n");
like(output_of('pgqd', "$dir/loop.ini"), qr/too many files/,
	'a file that includes itself');

my $old = "[pgqadm]\njob_name = job ; the name\ndb = dbname=x\n";
goes_by('Python: %(key)s and a comment', 'job', "${old}pidfile = DIR/no/%(job_name)s ; c\n");
goes_by('Python: a colon, a key in capitals', 'p', "${old}PidFile: DIR/no/p\n");
goes_by('Python: a value that goes on', 'p q', "${old}pidfile = DIR/no/p\n   q\n");
like(told("[pgqadm]\ndb = dbname=x\n  host=y\nuse_skylog = 7\n"),
	qr/:4: value "7"/, 'Python: the line of an error');
goes_by('[pgqd] beside a [pgqadm] that goes on', 'p',
	"${old}logfile = a\n  b\n[pgqd]\nsyslog = 0\n  pidfile = DIR/no/p\n");

# no file at all
{
	local $ENV{PGQD_PIDFILE} = "$dir/no/environment";
	local $ENV{PGQD_SYSLOG} = 0;
	like(output_of('pgqd', '--env'), qr{"\Q$dir\E/no/environment"},
		'--env: keys are variables');
	local $ENV{PGQD_TICKER_PERIOD} = 'soon';
	like(output_of('pgqd', '--env'),
		qr/PGQD_TICKER_PERIOD: value "soon" of key "ticker_period" must be/,
		'--env: errors name the variable');
	like(output_of('pgqd', '--env', 'pgqd.ini'), qr/--env takes no config file/,
		'--env beside a file');
}

done_testing();
