// pgJDBC beyond statements: COPY, notifications, values, cancel; TLS with a password; a pool that outlives its server.
import com.zaxxer.hikari.HikariDataSource;
import java.io.*;
import java.math.BigDecimal;
import java.sql.*;
import java.time.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.util.PGobject;

class More {
    static final long FIRST = 9_400_000;
    static final String SORTED = "SELECT patron_id, name, email, branch, joined FROM patrons WHERE patron_id >= 9400000 ORDER BY patron_id";
    static final String INTO = "COPY patrons (patron_id, name, email, branch, joined) FROM STDIN";

    static void everyday(Connection connection) throws Exception {
        copies(connection);
        notifications(connection);
        values(connection);
        try (var statement = connection.createStatement()) {
            statement.setQueryTimeout(1); // by a cancel request
            statement.execute("SELECT pg_sleep(60)");
        } catch (SQLException error) {
            Client.show("cancelled", error.getSQLState());
        }
    }

    static void copies(Connection connection) throws Exception {
        var copy = connection.unwrap(PGConnection.class).getCopyAPI();
        var lines = new StringBuilder();
        for (int at = 0; at < 9; at++) lines.append(FIRST + at).append("\tTab\\t and \\\\ " + at + "\t\\N\twest\t2024-05-0" + (at + 1) + "\n");
        Client.show("copied", copy.copyIn(INTO, new StringReader(lines.toString())));
        for (var text : new String[] {lines.toString(), "1\tx\n", "9400020\tx\t\\N\twest\tsoon\n"}) {
            try {
                copy.copyIn(INTO, new StringReader(text));
            } catch (SQLException error) {
                Client.show("refused", error.getSQLState());
            }
        }
        var stopped = copy.copyIn(INTO);
        var line = "9400030\tx\t\\N\twest\t2024-05-01\n".getBytes("UTF-8");
        stopped.writeToCopy(line, 0, line.length);
        stopped.cancelCopy();
        for (var options : new String[] {"", " (FORMAT csv, HEADER)", " (FORMAT binary)"}) {
            var out = new ByteArrayOutputStream();
            Client.show("rows" + options, copy.copyOut("COPY (" + SORTED + ") TO STDOUT" + options, out));
            Client.show("out" + options, HexFormat.of().formatHex(out.toByteArray()));
        }
        Client.show("there", Client.query(connection, SORTED));
        for (int at = 0; at < 9; at++)
            try (var delete = connection.prepareStatement("DELETE FROM patrons WHERE patron_id = ?")) {
                delete.setLong(1, FIRST + at);
                delete.executeUpdate();
            }
    }

    static void notifications(Connection connection) throws Exception {
        try (var statement = connection.createStatement()) {
            statement.execute("LISTEN jdbc_shelf");
            statement.execute("NOTIFY jdbc_shelf, 'one'");
            statement.execute("SELECT pg_notify('jdbc_shelf', 'two')");
            var listener = connection.unwrap(PGConnection.class);
            var heard = new ArrayList<String>();
            for (int at = 0; at < 40 && heard.size() < 2; at++) {
                var some = listener.getNotifications(1000);
                if (some != null)
                    for (var each : some) heard.add(each.getName() + " " + each.getParameter() + " " + (each.getPID() == listener.getBackendPID()));
            }
            Client.show("heard", heard);
            statement.execute("UNLISTEN *");
        }
    }

    static PGobject object(String type, String text) throws SQLException {
        var object = new PGobject();
        object.setType(type);
        object.setValue(text);
        return object;
    }

