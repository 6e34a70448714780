// A client of a system under test, for duress: one file, no dependencies, Java 11 or later.
//
//     class Mine extends DuressClient {
//         void open() { … }                            // connect to host and port, within timeoutMillis
//         Object read(String key) { … }                // null if there is no value
//         void write(String key, Object value) { … }
//         void cas(String key, Object before, Object after) { … }  // throw new Mismatch() where the value is not `before`
//         void close() { … }
//
//         public static void main(String[] arguments) throws Exception { run(Mine::new); }
//     }
//
// A method for each operation of the vocabularies that the manifest says the client speaks: `register` has read, write and
// cas; `set` and `counter` have read and add; `list-append` and `rw-register` have txn, which returns the operations with the
// answers of reads filled in; `unique-ids` has generate; `fenced-mutex` has acquire, which returns the fencing token, and release;
// every operation of `bank`, `log`, `table`, `stream` and `job` comes to `other`. A method that returns has done it. It throws
//
//     Fail      when it certainly was not done and never will be: nothing was sent, or the system refused it;
//     Mismatch  when a comparison failed, which is a Fail;
//     Info      when it may have been done: no answer in time, a connection that broke.
//
// Any other exception is an Info, and its stack is kept with the run; in `open` it is a Fail. After an Info, and after any
// other exception, the connection is closed, and opened again for the next operation.
//
// With `processes = "per-host"` in the manifest one process serves several clients, each on a thread of its own.
//
// Values are JSON's: null, Boolean, BigDecimal, String, List and Map; any Number may be returned. `Json.parse` and `Json.write`
// serve a system that speaks JSON, too.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Supplier;

/** A client of one node: extend it, with one method for each operation. */
abstract class DuressClient {
    /** The operation certainly was not done, and never will be. */
    static class Fail extends Exception {
        Fail(String why) {
            super(why);
        }
    }

    /** The comparison of a compare-and-set failed. */
    static class Mismatch extends Fail {
        Mismatch() {
            super("the comparison failed");
        }
    }

    /** The operation may have been done. */
    static class Info extends Exception {
        Info(String why) {
            super(why);
        }
    }

    /** The vocabulary of its operations, as the manifest's `speaks` names it. */
    String vocabulary;
    /** The name of its node. */
    String node;
    /** The address of its node. */
    String host;
    /** The port of its node. */
    int port;
    /** The addresses of all nodes, by name, as host:port. */
    Map<String, String> nodes;
    /** How long an operation may take, in milliseconds. */
    int timeoutMillis;

    /** Connects to the node. */
    void open() throws Exception {}

    /** Closes the connection, which may never have been opened. */
    void close() throws Exception {}

    Object read(String key) throws Exception {
        throw lacks("read");
    }

    void write(String key, Object value) throws Exception {
        throw lacks("write");
    }

    void cas(String key, Object before, Object after) throws Exception {
        throw lacks("cas");
    }

    void add(String key, Object value) throws Exception {
        throw lacks("add");
    }

    List<?> txn(List<?> operations) throws Exception {
        throw lacks("txn");
    }

    Object generate() throws Exception {
        throw lacks("generate");
    }

    /** Returns the fencing token. */
    Object acquire(String key, Object lease) throws Exception {
        throw lacks("acquire");
    }

    void release(String key, Object token) throws Exception {
        throw lacks("release");
    }

    /** Every other operation, with its value as in a run's history.jsonl. */
    Object other(String f, Object value) throws Exception {
        throw lacks(f);
    }

    private static Fail lacks(String f) {
        return new Fail("the client has no method " + f);
    }

    private Object invoke(Map<?, ?> request) throws Exception {
        String f = (String) request.get("f");
        Object value = request.get("value");
        String key = request.get("key") == null ? null : request.get("key").toString();
        switch (f) {
            case "read":
                return value == null ? read(key) : other(f, value);
            case "write":
                write(key, value);
                return null;
            case "cas":
                cas(key, ((List<?>) value).get(0), ((List<?>) value).get(1));
                return null;
            case "add":
                add(key, value);
                return null;
            case "txn":
                return txn((List<?>) value);
            case "generate":
                return generate();
            case "acquire":
                return acquire(key, value);
            case "release":
                release(key, value);
                return null;
            default:
                return other(f, value);
        }
    }

