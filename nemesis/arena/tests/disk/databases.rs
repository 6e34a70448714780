//! Databases that were not made for this disk: killed, cut off from power and started again, they keep what
//! they acknowledged, and with a lying fsync they do not.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use duress_arena::disk::{DiskFault, Keep, Lasting};
use duress_testing::{Missing, Need};
use libtest_mimic::{Completion, Failed, Trial};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use redb::{Database, ReadableTable};

use crate::fixture::{Stage, number};
use crate::scene::{self, COUNTED, Lines, Mortal, Scene};

/// How long a database may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn register(trials: &mut Vec<Trial>) {
    trials.push(Trial::test("databases::redb_keeps_what_it_acknowledged", || survive(&Redb)));
    trials.push(Trial::test("databases::redb_loses_it_to_a_lying_fsync", || be_lied_to(&Redb)));
    trials
        .push(Trial::ignorable_test("databases::sqlite_keeps_what_it_acknowledged", || with_sqlite(survive)));
    trials.push(Trial::ignorable_test("databases::sqlite_loses_it_to_a_lying_fsync", || {
        with_sqlite(be_lied_to)
    }));
    trials.push(Trial::ignorable_test("databases::etcd_keeps_what_it_acknowledged", || {
        with_etcd(survive_as_etcd)
    }));
    trials.push(Trial::ignorable_test("databases::etcd_loses_it_to_a_lying_fsync", || {
        with_etcd(be_lied_to_as_etcd)
    }));
}

/// A database that one program counts in, printing each number it has committed, and another looks into.
trait Counting {
    /// Counts on from what is there, without end.
    fn count(&self, path: &Path) -> Command;
    /// Every number that is there, or why the database cannot be read.
    fn counted(&self, path: &Path) -> Result<BTreeSet<u64>, Failed>;
}

struct Redb;

impl Counting for Redb {
    fn count(&self, path: &Path) -> Command {
        scene::command(Scene::Redb, path)
    }

    fn counted(&self, path: &Path) -> Result<BTreeSet<u64>, Failed> {
        let mut database = Database::open(path)?;
        if !database.check_integrity()? {
            return Err("redb had to repair more than a crash explains".into());
        }
        let transaction = database.begin_write()?;
        let table = transaction.open_table(COUNTED)?;
        let mut numbers = BTreeSet::new();
        for row in table.iter()? {
            numbers.insert(row?.0.value());
        }
        Ok(numbers)
    }
}

struct Sqlite {
    python: PathBuf,
}

const COUNT_IN_SQLITE: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('pragma journal_mode = wal')
db.execute('pragma synchronous = full')
db.execute('create table if not exists counted (number integer primary key)')
number = db.execute('select max(number) from counted').fetchone()[0] or 0
while True:
    number += 1
    db.execute('insert into counted values (?)', (number,))
    print(number, flush=True)
";
const READ_SQLITE: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
assert db.execute('pragma integrity_check').fetchall() == [('ok',)]
for (number,) in db.execute('select number from counted'):
    print(number)
";

impl Counting for Sqlite {
    fn count(&self, path: &Path) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-c", COUNT_IN_SQLITE]).arg(path);
        command
    }

    fn counted(&self, path: &Path) -> Result<BTreeSet<u64>, Failed> {
        let output = Command::new(&self.python).args(["-c", READ_SQLITE]).arg(path).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        String::from_utf8(output.stdout)?.lines().map(|line| Ok(line.parse()?)).collect()
    }
}

/// Counts until so many numbers are acknowledged; then everything stops, as it does when the power goes, and
/// then the processes are dead. The last number that was acknowledged before.
fn count_until_power_cut(
    database: &dyn Counting,
    stage: &Stage,
    wanted: usize,
    random: &mut ChaCha8Rng,
) -> Result<u64, Failed> {
    let mut child = Mortal::start(&mut database.count(&stage.path("database")));
    let mut lines = Lines::of(child.0.stdout.take().expect("a pipe"));
    let mut last = String::new();
    for _ in 0..wanted {
        last = lines.next(PATIENCE).ok_or("the database does not count")?;
    }
    // At no particular moment: right after an acknowledgement nothing new may have been written yet.
    let moment = Instant::now() + Duration::from_micros(random.random_range(0..4000));
    while let Some(line) = lines.next(moment.saturating_duration_since(Instant::now())) {
        last = line;
    }
    child.stop();
    stage.disk().cut_power();
    child.kill();
    while let Some(line) = lines.next(PATIENCE) {
        last = line;
    }
    Ok(last.parse()?)
}

