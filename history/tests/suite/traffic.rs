//! The record of messages: bounded, beside what it describes, and put together from both ends.

use std::fs;
use std::path::{Path, PathBuf};

use duress_history::Process;
use duress_history::traffic::reader::{Fate, Message, Recorded, Traffic, read};
use duress_history::traffic::recorder::{Buffering, TrafficRecorder};
use duress_history::traffic::{Content, End, FILE, Seen, earlier};

const ORIGIN: i64 = 1_795_528_025_000_000_000;

fn seen(time: i64, end: End, (from, to, number): (&'static str, &'static str, u64)) -> Seen<'static> {
    let content = (end == End::Sent).then(|| Content {
        kind: "merge".to_owned(),
        body: format!("{{\"element\":{number}}}"),
        bytes: 70,
        ..Content::default()
    });
    let time = (ORIGIN + time).cast_unsigned();
    Seen { time, end, number, from: from.into(), to: to.into(), content, process: None }
}

fn recorder(path: &Path) -> TrafficRecorder {
    TrafficRecorder::new(path.to_owned(), Buffering::None)
}

fn of_nodes(folder: &Path) -> Vec<(Recorded, PathBuf)> {
    let nodes = ["n1", "n2"].map(|node| (Recorded::By(node.to_owned()), folder.join(node).join(FILE)));
    let clients = (Recorded::ByClients, folder.join("clients").join(FILE));
    nodes.into_iter().chain([clients]).collect()
}

fn all(folder: &Path) -> Traffic {
    read(&of_nodes(folder), ORIGIN, &[(0, 1_000_000)])
}

#[test]
fn both_ends_make_a_message_and_its_fate() {
    let folder = tempfile::tempdir().unwrap();
    let mut n1 = recorder(&folder.path().join("n1").join(FILE));
    let mut n2 = recorder(&folder.path().join("n2").join(FILE));
    let mut clients = TrafficRecorder::new(folder.path().join("clients").join(FILE), Buffering::Full);
    for number in 1..=3_u64 {
        n1.record(&seen(number.cast_signed() * 100, End::Sent, ("n1", "n2", number)));
    }
    n2.record(&seen(150, End::Arrived, ("n1", "n2", 1)));
    n2.record(&seen(350, End::Arrived, ("n1", "n2", 3)));
    n2.record(&seen(360, End::Arrived, ("n1", "n2", 3)));
    // To a service, which records nothing, and from it.
    n1.record(&seen(400, End::Sent, ("n1", "lin-kv", 9)));
    let answer = Seen { end: End::Arrived, ..seen(450, End::Sent, ("lin-kv", "n1", 9)) };
    n1.record(&answer);
    // A client's request, and an answer that it does not wait for.
    let asks = seen(500, End::Sent, ("c7", "n1", 1));
    clients.record(&Seen { process: Some(Process(12)), ..asks });
    n1.record(&seen(510, End::Arrived, ("c7", "n1", 1)));
    n1.record(&seen(520, End::Sent, ("n1", "c7", 1)));
    // Two answers to another.
    for time in [620, 630] {
        n1.record(&seen(time, End::Sent, ("n1", "c7", 2)));
        clients.record(&seen(time + 20, End::Arrived, ("n1", "c7", 2)));
    }
    clients.flush();

    let Traffic { messages, missing, kept_from } = all(folder.path());
    assert_eq!((missing, kept_from), (0, None));
    let told: Vec<_> =
        messages.iter().map(|of| (of.time(), &*of.to, of.sent.is_some(), &of.arrived[..], of.fate)).collect();
    assert_eq!(
        told,
        [
            (100, "n2", true, &[150][..], Fate::Arrived),
            (200, "n2", true, &[], Fate::Lost),
            (300, "n2", true, &[350, 360], Fate::Arrived),
            (400, "lin-kv", true, &[], Fate::Unrecorded),
            (450, "n1", false, &[450], Fate::Arrived),
            (500, "n1", true, &[510], Fate::Arrived),
            (520, "c7", true, &[], Fate::Lost),
            (620, "c7", true, &[640], Fate::Arrived),
            (630, "c7", true, &[650], Fate::Arrived),
        ]
    );
    let of = |message: &Message| message.process.map(|Process(number)| number);
    assert_eq!((of(&messages[0]), of(&messages[5]), of(&messages[6])), (None, Some(12), Some(12)));
    assert_eq!(messages[1].content.body, "{\"element\":2}");
    // What is outside of the windows is not read.
    assert_eq!(read(&of_nodes(folder.path()), ORIGIN, &[(160, 320)]).messages.len(), 2);
}

