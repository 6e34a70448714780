// For every line "NAME MILLISECONDS" on standard input: prints "waiting", parks until so much later by the wall clock,
// and prints how late the wall clock was then past the deadline, in nanoseconds, and how often the thread woke up.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.concurrent.locks.LockSupport;

public class Parker {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null;) {
            long deadline = System.currentTimeMillis() + Long.parseLong(line.split(" ")[1]);
            System.out.println("waiting");
            System.out.flush();
            long woken = 0;
            while (System.currentTimeMillis() < deadline) {
                LockSupport.parkUntil(deadline);
                woken++;
            }
            System.out.println("late=" + (System.currentTimeMillis() - deadline) * 1_000_000L + " woken=" + woken);
            System.out.flush();
        }
    }
}
