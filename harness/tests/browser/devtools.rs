//! A headless Chromium, spoken to over its DevTools protocol.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// How long anything may take here, on a machine busy with other work.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// A condition is looked at again after this; the condition decides, never the time.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Returns the browser that there is.
pub fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("DURESS_CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

/// A browser with one page. It ends, with all its processes, when this is dropped.
pub struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    next: u64,
    events: VecDeque<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser; fails the test when it does not come up.
    #[track_caller]
    pub fn start() -> Self {
        let program = find().expect("only called where there is one");
        let profile = tempfile::Builder::new().prefix("duress-chromium-").tempdir().unwrap();
        let child = Command::new(&program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-dev-shm-usage",
            ])
            .args(["--remote-debugging-port=0", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own, so that it can be ended with everything that it starts.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let mut guard = Guard(Some(child));
        let port = wait(PATIENCE, "the browser listens", || {
            let text = fs::read_to_string(profile.path().join("DevToolsActivePort")).ok()?;
            text.lines().next()?.parse::<u16>().ok()
        });
        let page = wait(PATIENCE, "the browser has a page", || {
            let pages: Value = serde_json::from_str(&get(port, "/json").ok()?).ok()?;
            let page = pages.as_array()?.iter().find(|page| page["type"] == "page")?;
            page["webSocketDebuggerUrl"].as_str().map(str::to_owned)
        });
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let config =
            tungstenite::protocol::WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let (socket, _) = tungstenite::client::client_with_config(page, stream, Some(config)).unwrap();
        socket.get_ref().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let child = guard.0.take().expect("the guard holds it until now");
        let mut browser = Self { child, socket, next: 0, events: VecDeque::new(), _profile: profile };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls `method`, and answers its result; fails the test when the browser refuses.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let text = json!({"id": id, "method": method, "params": params}).to_string();
        self.socket.send(Message::text(text)).unwrap();
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "{method} was not answered within {PATIENCE:?}");
            let Some(message) = self.receive() else { continue };
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            if message["method"].is_string() {
                self.events.push_back(message);
            }
        }
    }

    /// Returns the events by name, since the beginning.
    pub fn events(&self, method: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["method"] == method).map(|event| &event["params"]).collect()
    }

    /// Receives one message; `None` without one for a while.
    fn receive(&mut self) -> Option<Value> {
        match self.socket.read() {
            Ok(Message::Text(text)) => Some(serde_json::from_str(&text).unwrap()),
            Ok(_) => None,
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
            {
                None
            }
            Err(error) => panic!("the browser is gone: {error}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A browser that is not spoken to yet: it ends when the test fails before it is.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    // Both fail when, as they should not, it has ended already.
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let _ = child.wait();
}

/// Looks at `condition` until it answers something.
#[track_caller]
pub fn wait<T>(deadline: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = condition() {
            return answer;
        }
        assert!(began.elapsed() < deadline, "waited for {deadline:?} in vain until {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Returns the body of an HTTP answer on loopback.
pub fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    // The browser keeps the connection open in any case: the length gives the end of the answer.
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if length.is_none_or(|length: usize| body.len() >= length) {
                return Ok(body.to_owned());
            }
        }
        match stream.read(&mut part)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&part[..read]),
        }
    }
}

/// Returns the folder for pictures, if they are wanted.
pub fn pictures() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("DURESS_SCREENSHOTS")?);
    fs::create_dir_all(&folder).unwrap();
    Some(folder)
}

/// Writes a picture.
pub fn write(path: &Path, base64: &str) {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
    fs::write(path, bytes).unwrap();
}
