// All that an acknowledging service needs: it works with `limit` of config.properties. See ../README.md.
import static java.nio.file.StandardWatchEventKinds.*;

import java.io.IOException;
import java.nio.file.*;
import java.time.Instant;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

public class Minimal {
    static volatile int limit;

    public static void main(String[] arguments) throws Exception {
        Path volume = Path.of(System.getenv("LOCKSTEP_CONFIG"));
        Path file = Path.of(System.getenv("LOCKSTEP_STATUS_FILE"));
        WatchService watcher = volume.getFileSystem().newWatchService();
        volume.register(watcher, ENTRY_CREATE, ENTRY_DELETE); // the folder: what is behind a link never changes
        String runs = "\"switch\": null, \"revision\": null, \"digest\": null";
        Path seen = null;
        while (true) {
            Path link = Files.readSymbolicLink(volume.resolve("current"));
            if (link.equals(seen)) { // the service's own work goes on in other threads
                WatchKey key = watcher.poll(1, TimeUnit.SECONDS); // events may be lost, or not come at all
                if (key != null) {
                    key.pollEvents();
                    key.reset();
                }
                continue;
            }
            seen = link;
            String release = "", error = null;
            int next = 0;
            try { // everything is parsed and validated, below the one directory, before anything is assigned
                release = Files.readString(volume.resolve(link).resolve(".lockstep/release.json"));
                Properties document = new Properties();
                try (var reader = Files.newBufferedReader(volume.resolve(link).resolve("config.properties"))) {
                    document.load(reader);
                }
                String text = document.getProperty("limit", "");
                if (!text.matches("[1-9][0-9]{0,8}")) {
                    throw new IOException("`limit` must be a whole number above 0");
                }
                next = Integer.parseInt(text);
            } catch (IOException | IllegalArgumentException problem) {
                error = quoted(problem.getMessage());
            }
            if (!Files.readSymbolicLink(volume.resolve("current")).equals(link)) {
                continue; // what was loaded is of the past
            }
            String attempted = "\"switch\": " + link.getFileName() + ", \"revision\": " + field(release, "revision");
            if (error == null) {
                limit = next;
                runs = attempted + ", \"digest\": " + field(release, "digest");
                System.out.println("limit is " + limit);
            }
            String status = "{\"protocol\": 1, \"instance\": " + quoted(System.getenv("LOCKSTEP_INSTANCE")) + ", " + runs
                + ", \"attempted\": {" + attempted + "}, \"state\": " + (error == null ? "\"applied\"" : "\"rejected\"")
                + ", \"error\": " + (error == null ? null : "{\"message\": " + error + ", \"path\": \"config.properties\"}")
                + ", \"at\": " + quoted(Instant.now().toString()) + "}";
            Path fresh = Files.writeString(file.resolveSibling("status.new"), status);
            Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE);
        }
    }

    /** A field of release.json, with its quotes. */
    static String field(String json, String name) {
        var found = Pattern.compile("\"" + name + "\"\\s*:\\s*(\"[0-9a-z:]+\")").matcher(json);
        return found.find() ? found.group(1) : null;
    }

    static String quoted(String text) {
        return "\"" + text.replaceAll("[\\\\\"\\p{Cntrl}]", "'") + "\"";
    }
}
