/*
 * Runs Flink SQL: the statements of a file, each ended by ";" at the end of a line.
 * Prints the changes that a SELECT gives, a line each: kind|column|column...
 */
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

public class Flink {
    public static void main(String[] args) throws Exception {
        TableEnvironment env = TableEnvironment.create(EnvironmentSettings.inStreamingMode());

        env.getConfig().set("parallelism.default", "1");
        env.getConfig().set("table.local-time-zone", "UTC");
        for (String statement : Files.readString(Path.of(args[0])).split(";\n")) {
            TableResult result = env.executeSql(statement);

            if (!statement.startsWith("SELECT")) {
                continue;
            }
            try (CloseableIterator<Row> rows = result.collect()) {
                while (rows.hasNext()) {
                    Row row = rows.next();
                    StringBuilder line = new StringBuilder(row.getKind().shortString());

                    for (int i = 0; i < row.getArity(); i++) {
                        line.append('|').append(row.getField(i));
                    }
                    System.out.println(line);
                }
            }
        }
    }
}
