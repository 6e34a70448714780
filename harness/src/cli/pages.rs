//! The pages of the documentation, read as a test: their links hold, and the program understands every command in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;
use duress_history::Promise;

use super::{Cli, Command, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the harness is a folder of the workspace").into()
}

/// Returns every page, by its path from the root: those of the guide, and those beside them.
fn pages() -> BTreeMap<PathBuf, String> {
    let guide = std::fs::read_dir(root().join("docs")).expect("there is a guide");
    let guide = guide.map(|entry| Path::new("docs").join(entry.expect("it can be listed").file_name()));
    let beside = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "history/README.md",
        "checkers/README.md",
        "nemesis/arena/README.md",
        "fuzz/README.md",
    ];
    let paths = guide.chain(beside.map(PathBuf::from)).filter(|path| path.extension() == Some("md".as_ref()));
    paths.map(|path| (path.clone(), read(&path))).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A page's text outside of its fenced blocks, and those blocks with the word behind the fence.
struct Parts {
    prose: String,
    blocks: Vec<(String, String)>,
}

fn parts(page: &str) -> Parts {
    let mut parts = Parts { prose: String::new(), blocks: Vec::new() };
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(word), None) => open = Some((word.to_owned(), String::new())),
            (Some(_), Some(block)) => parts.blocks.push(block),
            (None, Some((word, text))) => open = Some((word, text + line + "\n")),
            (None, None) => parts.prose.extend([line, "\n"]),
        }
    }
    parts
}

/// The anchors of a page: its headings, as GitHub and mdBook name them.
fn anchors(page: &str) -> BTreeSet<String> {
    let prose = parts(page).prose;
    let headings = prose.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let kept = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// The targets of a page's links.
fn links(page: &str) -> Vec<String> {
    let prose = parts(page).prose;
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The commands of this program in a line of shell, as words; those of others are left out.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    let end_of_word = |word: &mut Option<String>, words: &mut Vec<String>| words.extend(word.take());
    for character in line.chars() {
        match (character, quote) {
            (end, Some(begun)) if end == begun => quote = None,
            (inside, Some(_)) => word.get_or_insert_default().push(inside),
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => break,
            ('&' | '|' | ';', None) => {
                end_of_word(&mut word, &mut words);
                commands.push(std::mem::take(&mut words));
            }
            (space, None) if space.is_whitespace() => end_of_word(&mut word, &mut words),
            (other, None) => word.get_or_insert_default().push(other),
        }
    }
    end_of_word(&mut word, &mut words);
    commands.push(words);
    let own = |words: Vec<String>| {
        let cargo = ["cargo", "run", "--release", "--"];
        let name = match words.strip_prefix(&cargo.map(str::to_owned)) {
            Some(arguments) => arguments,
            None if words.first().is_some_and(|word| word == "duress") => &words[1..],
            None => return None,
        };
        let arguments = name.iter().take_while(|word| *word != ">").cloned();
        Some(std::iter::once("duress".to_owned()).chain(arguments).collect())
    };
    commands.into_iter().filter_map(own).collect()
}

/// The place of a command on a page.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// In a block of shell: it is given as written.
    Block,
    /// Between backticks, where it may be the mere name of a command.
    Prose,
}

/// Every command of this program on a page.
fn all_commands(page: &str) -> Vec<(Place, Vec<String>)> {
    let Parts { prose, blocks } = parts(page);
    let blocks = blocks.iter().filter(|(word, _)| word == "sh").flat_map(|(_, text)| text.lines());
    let prose = prose.replace('\n', " ");
    let spans = prose.split('`').skip(1).step_by(2);
    let placed = blocks.map(|line| (Place::Block, line)).chain(spans.map(|span| (Place::Prose, span)));
    placed.flat_map(|(place, line)| commands(line).into_iter().map(move |words| (place, words))).collect()
}

/// Whether a word is a placeholder, as in `duress run store --bug NAME`, or a variable of the shell.
fn stands_for_another(word: &str) -> bool {
    word.contains(['…', '$']) || (word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase()))
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut followed = 0;
    for (path, page) in &pages {
        for link in links(page).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = path.parent().expect("a page is a file");
            let target = if file.is_empty() { path.clone() } else { folder.join(file) };
            let there = root().join(&target).canonicalize();
            let there = there.unwrap_or_else(|error| panic!("{}: {link}: {error}", path.display()));
            let text = || std::fs::read_to_string(&there).expect("a page can be read");
            assert!(
                anchor.is_empty() || anchors(&text()).contains(anchor),
                "{}: no heading for {link}",
                path.display()
            );
            followed += 1;
        }
    }
    assert!(followed > 50, "{followed} links");
}