#[test]
fn a_message_that_arrives_late_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    recorder(&folder.path().join("n1").join(FILE)).record(&seen(100, End::Sent, ("n1", "n2", 1)));
    const LATE: i64 = 60_000_000_000;
    recorder(&folder.path().join("n2").join(FILE)).record(&seen(LATE, End::Arrived, ("n1", "n2", 1)));
    let [message] = &all(folder.path()).messages[..] else { panic!("one message") };
    assert_eq!((message.fate, &message.arrived[..]), (Fate::Arrived, &[LATE][..]));
}

#[test]
fn rubbish_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("n1").join(FILE);
    let sent = ("n1", "n2", 1);
    recorder(&path).record(&seen(100, End::Sent, sent));
    let mut text = fs::read(&path).unwrap();
    let most = u64::MAX;
    for _ in 0..2 {
        text.extend(format!("{{\"time\":{},\"since\":{most},\"missing\":{most}}}\n", i64::MAX).bytes());
        text.extend(format!("{{\"time\":{},\"end\":\"sent\"}}\n{{\"time\":{most},\n", i64::MIN).bytes());
        text.extend(b"\xff\n{\"time\":,\n\n");
    }
    fs::write(&path, text).unwrap();
    let Traffic { messages, missing, .. } = read(&of_nodes(folder.path()), ORIGIN, &[(i64::MIN, i64::MAX)]);
    assert_eq!((messages.len(), missing), (1, u64::MAX));
}

#[test]
fn a_file_is_bounded_and_what_is_gone_is_not_called_lost() {
    const BYTES: u64 = 5000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("n2").join(FILE);
    let mut n1 = recorder(&folder.path().join("n1").join(FILE));
    let mut n2 = recorder(&path).bounded(BYTES);
    for number in 1..=1000_u64 {
        let time = number.cast_signed() * 100;
        n1.record(&seen(time, End::Sent, ("n1", "n2", number)));
        n2.record(&seen(time + 10, End::Arrived, ("n1", "n2", number)));
    }
    let length = |path: &Path| fs::metadata(path).unwrap().len();
    assert!(length(&path) <= BYTES && length(&earlier(&path)) <= BYTES);
    let Traffic { messages, kept_from, .. } = all(folder.path());
    let kept_from = kept_from.unwrap();
    assert_eq!(messages.len(), 1000);
    assert!((40_000..100_000).contains(&kept_from), "{kept_from}");
    for message in &messages {
        let wanted = if message.time() + 10 < kept_from { Fate::Unrecorded } else { Fate::Arrived };
        assert_eq!(message.fate, wanted, "{message:?} and {kept_from}");
    }
}

#[test]
fn what_cannot_be_written_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("n2").join(FILE);
    let mut n1 = recorder(&folder.path().join("n1").join(FILE));
    let mut full = recorder(Path::new("/dev/full"));
    // A folder in its place, as a disk that is full for a while.
    fs::create_dir_all(&path).unwrap();
    let mut n2 = recorder(&path);
    for number in 1..=6_u64 {
        let time = number.cast_signed() * 100;
        n1.record(&seen(time, End::Sent, ("n1", "n2", number)));
        full.record(&seen(time, End::Sent, ("n1", "n2", number)));
        if number == 5 {
            fs::remove_dir(&path).unwrap();
        }
        if number != 6 {
            n2.record(&seen(time, End::Arrived, ("n1", "n2", number)));
        }
    }
    let Traffic { messages, missing, .. } = all(folder.path());
    assert_eq!(missing, 4);
    let fates: Vec<Fate> = messages.iter().map(|message| message.fate).collect();
    let [unrecorded, arrived, lost] = [Fate::Unrecorded, Fate::Arrived, Fate::Lost];
    assert_eq!(fates, [unrecorded, unrecorded, unrecorded, unrecorded, arrived, lost]);
}

#[test]
fn a_line_that_was_cut_short_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("n1").join(FILE);
    recorder(&path).record(&seen(100, End::Sent, ("n1", "n2", 1)));
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{whole}{}", &whole[..40])).unwrap();
    recorder(&path).record(&seen(200, End::Sent, ("n1", "n2", 2)));
    assert_eq!(all(folder.path()).messages.len(), 2);
}