fn survive(database: &dyn Counting) -> Result<(), Failed> {
    let stage = Stage::new();
    let path = stage.path("database");
    // Fsyncs as slow as a good disk's: most power losses then fall into the middle of one.
    stage.disk().inject(&DiskFault::SlowFsync { delay: Duration::from_millis(1) })?;
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let (mut undone, mut kept) = (0, 0);
    let rounds = number("DURESS_DISK_ROUNDS", 20);
    for round in 0..rounds {
        let wanted = random.random_range(1..80);
        let acknowledged = count_until_power_cut(database, &stage, wanted, &mut random)?;
        let keep = if round % 2 == 0 { Keep::Nothing } else { Keep::RandomSubset };
        let loss = stage.disk().power_loss(keep)?;
        assert_eq!(loss.stale_handles, 0);
        undone += loss.blocks + loss.metadata_operations;
        kept += loss.blocks_kept + loss.metadata_operations_kept;
        let counted = database.counted(&path).map_err(|failed| format!("round {round}: {failed:?}"))?;
        let missing = (1..=acknowledged).find(|number| !counted.contains(number));
        assert_eq!(missing, None, "round {round}: acknowledged up to {acknowledged}");
        assert!(counted.len() as u64 <= acknowledged + 1, "round {round}: at most one more was on its way");
    }
    // Few power losses may all have fallen between two commits.
    assert!(
        rounds < 20 || (undone > 0 && kept > 0),
        "{undone} blocks and names undone, {kept} kept by chance"
    );
    Ok(())
}

fn be_lied_to(database: &dyn Counting) -> Result<(), Failed> {
    let stage = Stage::new();
    let path = stage.path("database");
    let mut random = ChaCha8Rng::seed_from_u64(13);
    for round in 0..3 {
        let honest = count_until_power_cut(database, &stage, 20, &mut random)?;
        stage.disk().power_loss(Keep::Nothing)?;
        stage.disk().inject(&DiskFault::LyingFsync)?;
        let acknowledged = count_until_power_cut(database, &stage, 40, &mut random)?;
        assert!(acknowledged >= honest + 40);
        stage.disk().power_loss(Keep::Nothing)?;
        stage.disk().heal(Lasting::LyingFsync)?;
        let counted = database.counted(&path)?;
        let lost = (1..=acknowledged).filter(|number| !counted.contains(number)).count();
        assert!(lost >= 40, "round {round}: of {acknowledged} acknowledged, {lost} are lost");
        assert!(
            (1..=honest).all(|number| counted.contains(&number)),
            "round {round}: not what was honestly synced"
        );
    }
    Ok(())
}

fn with_sqlite(test: impl Fn(&dyn Counting) -> Result<(), Failed>) -> Result<Completion, Failed> {
    let has_sqlite = |python: &&str| {
        let quiet = Command::new(python).args(["-c", "import sqlite3"]).stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success())
    };
    match ["/usr/bin/python3", "python3"].into_iter().find(|python| has_sqlite(python)) {
        Some(python) => test(&Sqlite { python: python.into() }).map(|()| Completion::Completed),
        None => Missing::new(Need::Languages, "there is no Python with SQLite").ended(),
    }
}

/// One etcd, its data on the disk.
struct Etcd {
    child: Mortal,
    _log: Lines,
}

impl Etcd {
    const CLIENT: ([u8; 4], u16) = ([127, 0, 0, 1], 2379);