#[test]
fn every_command_is_understood() {
    let (mut parsed, mut planned) = (0, 0);
    for (path, page) in &pages() {
        for (place, words) in all_commands(page) {
            let shown = format!("{}: {}", path.display(), words.join(" "));
            if words.len() < 2 || words.iter().any(|word| stands_for_another(word)) {
                continue;
            }
            // A plan with these mixes depends on what the machine allows, and only a process of one thread can try that:
            // the test parses the command, and plans nothing.
            let built_in =
                words.get(2).is_some_and(|word| ["store", "broker", "etcd"].contains(&word.as_str()));
            let is_planned = words[1] == "run"
                && built_in
                && !words
                    .iter()
                    .any(|word| word == "--test-count" || word.split(',').any(|fault| fault == "all"));
            let dry = (is_planned && !words.iter().any(|word| word == "--dry-run")).then_some("--dry-run");
            let cli = match Cli::try_parse_from(words.iter().map(String::as_str).chain(dry)) {
                Ok(cli) => cli,
                Err(error) if !error.use_stderr() => continue,
                Err(error) if place == Place::Prose && error.kind() == ErrorKind::MissingRequiredArgument => {
                    continue;
                }
                Err(error) => panic!("{shown}\n{error}"),
            };
            parsed += 1;
            if let (true, Command::Run(args)) = (is_planned, cli.command) {
                run::plan(&args).unwrap_or_else(|failure| panic!("{shown}\n{failure}"));
                planned += 1;
            }
        }
    }
    assert!(parsed > 150 && planned > 60, "{parsed} parsed, {planned} planned");
}

#[test]
fn every_page_of_the_guide_answers_a_question_and_is_listed() {
    let summary = links(&read(Path::new("docs/SUMMARY.md")));
    let readme = links(&read(Path::new("README.md")));
    for (path, page) in pages().iter().filter(|(path, _)| path.starts_with("docs")) {
        let name = path.file_name().expect("it is a file").to_string_lossy().into_owned();
        if name == "SUMMARY.md" {
            continue;
        }
        assert!(page.lines().next().is_some_and(|title| title.ends_with('?')), "{name} asks nothing");
        assert_eq!(summary.iter().filter(|link| **link == name).count(), 1, "{name} in docs/SUMMARY.md");
        assert!(readme.contains(&format!("docs/{name}")), "{name} is not in README.md");
    }
}

#[test]
fn every_anomaly_is_explained() {
    let page = read(Path::new("docs/anomalies.md"));
    let kinds = read(Path::new("checkers/src/verdict/kind.rs"));
    let names: Vec<&str> =
        kinds.split("=> \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
    assert!(names.len() > 60, "{} names", names.len());
    for name in names {
        assert!(page.contains(&format!("`{name}`")), "docs/anomalies.md does not explain {name}");
    }
}

#[test]
fn the_map_of_promises_is_that_of_the_checks() {
    let page = read(Path::new("docs/promises.md"));
    let named = |name: &str| Promise::named(name).unwrap_or_else(|| panic!("{name} is not a promise"));
    let Parts { prose, blocks } = parts(&page);
    let mut map = BTreeSet::new();
    for chain in blocks.iter().filter(|(word, _)| word == "text").flat_map(|(_, text)| text.lines()) {
        let models: Vec<&str> = chain.split(" > ").map(str::trim).collect();
        map.extend(models.windows(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())));
    }
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut rows = BTreeSet::new();
    for row in prose.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let (from, to) = (code(cells[0]), code(cells[cells.len() - 1]));
        for from in from {
            rows.insert(from.clone());
            map.extend(to.iter().map(|to| (from.clone(), to.clone())));
        }
    }
    for (from, to) in &map {
        assert!(named(from).implies(named(to)), "{from} does not imply {to}");
    }
    // The steps of the map, taken together, give every implication between models of transactions.
    for from in Promise::OF_TRANSACTIONS {
        assert!(rows.contains(*from), "docs/promises.md does not explain {from}");
        let mut reached = BTreeSet::from([(*from).to_owned()]);
        while let Some((_, next)) =
            map.iter().find(|(one, to)| reached.contains(one) && !reached.contains(to))
        {
            reached.insert(next.clone());
        }
        for to in Promise::OF_TRANSACTIONS {
            assert_eq!(named(from).implies(named(to)), reached.contains(*to), "{from}, {to}");
        }
    }
    for name in Promise::OF_REGISTERS.iter().chain(Promise::OF_MESSAGES).chain(Promise::OF_OBJECTS) {
        assert!(page.contains(name.split('=').next().expect("it has a beginning")), "{name} is missing");
    }
}
