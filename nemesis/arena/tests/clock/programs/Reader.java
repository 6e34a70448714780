// For every line on standard input: the wall clock in nanoseconds and the time since start by the monotonic clock.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Instant;

public class Reader {
    public static void main(String[] arguments) throws Exception {
        long start = System.nanoTime();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        while (lines.readLine() != null) {
            Instant now = Instant.now();
            long wall = now.getEpochSecond() * 1_000_000_000L + now.getNano();
            System.out.println("wall=" + wall + " elapsed=" + (System.nanoTime() - start));
            System.out.flush();
        }
    }
}
