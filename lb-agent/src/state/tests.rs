//! What survives, and what is never lost or overwritten.

use super::*;
use crate::director::Account;
use crate::model::ServerId;
use crate::model::tests::{add_server, add_service, delete_server, edits};
use lb_common::api::{Counters, Edit};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of a test's own, removed at its end.
#[derive(Debug)]
pub(crate) struct TestDirectory(PathBuf);

impl TestDirectory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lb-agent-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(directory: &TestDirectory) -> (Store, State) {
    let (mut store, state) = Store::open(&directory.0).expect("readable");
    store.compact(&state.model, &state.accounts);
    (store, state)
}

/// Applies edits as the director does.
fn edit(store: &mut Store, state: &mut State, edits: &[Edit]) {
    for edit in edits {
        state.model.apply(edit).expect("a good edit");
        store.append([Record::edit(edit)]);
    }
    state.model.commit();
}

fn error(directory: &TestDirectory) -> String {
    let error = Store::open(&directory.0).expect_err("unreadable");
    format!("{error:#}")
}

#[test]
fn records_survive_without_a_clean_stop() {
    let directory = TestDirectory::new();
    let (mut store, mut state) = open(&directory);
    let edits = [add_service(1), add_server(1, 1), delete_server(1, 1)];
    edit(&mut store, &mut state, &edits);
    let counters = Counters {
        in_bytes: u64::MAX,
        ..Counters::default()
    };
    store.append([Record::Accounts {
        service: state.model.services().next().expect("one").id,
        account: Account {
            departed: counters,
            zero: Counters::default(),
        },
        servers: vec![(ServerId(0), counters)],
    }]);
    drop(store);
    let (_, again) = Store::open(&directory.0).expect("readable");
    assert_eq!(again.model.image(), state.model.image());
    assert_eq!(again.identity, state.identity);
    assert_eq!(again.accounts.servers[&ServerId(0)], counters);
}

#[test]
fn a_torn_last_line_is_dropped() {
    let directory = TestDirectory::new();
    let (mut store, mut state) = open(&directory);
    edit(&mut store, &mut state, &[add_service(1)]);
    let whole = fs::read(directory.join("journal.ndjson")).expect("there");
    edit(&mut store, &mut state, &[add_service(2)]);
    drop(store);
    let both = fs::read(directory.join("journal.ndjson")).expect("there");
    for end in whole.len()..both.len() {
        fs::write(directory.join("journal.ndjson"), &both[..end]).expect("writable");
        let (_, again) = Store::open(&directory.0).expect("readable");
        assert_eq!(again.model.services().count(), 1, "cut at {end}");
    }
}

#[test]
fn corrupt_files_are_named_and_kept() {
    let directory = TestDirectory::new();
    let (mut store, mut state) = open(&directory);
    edit(
        &mut store,
        &mut state,
        &[add_service(1), add_service(2), add_service(3)],
    );
    drop(store);
    let journal = directory.join("journal.ndjson");
    let text = fs::read_to_string(&journal).expect("there");
    let corrupt = text.replacen("10.0.0.2", "10.0.0.x", 1);
    fs::write(&journal, &corrupt).expect("writable");
    let why = error(&directory);
    assert!(
        why.starts_with(&format!("{}:3: ", journal.display())),
        "{why}"
    );
    assert!(why.contains("move it away"), "{why}");
    assert_eq!(fs::read_to_string(&journal).expect("there"), corrupt);

    let impossible = text.replacen("10.0.0.2", "10.0.0.1", 1);
    fs::write(&journal, impossible).expect("writable");
    assert!(error(&directory).contains("exists already"));

    fs::remove_file(&journal).expect("there");
    let snapshot = directory.join("state.json");
    fs::write(&snapshot, "{\"version\": 1,\n \"sequence\": }").expect("writable");
    let why = error(&directory);
    assert!(
        why.starts_with(&format!("{}:", snapshot.display())),
        "{why}"
    );
    fs::write(&snapshot, "{\"version\": 2}").expect("writable");
    assert!(error(&directory).contains("format 2, this agent reads 1"));
}

#[test]
fn a_journal_older_than_the_snapshot_is_not_repeated() {
    let directory = TestDirectory::new();
    let (mut store, mut state) = open(&directory);
    edit(&mut store, &mut state, &[add_service(1)]);
    let old = fs::read(directory.join("journal.ndjson")).expect("there");
    store.compact(&state.model, &state.accounts);
    fs::write(directory.join("journal.ndjson"), old).expect("writable");
    let (_, again) = Store::open(&directory.0).expect("readable");
    assert_eq!(again.model.image(), state.model.image());
}