    fn start(data: &Path) -> Result<Self, Failed> {
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(data).args([
            "--name",
            "n",
            "--logger",
            "zap",
            "--log-outputs",
            "stderr",
        ]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map(Mortal)?;
        let mut log = Lines::of(child.0.stderr.take().expect("a pipe"));
        let mut seen = Vec::new();
        loop {
            match log.next(PATIENCE) {
                Some(line)
                    if line.contains("serving client traffic")
                        || line.contains("serving insecure client") =>
                {
                    return Ok(Self { child, _log: log });
                }
                Some(line) => seen.push(line),
                None => return Err(format!("etcd does not serve:\n{}", seen.join("\n")).into()),
            }
        }
    }

    /// Sends a request to the JSON gateway.
    fn send(path: &str, body: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from(Self::CLIENT), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        Ok(stream)
    }

    fn put(number: u64) -> io::Result<TcpStream> {
        let text = encode(format!("{number:08}").as_bytes());
        Self::send("/v3/kv/put", &format!(r#"{{"key":"{text}","value":"{text}"}}"#))
    }

    fn answer(mut stream: TcpStream) -> Result<String, Failed> {
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(answer.into()) }
    }

    /// Puts `wanted` numbers after `last`, and then the power goes. The last number that was acknowledged before.
    fn put_until_power_is_lost(
        mut self,
        stage: &Stage,
        last: u64,
        wanted: u64,
        keep: Keep,
    ) -> Result<u64, Failed> {
        for number in last + 1..=last + wanted {
            Self::answer(Self::put(number)?)?;
        }
        // One is on its way when the end comes; it may come back or not, and is written again if not.
        let _unanswered = Self::put(last + wanted + 1)?;
        self.child.stop();
        stage.disk().cut_power();
        self.child.kill();
        drop(self);
        assert_eq!(stage.disk().power_loss(keep)?.stale_handles, 0);
        Ok(last + wanted)
    }

    /// How many of the numbers up to `last` are there.
    fn present(last: u64) -> Result<u64, Failed> {
        let (from, to) = (encode(b"00000000"), encode(format!("{:08}", last + 1).as_bytes()));
        let body = format!(r#"{{"key":"{from}","range_end":"{to}","count_only":true}}"#);
        let answer = Self::answer(Self::send("/v3/kv/range", &body)?)?;
        // A count of zero is left out.
        match answer.rsplit_once(r#""count":""#) {
            Some((_, count)) => Ok(count.split('"').next().unwrap_or_default().parse()?),
            None => Ok(0),
        }
    }
}

/// Runs `test` with a disk and a folder on it that etcd has for itself.
fn with_etcd(test: impl FnOnce(&Stage, &Path) -> Result<(), Failed>) -> Result<Completion, Failed> {
    if Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Missing::new(Need::Etcd, "there is no etcd: sh ci/install-etcd").ended();
    }
    let stage = Stage::new();
    let data = stage.path("etcd");
    fs::create_dir(&data)?;
    fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    test(&stage, &data).map(|()| Completion::Completed)
}

fn survive_as_etcd(stage: &Stage, data: &Path) -> Result<(), Failed> {
    let mut random = ChaCha8Rng::seed_from_u64(12);
    let mut last = 0;
    // It takes its time to start, so that its rounds are counted apart.
    let rounds = number("DURESS_ETCD_ROUNDS", 5);
    for round in 0..rounds {
        let etcd = Etcd::start(data)?;
        let present = Etcd::present(last)?;
        assert_eq!(present, last, "round {round}: of {last} acknowledged, {present} are there");
        let wanted = random.random_range(1..40);
        let keep = if round % 2 == 0 { Keep::Nothing } else { Keep::RandomSubset };
        last = etcd.put_until_power_is_lost(stage, last, wanted, keep)?;
    }
    let _etcd = Etcd::start(data)?;
    assert_eq!(Etcd::present(last)?, last);
    Ok(())
}

fn be_lied_to_as_etcd(stage: &Stage, data: &Path) -> Result<(), Failed> {
    let mut honest = 0;
    for round in 0..2 {
        honest = Etcd::start(data)?.put_until_power_is_lost(stage, honest, 10, Keep::Nothing)?;
        stage.disk().inject(&DiskFault::LyingFsync)?;
        let last = Etcd::start(data)?.put_until_power_is_lost(stage, honest, 20, Keep::Nothing)?;
        stage.disk().heal(Lasting::LyingFsync)?;
        let etcd = Etcd::start(data)?;
        // One more than was acknowledged honestly may have been on its way.
        let present = Etcd::present(last)?;
        assert!(
            (honest..=honest + 1).contains(&present),
            "round {round}: {honest} were honestly synced, {last} acknowledged, and {present} are there"
        );
        drop(etcd);
    }
    Ok(())
}

/// Base64, as the gateway wants keys.
fn encode(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * place)) as usize & 63] as char;
            text.push(if place <= chunk.len() { letter } else { '=' });
        }
    }
    text
}
