//! The machine that a run took place on, as far as it matters to a reader elsewhere.

use std::fs;

use serde::{Deserialize, Serialize};

/// The file in the run's folder.
pub const FILE: &str = "machine.json";

/// The known properties of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The version of this program.
    pub duress: String,
    /// When the run was made, as RFC 3339.
    pub date: String,
    /// The kernel: its name, release and version.
    pub kernel: String,
    /// The architecture this program was built for.
    pub architecture: String,
    /// The distribution, as it calls itself.
    pub distribution: String,
    /// The processor, as it calls itself.
    pub processor: String,
    /// How many cores the program may use.
    pub cores: usize,
    /// How much memory there is, in MiB.
    pub memory_mib: u64,
}

impl Machine {
    /// Examines this machine. Unknown properties stay empty.
    #[must_use]
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let proc = |name: &str| read(&format!("/proc/sys/kernel/{name}")).trim().to_owned();
        let release = read("/etc/os-release");
        let distribution = field(&release, "PRETTY_NAME", '=').trim_matches('"').to_owned();
        let (memory, processors) = (read("/proc/meminfo"), read("/proc/cpuinfo"));
        let memory_kib = field(&memory, "MemTotal", ':');
        let memory_kib: u64 =
            memory_kib.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        Self {
            duress: env!("CARGO_PKG_VERSION").to_owned(),
            date: chrono::Local::now().format("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            kernel: [proc("ostype"), proc("osrelease"), proc("version")].join(" ").trim().to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            distribution,
            processor: field(&processors, "model name", ':').to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory_kib / 1024,
        }
    }
}

/// Returns the value of the first line of `text` that begins with `name`, after `separator`.
fn field<'a>(text: &'a str, name: &str, separator: char) -> &'a str {
    let of_line = |line: &'a str| {
        let (key, value) = line.split_once(separator)?;
        (key.trim() == name).then(|| value.trim())
    };
    text.lines().find_map(of_line).unwrap_or_default()
}
