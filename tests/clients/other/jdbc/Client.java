// pgJDBC: prepared statements (server-side from the fifth use on), a batch, a transaction, fetch size, metadata. Prints lines.
import java.math.BigDecimal;
import java.sql.*;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.util.Properties;

public class Client {
    static final long ISBN = 9780451524935L, MINE = 9999999999001L;
    static final String INSERT = "INSERT INTO books (isbn, branch, book_name, author, price) VALUES (?, ?, ?, ?, ?)";

    static void show(String name, Object value) {
        System.out.println(name + ": " + value);
    }

    static String rows(ResultSet set) throws SQLException {
        var text = new StringBuilder();
        int count = set.getMetaData().getColumnCount();
        for (int at = 1; at <= count; at++)
            text.append(set.getMetaData().getColumnName(at)).append(' ').append(set.getMetaData().getColumnTypeName(at)).append(' ');
        while (set.next())
            for (int at = 1; at <= count; at++) text.append(at == 1 ? " | " : ", ").append(set.getObject(at));
        set.close();
        return text.toString();
    }

    static String query(Connection connection, String sql, Object... values) throws SQLException {
        try (var statement = connection.prepareStatement(sql)) {
            for (int at = 0; at < values.length; at++) statement.setObject(at + 1, values[at]);
            return rows(statement.executeQuery());
        } catch (SQLException error) {
            return error.getSQLState();
        }
    }

    static PreparedStatement book(PreparedStatement insert, long isbn) throws SQLException {
        insert.setLong(1, isbn);
        insert.setString(2, "west");
        insert.setString(3, "mine");
        insert.setString(4, "me");
        insert.setBigDecimal(5, new BigDecimal("1.50"));
        return insert;
    }

    static void queries(Connection connection) throws SQLException {
        try (var statement = connection.prepareStatement("SELECT * FROM books WHERE branch = ? AND isbn = ?")) {
            for (int at = 0; at < 10; at++) {
                statement.setString(1, new String[] {"west", "north", "downtown"}[at % 3]);
                statement.setLong(2, ISBN);
                show("routed", rows(statement.executeQuery()));
            }
        }
        for (int at = 0; at < 7; at++)
            show("scattered", query(connection, "SELECT branch, price, checked_out FROM books WHERE isbn = ? ORDER BY branch", ISBN));
        show("limited", query(connection, "SELECT isbn, branch FROM books ORDER BY isbn, branch LIMIT ?", 5));
        show("groups", query(connection, "SELECT genre, count(*), avg(price) FROM books GROUP BY 1 ORDER BY 1"));
        show("date", query(connection, "SELECT name, joined FROM patrons WHERE joined >= ? ORDER BY patron_id", LocalDate.of(2021, 1, 1)));
        show("types", query(connection, "SELECT ?::int, ?::bigint, ?::numeric, ?::bool, ?::date, ?::timestamptz, ?::text",
            -5, 1L << 62, new BigDecimal("1.50"), true, LocalDate.of(2020, 2, 29), OffsetDateTime.parse("1969-07-20T20:17:40Z"), null));
        show("array", query(connection, "SELECT branch FROM books WHERE isbn = ? AND branch = ANY(?) ORDER BY 1",
            ISBN, connection.createArrayOf("text", new String[] {"west", "north"})));
        show("undefined", query(connection, "SELECT nope FROM books WHERE isbn = ?", ISBN));
        show("division", query(connection, "SELECT price / ? FROM books", 0));
    }

    static void writes(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (var insert = connection.prepareStatement(INSERT)) {
            for (int at = 0; at < 20; at++) book(insert, MINE + at).addBatch();
            show("batch", java.util.Arrays.toString(insert.executeBatch()));
            var savepoint = connection.setSavepoint("here");
            try {
                book(insert, MINE).executeUpdate();
            } catch (SQLException error) {
                show("duplicate", error.getSQLState());
            }
            connection.rollback(savepoint);
        }
        try (var update = connection.prepareStatement("UPDATE books SET price = ? WHERE branch = ? AND isbn >= ?")) {
            update.setBigDecimal(1, BigDecimal.TEN);
            update.setString(2, "west");
            update.setLong(3, MINE);
            show("updated", update.executeUpdate());
        }
        show("sum", query(connection, "SELECT sum(price) FROM books WHERE branch = 'west' AND isbn >= ?", MINE));
        connection.rollback();
        show("rolled back", query(connection, "SELECT count(*) FROM books WHERE isbn >= ?", MINE));
        try (var statement = connection.prepareStatement("SELECT isbn, book_name FROM books WHERE branch = ? ORDER BY isbn")) {
            statement.setFetchSize(5);
            statement.setString(1, "north");
            show("in parts", rows(statement.executeQuery()));
        }
        try (var all = connection.prepareStatement("SELECT isbn, branch, price FROM books WHERE price > ? ORDER BY isbn, branch");
             var groups = connection.prepareStatement("SELECT genre, count(*) FROM books GROUP BY genre ORDER BY genre")) {
            all.setFetchSize(7);
            groups.setFetchSize(2);
            all.setBigDecimal(1, BigDecimal.TEN);
            var first = all.executeQuery();
            var second = groups.executeQuery();
            for (int at = 0; at < 5 && first.next() && second.next(); at++)
                show("side by side", first.getLong(1) + " " + second.getString(1) + " " + second.getLong(2));
            show("the rest", rows(first) + rows(second));
        }
        connection.commit();
        connection.setAutoCommit(true);
        try (var insert = connection.prepareStatement(INSERT, Statement.RETURN_GENERATED_KEYS)) {
            show("inserted", book(insert, MINE).executeUpdate());
            show("keys", rows(insert.getGeneratedKeys()).replaceAll("\\d+-\\d+-\\d+ .*", ""));
        }
        try (var delete = connection.prepareStatement("DELETE FROM books WHERE branch = 'west' AND isbn >= ?")) {
            delete.setLong(1, MINE);
            show("deleted", delete.executeUpdate());
        }
    }

    static void metadata(Connection connection) throws SQLException {
        try (var columns = connection.getMetaData().getColumns(null, "public", "books", null)) {
            while (columns.next()) show("column", columns.getString("COLUMN_NAME") + " " + columns.getString("TYPE_NAME"));
        }
        try (var keys = connection.getMetaData().getPrimaryKeys(null, "public", "books")) {
            while (keys.next()) show("key", keys.getString("COLUMN_NAME"));
        }
    }

    public static void main(String[] arguments) throws Exception {
        var url = "jdbc:postgresql://" + arguments[1] + ":" + arguments[2] + "/library_system";
        switch (arguments[0]) {
            case "everyday" -> everyday(url);
            case "secure" -> More.secure(arguments[1], arguments[2], arguments[3], arguments[4]);
            case "reconnect" -> More.reconnect(url);
        }
    }

    static void everyday(String url) throws Exception {
        for (var mode : new String[] {"extended", "extendedForPrepared", "extendedCacheEverything", "simple"}) {
            var properties = new Properties();
            properties.setProperty("user", "postgres");
            properties.setProperty("preferQueryMode", mode);
            show("mode", mode);
            try (var connection = DriverManager.getConnection(url, properties)) {
                queries(connection);
                writes(connection);
                metadata(connection);
                show("valid", connection.isValid(5));
                More.everyday(connection);
                Across.everyday(connection);
            }
        }
        try (var connection = DriverManager.getConnection(url + "?user=postgres&reWriteBatchedInserts=true")) {
            Across.everyday(connection);
        }
    }
}
