// The client of the toy store, in Java. duress starts it, and speaks to it through DuressClient.java.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

class Toy extends DuressClient {
    private final Socket socket = new Socket();
    private BufferedReader lines;

    @Override
    void open() throws IOException {
        socket.connect(new InetSocketAddress(host, port), timeoutMillis);
        socket.setTcpNoDelay(true);
        socket.setSoTimeout(timeoutMillis);
        lines = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
    }

    @Override
    void close() throws IOException {
        socket.close();
    }

    /** Sends a request of these names and values. */
    private Map<?, ?> ask(Object... fields) throws Exception {
        Map<Object, Object> request = new LinkedHashMap<>();
        for (int at = 0; at < fields.length; at += 2) {
            request.put(fields[at], fields[at + 1]);
        }
        Map<?, ?> answer;
        try {
            socket.getOutputStream().write((Json.write(request) + "\n").getBytes(StandardCharsets.UTF_8));
            String line = lines.readLine();
            if (line == null) {
                throw new IOException("the connection was closed");
            }
            answer = (Map<?, ?>) Json.parse(line);
        } catch (IOException | IllegalArgumentException error) {
            // The request may have arrived: it may have been done.
            throw new Info("no answer: " + error);
        }
        if (answer.get("result").equals("unavailable")) {
            throw new Fail("the node has no connection to the primary");
        }
        return answer;
    }

    // The workloads register and counter
    @Override
    Object read(String key) throws Exception {
        Object value = ask("op", "read", "key", key).get("value");
        return value == null && vocabulary.equals("counter") ? 0 : value;
    }

    // The workload register
    @Override
    void write(String key, Object value) throws Exception {
        ask("op", "write", "key", key, "value", value);
    }

    @Override
    void cas(String key, Object before, Object after) throws Exception {
        if (ask("op", "cas", "key", key, "old", before, "new", after).get("result").equals("mismatch")) {
            throw new Mismatch();
        }
    }

    // The workload counter
    @Override
    void add(String key, Object delta) throws Exception {
        ask("op", "add", "key", key, "delta", delta);
    }

    public static void main(String[] arguments) throws Exception {
        run(Toy::new);
    }
}