#[test]
fn a_journal_without_its_snapshot_is_an_error() {
    let directory = TestDirectory::new();
    drop(open(&directory));
    fs::remove_file(directory.join("state.json")).expect("there");
    assert!(error(&directory).contains("follows snapshot 1"));
}

#[test]
fn without_a_writable_directory_it_goes_on_and_recovers() {
    let directory = TestDirectory::new();
    let blocked = directory.join("blocked");
    fs::write(&blocked, "").expect("writable");
    let mut state = State::empty();
    let mut store = Store {
        directory: blocked.clone(),
        identity: state.identity,
        sequence: 0,
        snapshot_length: 0,
        journal: None,
        trouble: None,
    };
    store.compact(&state.model, &state.accounts);
    assert!(store.trouble.is_some() && store.is_due());
    edit(&mut store, &mut state, &[add_service(1)]);
    fs::remove_file(&blocked).expect("there");
    store.compact(&state.model, &state.accounts);
    assert!(store.trouble.is_none() && !store.is_due());
    let (_, again) = Store::open(&blocked).expect("readable");
    assert_eq!(again.model.image(), state.model.image());
}

#[test]
fn nothing_is_appended_behind_a_gap() {
    let directory = TestDirectory::new();
    let (mut store, mut state) = open(&directory);
    edit(&mut store, &mut state, &[add_service(1)]);
    let unwritable = File::open(directory.join("journal.ndjson")).expect("there");
    store.journal.as_mut().expect("a journal").file = unwritable;
    edit(&mut store, &mut state, &[add_service(2), add_service(3)]);
    assert!(store.is_due());
    let (_, older) = Store::open(&directory.0).expect("readable");
    assert_eq!(older.model.services().count(), 1);
    store.compact(&state.model, &state.accounts);
    let (_, whole) = Store::open(&directory.0).expect("readable");
    assert_eq!(whole.model.image(), state.model.image());
}

#[test]
fn a_second_agent_is_told_of_the_first() {
    let directory = TestDirectory::new();
    let first = Lock::take(&directory.0).expect("free");
    assert!(first.is_some());
    let error = Lock::take(&directory.0).expect_err("taken");
    assert!(error.is::<crate::cli::Conflict>());
    let pid = std::process::id();
    assert!(
        error.to_string().contains(&format!("process {pid})")),
        "{error}"
    );
    drop(first);
    assert!(Lock::take(&directory.0).expect("free again").is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Whatever is done, in batches some of which are taken back, reading gives the same.
    #[test]
    fn what_is_read_is_what_was_recorded(
        batches in prop::collection::vec(
            (prop::collection::vec(edits(), 0..12), any::<bool>(), any::<bool>()), 0..12),
    ) {
        let directory = TestDirectory::new();
        let (mut store, mut state) = open(&directory);
        for (batch, kept, compacted) in batches {
            let mark = store.mark();
            for edit in &batch {
                if state.model.apply(edit).is_ok() {
                    store.append([Record::edit(edit)]);
                }
            }
            if kept {
                state.model.commit();
            } else {
                state.model.rollback();
                store.rewind(mark);
            }
            let retired = state.model.servers().find(|server| {
                matches!(server.standing, crate::model::Standing::Retired { .. })
            }).map(|server| server.id);
            if let Some(id) = retired.filter(|id| id.0 % 2 == 0) {
                state.model.free(id);
                store.append([Record::Free(id)]);
            }
            if compacted {
                store.compact(&state.model, &state.accounts);
            }
        }
        drop(store);
        let (_, again) = Store::open(&directory.0).expect("readable");
        let places = |model: &Model| {
            let order: Vec<_> = model.services().map(|s| (s.id, s.address, s.options.clone())).collect();
            let servers: Vec<_> = model.services()
                .flat_map(|s| model.servers_of(s.id).map(|r| (r.id, r.address, r.options.clone())).collect::<Vec<_>>())
                .collect();
            let all: Vec<_> = model.servers().map(|r| (r.id, r.service, r.address)).collect();
            (order, servers, all, model.timeouts())
        };
        prop_assert_eq!(places(&again.model), places(&state.model));
    }
}