    /** Serves the harness with the clients that make makes, until it closes the standard input. */
    static void run(Supplier<? extends DuressClient> make) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        // The client's own prints must not come between the answers.
        System.setOut(System.err);
        out.print("{\"type\":\"hello\",\"version\":1}\n");
        out.flush();
        // What cannot be answered ends the program.
        Thread.setDefaultUncaughtExceptionHandler((thread, error) -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
        });
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        // One client, or several with a number each.
        Map<Object, Session> sessions = new HashMap<>();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<?, ?> request = (Map<?, ?>) Json.parse(line);
            Object number = request.get("client");
            Session session = sessions.computeIfAbsent(number, client -> new Session(make));
            if (!request.get("type").equals("close")) {
                session.thread.execute(() -> {
                    out.print(Json.write(session.answer(request)) + "\n");
                    out.flush();
                });
            } else if (number == null) {
                session.thread.execute(session::disconnect);
            } else {
                sessions.remove(number).end();
            }
        }
        sessions.values().forEach(Session::end);
    }

    /** One client after the other, as the harness opens and closes them. */
    private static class Session {
        final ExecutorService thread = Executors.newSingleThreadExecutor();
        private final Supplier<? extends DuressClient> make;
        private Map<?, ?> opening;
        private DuressClient client;

        Session(Supplier<? extends DuressClient> make) {
            this.make = make;
        }

        void end() {
            thread.execute(this::disconnect);
            thread.shutdown();
        }

        void connect() throws Exception {
            DuressClient made = make.get();
            String address = (String) opening.get("address");
            int colon = address.lastIndexOf(':');
            made.vocabulary = (String) opening.get("vocabulary");
            made.node = (String) opening.get("node");
            made.host = address.substring(0, colon).replaceAll("[\\[\\]]", "");
            made.port = Integer.parseInt(address.substring(colon + 1));
            made.nodes = new LinkedHashMap<>();
            ((Map<?, ?>) opening.get("nodes")).forEach((name, at) -> made.nodes.put((String) name, (String) at));
            made.timeoutMillis = ((Number) opening.get("timeout_ms")).intValue();
            made.open();
            client = made;
        }

        void disconnect() {
            DuressClient closed = client;
            client = null;
            try {
                if (closed != null) {
                    closed.close();
                }
            } catch (Exception error) {
                error.printStackTrace();
            }
        }

        Map<String, Object> answer(Map<?, ?> request) {
            Map<String, Object> answer = new LinkedHashMap<>();
            answer.put("id", request.get("id"));
            if (request.containsKey("client")) {
                answer.put("client", request.get("client"));
            }
            boolean opens = request.get("type").equals("open");
            if (opens) {
                disconnect();
                opening = request;
            }
            try {
                if (client == null) {
                    connect();
                }
            } catch (Exception error) {
                answer.put("type", "fail");
                answer.put("error", "cannot open the connection: " + error);
                return answer;
            }
            try {
                if (!opens) {
                    answer.put("value", client.invoke(request));
                }
                answer.put("type", "ok");
            } catch (Fail error) {
                answer.put("type", "fail");
                answer.put("error", error.getMessage());
                if (error instanceof Mismatch) {
                    answer.put("mismatch", true);
                }
            } catch (Exception error) {
                if (!(error instanceof Info)) {
                    error.printStackTrace();
                }
                disconnect();
                answer.put("type", "info");
                answer.put("error", error instanceof Info ? error.getMessage() : error.toString());
            }
            return answer;
        }
    }

    /** JSON, read and written. */
    static final class Json {
        /** The deepest nesting that is read. */
        private static final int DEPTH_MAX = 100;

        private final String text;
        private int at;

        private Json(String text) {
            this.text = text;
        }

        /**
         * Reads a JSON value.
         *
         * @throws IllegalArgumentException if text is not one
         */
        static Object parse(String text) {
            Json reader = new Json(text);
            Object value = reader.value(DEPTH_MAX);
            if (reader.next() != 0) {
                throw reader.expected("the end");
            }
            return value;
        }

        /**
         * Returns a value as JSON, on one line.
         *
         * @throws IllegalArgumentException if it has no form in JSON
         */
        static String write(Object value) {
            StringBuilder out = new StringBuilder();
            write(value, out);
            return out.toString();
        }

        private static void write(Object value, StringBuilder out) {
            if (value == null || value instanceof Boolean) {
                out.append(value);
            } else if (value instanceof Number) {
                // Refuses a double that is not a number.
                out.append(new BigDecimal(value.toString()));
            } else if (value instanceof CharSequence) {
                quote((CharSequence) value, out);
            } else if (value instanceof Iterable) {
                String before = "";
                out.append('[');
                for (Object item : (Iterable<?>) value) {
                    out.append(before);
                    write(item, out);
                    before = ",";
                }
                out.append(']');
            } else if (value instanceof Map) {
                String before = "";
                out.append('{');
                for (Map.Entry<?, ?> field : ((Map<?, ?>) value).entrySet()) {
                    out.append(before);
                    quote(field.getKey().toString(), out);
                    out.append(':');
                    write(field.getValue(), out);
                    before = ",";
                }
                out.append('}');
            } else {
                throw new IllegalArgumentException(value.getClass() + " has no form in JSON");
            }
        }

        private static void quote(CharSequence letters, StringBuilder out) {
            out.append('"');
            for (int at = 0; at < letters.length(); at++) {
                char letter = letters.charAt(at);
                if (letter == '"' || letter == '\\') {
                    out.append('\\').append(letter);
                } else if (letter < ' ' || Character.isSurrogate(letter)) {
                    out.append(String.format("\\u%04x", (int) letter));
                } else {
                    out.append(letter);
                }
            }
            out.append('"');
        }

        private IllegalArgumentException expected(String what) {
            return new IllegalArgumentException("expected " + what + " at letter " + at + " of " + text);
        }

        /** Returns the next letter that is not a space, without taking it; 0 at the end. */
        private char next() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
            return at < text.length() ? text.charAt(at) : 0;
        }

        private boolean take(String word) {
            boolean found = next() != 0 && text.startsWith(word, at);
            at += found ? word.length() : 0;
            return found;
        }

        private Object value(int depth) {
            if (depth == 0) {
                throw expected("less nesting");
            }
            char first = next();
            if (first == '"') {
                return string();
            }
            if (take("[")) {
                List<Object> items = new ArrayList<>();
                while (!take("]")) {
                    if (!items.isEmpty() && !take(",")) {
                        throw expected(", or ]");
                    }
                    items.add(value(depth - 1));
                }
                return items;
            }
            if (take("{")) {
                Map<String, Object> fields = new LinkedHashMap<>();
                while (!take("}")) {
                    if (!fields.isEmpty() && !take(",") || next() != '"') {
                        throw expected("a name, or }");
                    }
                    String name = string();
                    if (!take(":")) {
                        throw expected(":");
                    }
                    fields.put(name, value(depth - 1));
                }
                return fields;
            }
            if (take("null")) {
                return null;
            }
            if (take("true")) {
                return true;
            }
            if (take("false")) {
                return false;
            }
            int end = at;
            while (end < text.length() && "+-.eE0123456789".indexOf(text.charAt(end)) >= 0) {
                end++;
            }
            try {
                BigDecimal number = new BigDecimal(text.substring(at, end));
                at = end;
                return number;
            } catch (NumberFormatException error) {
                throw expected("a value");
            }
        }

        private String string() {
            StringBuilder letters = new StringBuilder();
            at++;
            while (at < text.length() && text.charAt(at) >= ' ') {
                char letter = text.charAt(at++);
                if (letter == '"') {
                    return letters.toString();
                }
                letters.append(letter == '\\' ? escaped() : letter);
            }
            throw expected("\"");
        }

        /** Reads what follows a backslash. */
        private char escaped() {
            int known = at < text.length() ? "ntrbf\"\\/".indexOf(text.charAt(at)) : -1;
            if (known >= 0) {
                at++;
                return "\n\t\r\b\f\"\\/".charAt(known);
            }
            if (at + 5 <= text.length() && text.substring(at, at + 5).matches("u[0-9a-fA-F]{4}")) {
                at += 5;
                return (char) Integer.parseInt(text.substring(at - 4, at), 16);
            }
            throw expected("an escape");
        }
    }
}
