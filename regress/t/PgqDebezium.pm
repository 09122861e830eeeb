
# Debezium's connector for PostgreSQL, and readers of what it writes, in Kafka Connect.

package PgqDebezium;

use strict;
use warnings;

use FindBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
use PgqRelay;
use PgqTest;
use Test::More;

# need(NAME...): ends the test as skipped where these jars are not.
sub need
{
	foreach my $name (@_)
	{
		plan skip_all => "no $name: scripts/install-deps --debezium fetches it"
		  if !-d (($ENV{PGQ_JARS} // '') . "/$name");
	}
	return;
}

# java(NAME, ARGUMENT...): a command with these jars.
sub java
{
	my ($name, @args) = @_;

	return ('java', '-Xmx400m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp',
		"$ENV{PGQ_JARS}/$name/*", @args);
}

# write_properties(NAME => VALUE, ...): a file of them.
sub write_properties
{
	my (%properties) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/properties';

	PostgreSQL::Test::Utils::append_to_file($file,
		join('', map { "$_=$properties{$_}\n" } sort keys %properties));
	return $file;
}

# connect(SERVERS, { connector's properties }...): Kafka Connect, started, with JSON
# that has no schemas.
sub connect
{
	my ($servers, @connectors) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $worker = write_properties(
		'bootstrap.servers' => $servers,
		(map { ("$_.converter" => 'org.apache.kafka.connect.json.JsonConverter',
			"$_.converter.schemas.enable" => 'false') } qw(key value)),
		'offset.storage.file.filename' => "$dir/offsets",
		'offset.flush.interval.ms' => 500,
		'plugin.discovery' => 'only_scan',
		'listeners' => 'http://127.0.0.1:' . free_port());

	return start_engine('connect',
		java('debezium', 'org.apache.kafka.connect.cli.ConnectStandalone', $worker,
			map { write_properties(%$_) } @connectors));
}

# source(NODE, DATABASE): the properties of Debezium's connector, with values as text.
sub source
{
	my ($node, $db) = @_;

	return {
		'name' => 'debezium',
		'connector.class' => 'io.debezium.connector.postgresql.PostgresConnector',
		'database.hostname' => '127.0.0.1',
		'database.port' => $node->port,
		'database.user' => scalar getpwuid($<),
		'database.password' => 'x',
		'database.dbname' => $db,
		'plugin.name' => 'pgoutput',
		'publication.autocreate.mode' => 'filtered',
		'schema.include.list' => 'public',
		'topic.prefix' => $db,
		'snapshot.mode' => 'no_data',
		'skipped.operations' => 'none',
		'include.unknown.datatypes' => 'true',
		'decimal.handling.mode' => 'string',
		'interval.handling.mode' => 'string',
		'time.precision.mode' => 'isostring',
		'binary.handling.mode' => 'base64'
	};
}

# unwrapped(NAME, TOPIC, FILE): the properties of a connector that writes a topic's rows
# into a file, by Debezium's transformation that makes rows of envelopes.
sub unwrapped
{
	my ($name, $topic, $file) = @_;

	return {
		'name' => $name,
		'connector.class' => 'org.apache.kafka.connect.file.FileStreamSinkConnector',
		'topics' => $topic,
		'file' => $file,
		'transforms' => 'unwrap',
		'transforms.unwrap.type' => 'io.debezium.transforms.ExtractNewRecordState',
		'transforms.unwrap.delete.tombstone.handling.mode' => 'rewrite',
		'consumer.override.isolation.level' => 'read_committed'
	};
}

# flink(SERVERS, TOPIC, COLUMNS): the rows that Flink SQL has of a topic in the end, in
# order. COLUMNS as in its CREATE TABLE, the first one the key.
sub flink
{
	my ($servers, $topic, $columns) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/flink.sql';
	my ($out, $err, %rows);

	PostgreSQL::Test::Utils::append_to_file($file, <<"END");
CREATE TABLE t ($columns) WITH ('connector' = 'kafka', 'topic' = '$topic',
	'properties.bootstrap.servers' = '$servers', 'scan.startup.mode' = 'earliest-offset',
	'scan.bounded.mode' = 'latest-offset', 'properties.isolation.level' = 'read_committed',
	'format' = 'debezium-json', 'debezium-json.timestamp-format.standard' = 'ISO-8601');
SELECT * FROM t;
END
	my @java = java('flink', (map { "--add-opens=java.base/java.$_=ALL-UNNAMED" }
		qw(lang util time util.concurrent)), "$FindBin::RealBin/../kafka/Flink.java", $file);
	IPC::Run::run(\@java, '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(400))
	  or die $err;
	foreach my $line (split(/\n/, $out))
	{
		my ($kind, $row) = split(/\|/, $line, 2);
		my ($key) = split(/\|/, $row);

		if ($kind =~ /^\+/)
		{
			$rows{$key} = $row;
		}
		else
		{
			die "Flink has no such row: $line" if delete $rows{$key} ne $row;
		}
	}
	return join("\n", map { $rows{$_} } sort { $a <=> $b } keys %rows);
}

1;
