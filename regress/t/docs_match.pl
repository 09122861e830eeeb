
# The manual and the man pages name every command, option and ini key that
# the programs know, and none that they don't; so does the shell completion.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use DocBlocks;
use PgqTest;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $completion = (glob("$ENV{PGQ_TREE}/usr/share/postgresql/*/"
	  . 'bash-completion/completions/pgqadm'))[0];

# known(TEXT, REGEX): the set of what it finds.
sub known
{
	my ($text, $like) = @_;
	return map { $_ => 1 } $text =~ /$like/g;
}

# same(WHAT, TEXT, REGEX, SET): each of the set is in the text, and nothing
# else that the regex finds there.
sub same
{
	my ($what, $text, $like, %set) = @_;
	my %there = known($text, $like);

	is(join(' ', grep { !$there{$_} } sort keys %set), '',
		"$what: nothing is missing");
	is(join(' ', grep { !$set{$_} } sort keys %there), '',
		"$what: nothing is made up");
	return;
}

# A man page as plain text is not needed: only \- stands in the way.
sub man
{
	my ($name) = @_;
	my $text = slurp("$top/doc/man/$name");

	$text =~ s/\\-/-/g;
	$text =~ s/\\f[RBIP]//g;
	return $text;
}

my $option = qr/(?<![-\w])(--[a-z][-a-z]+)/;
my $help = `pgqadm --help`;
my $pgqd_help = `pgqd --help`;
my %commands = known($help =~ /^commands:\n(.*?)\n\n/ms, qr/^  ([a-z]+)\b/m);
my %options = known($help, $option);
my $manual = slurp("$top/doc/pgqadm.md");

ok(keys %commands > 10 && keys %options > 15, 'the help can be read');

# pgqadm

same('options in pgqadm.1', man('pgqadm.1'), $option, %options);
same('options in pgqadm.md', $manual, $option, %options);
same('commands in pgqadm.1', man('pgqadm.1') =~ /^\.SH COMMANDS\n(.*?)^\.SH/ms,
	qr/^\.TP\n\.BI? ([a-z]+)/m, %commands);
is( join(' ', grep { $manual !~ /^pgqadm [^\n]*\b$_\b/m } sort keys %commands),
	'', 'pgqadm.md: every command has an example');
my ($json_row) = $manual =~ /^\| `--json` \|(.*)$/m;
my %own;    # command => its own options

