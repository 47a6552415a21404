// Batches with rows of several shards: all of it happens, or nothing.
import java.sql.*;
import java.util.Arrays;

class Across {
    static final long FIRST = Client.MINE + 100;
    static final String[] BRANCHES = {"west", "north", "downtown"};

    static void everyday(Connection connection) throws SQLException {
        try {
            connection.setAutoCommit(false);
            Client.show("across", batch(connection, 0, 12, false));
            connection.commit();
            Client.show("clashing", batch(connection, 20, 5, true));
            connection.rollback();
            Client.show("found", found(connection));
            var savepoint = connection.setSavepoint();
            Client.show("to savepoint", batch(connection, 40, 4, true));
            connection.rollback(savepoint);
            Client.show("behind it", batch(connection, 60, 3, false));
            connection.commit();
            connection.setAutoCommit(true);
            Client.show("alone", batch(connection, 70, 3, false));
            Client.show("texts", texts(connection));
            Client.show("in the end", found(connection));
        } finally {
            connection.setAutoCommit(true);
            try (var delete = connection.prepareStatement("DELETE FROM books WHERE branch = ? AND isbn >= ?")) {
                for (var branch : BRANCHES) {
                    delete.setString(1, branch);
                    delete.setLong(2, FIRST);
                    delete.executeUpdate();
                }
            }
        }
    }

    static String batch(Connection connection, int from, int count, boolean clashes) throws SQLException {
        try (var insert = connection.prepareStatement(Client.INSERT)) {
            for (int at = 0; at < count; at++) {
                Client.book(insert, FIRST + from + at).setString(2, BRANCHES[at % 3]);
                insert.addBatch();
            }
            if (clashes) Client.book(insert, FIRST).addBatch();
            return Arrays.toString(insert.executeBatch());
        } catch (BatchUpdateException error) {
            return error.getSQLState() + " " + Arrays.toString(error.getUpdateCounts());
        }
    }

    static String texts(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (var statement = connection.createStatement()) {
            for (var branch : BRANCHES) statement.addBatch("UPDATE books SET price = price + 1 WHERE branch = '" + branch + "' AND isbn >= " + FIRST);
            statement.addBatch("DELETE FROM books WHERE branch = 'west' AND isbn = " + FIRST);
            return Arrays.toString(statement.executeBatch());
        } finally {
            connection.commit();
        }
    }

    static String found(Connection connection) throws SQLException {
        return Client.query(connection, "SELECT isbn, branch, price FROM books WHERE isbn >= ? ORDER BY isbn, branch", FIRST);
    }
}
