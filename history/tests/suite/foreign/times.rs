//! Events in order of time: logs that were joined, and logs of several clients.

use super::*;

/// `process type value time`, one event a word; `_` for no time.
fn timed(words: &str) -> String {
    words
        .split_whitespace()
        .map(|word| {
            let parts: Vec<&str> = word.split(',').collect();
            let op_type = match parts[1] {
                "i" => "invoke",
                "o" => "ok",
                "f" => "fail",
                _ => "info",
            };
            let time = if parts[3] == "_" { String::new() } else { format!(" :time {}", parts[3]) };
            format!("{{:process {} :type :{op_type} :f :write :value {}{time}}}\n", parts[0], parts[2])
        })
        .collect()
}

pub fn order(history: &History<CasRegister>) -> String {
    let event = |event: &duress_history::Event<CasRegister>| {
        format!("{}{}", event.process, &event.op_type.to_string()[..1])
    };
    history.events.iter().map(event).collect::<Vec<_>>().join(" ")
}

#[test]
fn joined_logs_are_merged_by_time() {
    let joined = read::<CasRegister>(&timed("1,i,7,300 1,o,7,400 0,i,8,100 0,o,8,350"));
    assert_eq!(order(&joined), "0i 1i 0o 1o");
    assert_eq!(joined.events.iter().map(|event| event.index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    // Each log may have counted its own events.
    let counted = "{:index 0 :process 1 :type :invoke :f :write :value 1 :time 30}\n{:index 1 :process 1 :type :ok :f :write :value 1 :time 40}\n\
                   {:index 0 :process 0 :type :invoke :f :write :value 2 :time 10}\n{:index 1 :process 0 :type :ok :f :write :value 2 :time 20}";
    assert_eq!(order(&read(counted)), "0i 0o 1i 1o");
    // Or one counter counted the events of all.
    let indexed = "{:index 2 :process 1 :type :invoke :f :write :value 1}\n{:index 3 :process 1 :type :ok :f :write :value 1}\n\
                   {:index 0 :process 0 :type :invoke :f :write :value 2}\n{:index 1 :process 0 :type :ok :f :write :value 2}\n\
                   {:index 4 :process :nemesis :type :info :f :start}";
    assert_eq!(order(&read(indexed)), "0i 0o 1i 1o");
    assert_eq!(read::<CasRegister>(indexed).nemesis[0].index, 4);
}

#[test]
fn at_equal_times_operations_overlap() {
    // Processes 0 and 1 meet at 20, in whichever order their logs were joined.
    assert_eq!(order(&read(&timed("1,i,7,20 1,o,7,40 0,i,8,10 0,o,8,20"))), "0i 1i 0o 1o");
    assert_eq!(
        order(&read(&timed("0,i,8,15 0,o,8,20 0,i,9,20 0,o,9,30 1,i,7,10 1,o,7,20"))),
        "1i 0i 0o 0i 1o 0o"
    );
    assert_eq!(
        order(&read(&timed("0,i,8,15 0,f,8,20 0,i,9,20 1,i,7,10 1,o,7,20 1,i,6,20"))),
        "1i 0i 0f 0i 1o 1i"
    );
    let tied = timed("0,i,8,15 0,o,8,20 0,i,9,20 1,i,7,10 1,o,7,20 1,i,6,20");
    assert!(refused::<CasRegister>(&tied).contains("the same `time` 20"));
}

#[test]
fn an_order_that_is_unclear_is_asked_for() {
    let one_process = timed("0,i,1,9 0,o,1,7");
    assert!(refused::<CasRegister>(&one_process).contains("line 2: `time` is 7 after 9"));
    assert!(refused::<CasRegister>(&one_process).contains("--order file"));
    let by = |text: &str, order| read_with::<CasRegister>(text, &Options { order, ..Options::default() });
    let held = by(&one_process, Order::File).expect("the lines are in order");
    assert_eq!([held.events[0].time, held.events[1].time], [9, 9]);
    assert!(by(&one_process, Order::Time).is_err());
    let untimed = timed("1,i,7,30 1,o,7,40 0,i,8,10 0,o,8,_");
    assert!(refused::<CasRegister>(&untimed).contains("line 3: `time` is 10 after 40"));
    let contradiction = "{:index 0 :process 1 :type :invoke :f :write :value 1 :time 5000000000}\n\
                         {:index 1 :process 0 :type :invoke :f :write :value 2 :time 10}";
    assert!(refused::<CasRegister>(contradiction).contains("although `index` rises"));
    assert_eq!(order(&by(contradiction, Order::Time).expect("by time")), "0i 1i");
    assert_eq!(order(&by(contradiction, Order::File).expect("by line")), "1i 0i");
    // A little is what clocks do that are read by several threads.
    let little = contradiction.replace("5000000000", "50");
    assert_eq!(
        read::<CasRegister>(&little).events.iter().map(|event| event.time).collect::<Vec<_>>(),
        [50, 50]
    );
}

fn files(texts: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |(at, text): (usize, &&str)| {
        let path = folder.path().join(format!("client-{at}.edn"));
        fs::write(&path, text).expect("written");
        path
    };
    let paths = texts.iter().enumerate().map(write).collect();
    (folder, paths)
}

#[test]
fn several_files_are_the_logs_of_several_clients() {
    let (one, other) = (timed("0,i,1,10 0,o,1,30 0,i,2,40"), timed("0,i,7,20 0,o,7,35 1,i,5,36"));
    let (_folder, paths) = files(&[&one, &other]);
    let merged = import::read::<CasRegister>(&paths, &Options::default()).expect("merged");
    assert_eq!(
        told(&merged),
        ["0 write 1 -> write 1", "1 write 7 -> write 7", "2 write 5 -> open", "0 write 2 -> open"]
    );
    // A log that was rotated in the middle of an operation continues in the next file.
    let (_folder, paths) = files(&[&timed("3,i,1,10"), &timed("3,o,1,30 3,i,2,40")]);
    let merged = import::read::<CasRegister>(&paths, &Options::default()).expect("merged");
    assert_eq!(told(&merged), ["3 write 1 -> write 1", "3 write 2 -> open"]);
    let (_folder, paths) = files(&[&one, &timed("0,i,7,_")]);
    let error = import::read::<CasRegister>(&paths, &Options::default()).expect_err("there is no order");
    assert!(error.to_string().contains("merged by `time`"), "{error}");
    let (_folder, paths) = files(&[&one, "{:process 0 :type :invoke :f :add}"]);
    let error = import::read::<CasRegister>(&paths, &Options::default()).expect_err("it does not fit");
    assert!(error.to_string().ends_with("client-1.edn"), "{error}");
}