foreach my $command (sort keys %commands)
{
	my $about = `pgqadm $command --help`;

	$own{$command} = { known($about =~ /^options:\n(.*)/ms ? $1 : '', $option) };
	is($json_row =~ /`$command\b/, !!$own{$command}{'--json'},
		"pgqadm.md: whether $command has --json");

	like($about, qr/^usage: pgqadm .*\b$command\b.*^example:\n  pgqadm .*\b$command\b/ms,
		"$command --help has an example");
}

# pgqd: its options by getopt are those with a letter and their long names

my %pgqd_options = known(man('pgqd.1'), $option);
foreach my $o (sort keys %pgqd_options)
{
	isnt(`pgqd $o none.ini none.ini 2>&1` =~ /unrecognized|unknown/, 1, "pgqd knows $o");
}
my @letters = $pgqd_help =~ /^ +-(\w) /mg;
is(join(' ', grep { man('pgqd.1') !~ /\B-$_\b/ } @letters), '',
	'pgqd.1: no option is missing');
is( join(' ', grep { slurp("$top/doc/pgqd.md") !~ /`-$_`/ } @letters),
	'', 'pgqd.md: no option is missing');
same('options in pgqd.md', slurp("$top/doc/pgqd.md"), $option, %pgqd_options);

# pgqrelay, where it was built

SKIP:
{
	skip 'no pgqrelay here', 1 if system('pgqrelay -h >/dev/null 2>&1') != 0;
	my @options = sort keys %{ { known(man('pgqrelay.1'), $option) } };

	ok(@options > 5, 'pgqrelay.1 names options');
	isnt(`pgqrelay $_ none.ini none.ini 2>&1` =~ /unrecognized|unknown/, 1, "pgqrelay knows $_")
	  foreach @options;
	is(join(' ', grep { man('pgqrelay.1') !~ /\B-$_\b/ } `pgqrelay --help` =~ /^ +-(\w) /mg), '',
		'pgqrelay.1: no option is missing');
}

# keys

my %pgqd_keys = known(scalar(`pgqd --ini`), qr/^#?(\w+) =/m);
my %adm_keys = known(scalar(`pgqadm --ini`), qr/^#?(\w+) =/m);
my ($pgqd_part, $adm_part) =
  man('pgqd.ini.5') =~ /^\.SH "KEYS OF SECTION \[PGQD\]"\n(.*?)^\.SH "KEYS.*?\n(.*?)^\.SH/ms;
my $man_key = qr/^\.TP\n\.BR? (\w+)/m;

ok(keys %pgqd_keys > 15 && keys %adm_keys > 8, 'the samples can be read');
same('keys in pgqd.ini.5', $pgqd_part, $man_key, %pgqd_keys);
same('keys in pgqd.md', slurp("$top/doc/pgqd.md") =~ /\n## The ini file\n(.*?)\n## /s,
	qr/`(\w+)`(?=[^\n|]*\|)/, %pgqd_keys, dbname => 1);
is(join(' ', grep { $adm_part !~ /^\.BR? .*\b$_\b/m } sort keys %adm_keys),
	'', 'pgqd.ini.5: no key of [pgqadm] is missing');
is(join(' ', grep { $manual !~ /`$_`/ } sort keys %adm_keys),
	'', 'pgqadm.md: no key is missing');

# defaults in the man page are the program's

foreach (split(/\n(?=#\w+ =)/, `pgqd --ini`))
{
	my ($key, $default) = /^#(\w+) = ?(.*)$/m or next;
	my ($said) = $pgqd_part =~ /^\.BR $key " \((.*)\)"$/m;

	$default = $key eq 'database_list' ? 'all' : 'none' if $default eq '';
	is($said, $default, "default of $key");
}

# tests that tables and promises name are there: in tables the last column does,
# in the list of promises whatever stands in brackets

my %tests = map { m{([^/]+)\.(?:sql|spec|pl|c)$} ? ($1 => 1) : () }
  glob("$top/regress/{sql,specs,t,fuzz}/*");
foreach my $page (map { m{([^/]+)$} } glob("$top/doc/*.md"))
{
	my (@named, $in_table);

	foreach (split(/\n/, slurp("$top/doc/$page")))
	{
		$in_table = 1 if /\| tests? \|$/;
		$in_table = 0 if !/^\|/;
		push @named, m{`(\w+)`(?=[^|]*\|$)}g if $in_table;
	}
	push @named, map { /`(\w+)`/g }
	  slurp("$top/doc/$page") =~ /\n## Promises\n(.*?)\n## /s
	  ? $1 =~ /\((`\w+`[^()]*)\)/g
	  : ();
	next if !@named;
	is(join(' ', grep { !$tests{$_} } @named),
		'', "$page: the " . scalar(@named) . ' tests that it names are there');
}

# completion

SKIP:
{
	skip 'completion is not installed', 2 + keys %commands if !$completion;
	my $text = slurp($completion);

	is(join(' ', grep { $text !~ /\b$_\b/ } sort keys %commands),
		'', 'completion: no command is missing');
	is(join(' ', grep { $text !~ /\Q$_\E/ } sort keys %options),
		'', 'completion: no option is missing');
	foreach my $command (sort keys %commands)
	{
		my %offered = map { $_ => 1 } split(/\n/, `bash -c '. "$completion"
			COMP_WORDS=(pgqadm $command --) COMP_CWORD=2; _pgqadm
			printf "%s\\n" "\${COMPREPLY[@]}"'`);

		is(join(' ', grep { !$offered{$_} } sort keys %{ $own{$command} }, '--help'),
			'', "completion of $command: no option is missing");
	}
}

# doc/high-availability.md: each block is run by the tests with Patroni, which take it
# from there, and need no other.
{
	my %run;
	foreach my $file ("$top/regress/t/PgqPatroni.pm", "$top/regress/t/PatroniLedger.pm")
	{
		my $text = slurp($file);
		$run{$_} = 1
		  foreach map { /\$version/ ? (s/\$version/15/r, s/\$version/17/r) : $_ }
		  $text =~ /->block\(["'](.+?)["']\)/g;
	}
	my @blocks = doc_blocks("$top/doc/high-availability.md");
	is(join(', ', sort map { $_->{note} } @blocks), join(', ', sort keys %run),
		'high-availability.md: the tests run each block');
}

done_testing();