    static void values(Connection connection) throws Exception {
        var values = new LinkedHashMap<String, Object>();
        values.put("int2", (short) -7);
        values.put("int8", Long.MAX_VALUE);
        values.put("numeric", new BigDecimal("-12345678901234567890.00123"));
        values.put("float8", Double.NEGATIVE_INFINITY);
        values.put("bool", false);
        values.put("text", "Brontë 'quoted' \\ \n$1 " + "x".repeat(300000));
        values.put("bytea", new byte[] {0, 1, -1});
        values.put("uuid", UUID.fromString("00112233-4455-6677-8899-aabbccddeeff"));
        values.put("date", LocalDate.of(1605, 1, 16));
        values.put("timestamp", LocalDateTime.of(1999, 12, 31, 23, 59, 59, 1000));
        values.put("timestamptz", OffsetDateTime.parse("1969-07-20T20:17:40Z"));
        values.put("date ", LocalDate.MAX); // infinity
        values.put("timestamptz ", OffsetDateTime.MIN); // -infinity
        values.put("jsonb", object("jsonb", "{\"a\": [1, null]}"));
        values.put("json", object("json", "[1.0]"));
        values.put("int4range", object("int4range", "[1,)"));
        values.put("int4[]", connection.createArrayOf("int4", new Integer[] {1, null, -3}));
        values.put("text[]", connection.createArrayOf("text", new String[] {"a", "b\"c", "{d,e}", null, ""}));
        for (var each : values.entrySet()) {
            var sql = "SELECT ?::%1$s AS v, NULL::%1$s AS n FROM books WHERE branch = 'west' AND isbn = 9780451524935".formatted(each.getKey());
            try (var statement = connection.prepareStatement(sql)) {
                for (int at = 0; at < 7; at++) { // in binary from the time on that it is prepared on the server
                    statement.setObject(1, each.getValue());
                    try (var set = statement.executeQuery()) {
                        set.next();
                        var text = set.getObject(1) instanceof byte[] bytes ? HexFormat.of().formatHex(bytes) : set.getString(1);
                        Client.show(each.getKey(), text + " " + set.getObject(2) + " " + set.wasNull());
                    }
                }
            }
        }
    }

    static void secure(String host, String port, String ca, String otherCa) throws SQLException {
        String[][] cases = {
            {"verify-full", "secret", "sslmode=verify-full&sslrootcert=" + ca},
            {"verify-ca", "secret", "sslmode=verify-ca&sslrootcert=" + ca},
            {"require", "secret", "sslmode=require"},
            {"channel binding", "secret", "sslmode=verify-full&channelBinding=require&sslrootcert=" + ca},
            {"direct", "secret", "sslmode=verify-full&sslNegotiation=direct&sslrootcert=" + ca},
            {"disable", "secret", "sslmode=disable"},
            {"other authority", "secret", "sslmode=verify-full&sslrootcert=" + otherCa},
            {"wrong password", "wrong", "sslmode=require"},
        };
        for (var each : cases) {
            var url = "jdbc:postgresql://" + host + ":" + port + "/library_system?user=reader&password=" + each[1] + "&" + each[2];
            try (var connection = DriverManager.getConnection(url);
                 var set = connection.createStatement().executeQuery("SELECT count(*) FROM books WHERE branch = 'west'")) {
                set.next();
                Client.show("pgJDBC " + each[0], set.getInt(1));
            } catch (SQLException error) {
                Client.show("pgJDBC " + each[0], error.getSQLState());
            }
        }
    }

    /** For each line of input: "up" asks until all shards answer, "down" asks each once. */
    static void reconnect(String url) throws Exception {
        try (var pool = new HikariDataSource()) {
            pool.setJdbcUrl(url);
            pool.setUsername("postgres");
            pool.setMaximumPoolSize(2);
            pool.setConnectionTimeout(2000);
            var lines = new BufferedReader(new InputStreamReader(System.in));
            for (var line = lines.readLine(); line != null; line = lines.readLine()) {
                var words = new ArrayList<String>();
                for (var branch : new String[] {"downtown", "west", "north"}) words.add(ask(pool, branch, line.equals("up")));
                System.out.println(String.join(" ", words));
            }
        }
    }

    static String ask(HikariDataSource pool, String branch, boolean patient) throws InterruptedException {
        var deadline = System.nanoTime() + Duration.ofSeconds(40).toNanos();
        while (true) {
            String verdict;
            try (var connection = pool.getConnection();
                 var statement = connection.prepareStatement("SELECT count(*) FROM books WHERE branch = ?")) {
                statement.setString(1, branch);
                statement.executeQuery().close();
                return "ok";
            } catch (SQLException error) {
                verdict = error.getSQLState();
            }
            if (!patient || System.nanoTime() > deadline) return verdict;
            Thread.sleep(100);
        }
    }
}
