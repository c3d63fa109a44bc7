import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;

/** Logs in by every JDBC address on standard input, and prints a line for each: role, certificate's serial, read-only. */
public class LogIn {
    private static final String QUERY =
        "select current_user, client_serial, pg_is_in_recovery() from pg_stat_ssl where pid = pg_backend_pid()";

    public static void main(String[] arguments) throws Exception {
        BufferedReader addresses = new BufferedReader(new InputStreamReader(System.in));
        for (String address = addresses.readLine(); address != null; address = addresses.readLine()) {
            System.out.println(answer(address));
        }
    }

    private static String answer(String address) {
        try (Connection session = DriverManager.getConnection(address);
                ResultSet row = session.createStatement().executeQuery(QUERY)) {
            row.next();
            return row.getString(1) + " " + row.getString(2) + " " + row.getBoolean(3);
        } catch (SQLException error) {
            return error.getMessage().replace('\n', ' ');
        }
    }
}
