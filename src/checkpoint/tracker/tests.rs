use crate::config::{Scope, StreamSpec};

use super::state::MIN_RETRY_INTERVAL;
use super::*;

/// High-water marks recorded on MongoDB 6.0.27.
const EARLIER: &str = "826B032CA2000000022B0229296E04";
const LATER: &str = "826B032CA2000000072B0229296E04";
const LATEST: &str = "826B032CA2000000082B0229296E04";

fn token(data: &str) -> ResumeToken {
    ResumeToken::parse(data).unwrap()
}

fn tracker(file: Option<ResumeFile>) -> CheckpointTracker {
    let telemetry = Telemetry::new(Duration::ZERO);
    CheckpointTracker::new(file, Duration::ZERO, None, token(EARLIER), None, telemetry)
}

fn resume_file(directory: &tempfile::TempDir) -> ResumeFile {
    let spec = StreamSpec::unfiltered(Scope::Deployment);
    let path = directory.path().join("resume.json");
    ResumeFile::open(&path, &spec).unwrap().0
}

#[test]
fn never_moves_back() {
    let tracker = tracker(None);
    tracker.record_printed(&token(LATER));
    tracker.record_printed(&token(EARLIER));
    tracker.record_caught_up(&token(EARLIER));
    assert_eq!(tracker.state().token, token(LATER));
}

#[test]
fn moves_from_the_saved_token_to_an_earlier_start_with_the_first_reply() {
    let (saved, start) = (Some(token(LATEST)), token(EARLIER));
    let telemetry = Telemetry::new(Duration::ZERO);
    let tracker = CheckpointTracker::new(None, Duration::ZERO, saved, start, None, telemetry);
    assert_eq!(tracker.state().token, token(LATEST));
    tracker.record_printed(&token(LATER));
    assert_eq!(tracker.state().token, token(LATER));
}

#[test]
fn makes_a_save_due_from_a_printed_event_until_it_is_saved() {
    let directory = tempfile::tempdir().unwrap();
    let tracker = tracker(Some(resume_file(&directory)));
    assert_eq!(tracker.time_until_save(), None);
    // The first move since the start is saved at once; the next one later than a printed event allows.
    tracker.record_caught_up(&token(LATER));
    assert_eq!(tracker.time_until_save(), Some(Duration::ZERO));
    tracker.save(None);
    tracker.record_caught_up(&token(LATEST));
    assert!(tracker.time_until_save().unwrap() > Duration::ZERO);
    tracker.record_printed(&token(LATEST));
    assert_eq!(tracker.time_until_save(), Some(Duration::ZERO));
    assert!(tracker.wait_until_due());
    tracker.save(None);
    assert_eq!(tracker.time_until_save(), None);
}

#[test]
fn saves_the_first_printed_events_at_once_and_the_next_after_the_interval() {
    let directory = tempfile::tempdir().unwrap();
    let telemetry = Telemetry::new(Duration::ZERO);
    let interval = Duration::from_secs(3600);
    let file = Some(resume_file(&directory));
    let tracker = CheckpointTracker::new(file, interval, None, token(EARLIER), None, telemetry);
    // The first checkpoint of a run, before any event.
    tracker.mark_unsaved();
    tracker.save(None);
    tracker.record_printed(&token(LATER));
    assert_eq!(tracker.time_until_save(), Some(Duration::ZERO));
    tracker.save(None);
    tracker.record_printed(&token(LATEST));
    assert!(tracker.time_until_save().unwrap() > interval / 2);
}

#[test]
fn wakes_a_waiting_thread_when_a_save_becomes_due_and_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let tracker = tracker(Some(resume_file(&directory)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| tracker.wait_until_due());
        tracker.record_printed(&token(LATER));
        assert!(waiting.join().unwrap());
        tracker.save(None);
        let waiting = scope.spawn(|| tracker.wait_until_due());
        tracker.close();
        assert!(!waiting.join().unwrap());
    });
}

#[test]
fn waits_for_the_save_of_each_flush_but_only_once_for_a_disk_that_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let tracker = tracker(Some(resume_file(&directory)));
    tracker.record_printed(&token(LATER));
    let pending = tracker.begin_save(None).unwrap();
    let started = Instant::now();
    tracker.wait_for_save();
    assert!(started.elapsed() >= MAX_SAVE_WAIT);
    let started = Instant::now();
    tracker.wait_for_save();
    assert!(started.elapsed() < MAX_SAVE_WAIT);
    tracker.complete_save(pending);
    tracker.record_printed(&token(LATEST));
    std::thread::scope(|scope| {
        let saving = scope.spawn(|| {
            assert!(tracker.wait_until_due());
            tracker.save(None);
        });
        tracker.wait_for_save();
        assert_eq!(tracker.time_until_save(), None);
        saving.join().unwrap();
    });
}

#[test]
fn leaves_what_is_printed_during_a_save_to_the_next_save() {
    let directory = tempfile::tempdir().unwrap();
    let tracker = tracker(Some(resume_file(&directory)));
    tracker.mark_unsaved();
    let pending = tracker.begin_save(None).unwrap();
    assert_eq!(pending.token, token(EARLIER));
    assert!(tracker.is_saving());
    tracker.record_printed(&token(LATER));
    tracker.complete_save(pending);
    assert!(!tracker.is_saving());
    assert_eq!(tracker.time_until_save(), Some(Duration::ZERO));
}

#[test]
fn never_replaces_a_newer_checkpoint_with_an_older_one() {
    let directory = tempfile::tempdir().unwrap();
    let tracker = tracker(Some(resume_file(&directory)));
    tracker.mark_unsaved();
    let older = tracker.begin_save(None).unwrap();
    tracker.record_printed(&token(LATER));
    tracker.save(None);
    tracker.complete_save(older);
    assert!(!tracker.is_saving());
    let text = std::fs::read_to_string(directory.path().join("resume.json")).unwrap();
    assert!(text.contains(LATER), "{text}");
}

#[test]
fn makes_a_save_that_failed_due_again() {
    let directory = tempfile::tempdir().unwrap();
    let tracker = tracker(Some(resume_file(&directory)));
    tracker.record_printed(&token(LATER));
    directory.close().unwrap();
    tracker.save(None);
    let time = tracker.time_until_save().unwrap();
    assert!(time > Duration::ZERO && time <= MIN_RETRY_INTERVAL);
    assert!(tracker.ensure_saved().is_err());
}

#[test]
fn saves_nothing_without_a_file() {
    let tracker = tracker(None);
    tracker.record_printed(&token(LATER));
    assert_eq!(tracker.time_until_save(), None);
    tracker.save(None);
    assert!(tracker.ensure_saved().is_ok());
}
