//! What becomes of the live value and of the status when `current` moves.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use lockstep_client::{Client, Signal, Snapshot, StartError, StatusState, Trigger};
use rustix::process::{getpid, kill_process};
use serde::Deserialize;

use crate::volume::{Volume, eventually};
use crate::{Config, load, publish, supervised};

#[test]
fn the_first_load_is_acknowledged() {
    let mut volume = Volume::new();
    let built = volume.build(&[("config.toml", "limit = 5\n")]);
    let switch = volume.switch_to(&built);
    let client = supervised(&volume).start().unwrap();
    assert_eq!(client.current().limit, 5);
    let status = volume.status().unwrap();
    assert_eq!(status, client.status());
    assert_eq!(
        (status.state, status.switch),
        (StatusState::Applied, Some(switch))
    );
    assert_eq!(
        (status.digest, status.revision.as_ref()),
        (Some(built.digest), Some(&built.revision))
    );
    assert_eq!(status.attempted.switch, Some(switch));
    assert_eq!(status.instance.0, "token-1");
    assert_eq!((status.error, status.vote), (None, None));
}

#[test]
fn a_first_load_that_is_refused_says_so_and_ends() {
    let mut volume = Volume::new();
    let switch = publish(&mut volume, "0");
    let Err(StartError::Refused(refusal)) = supervised(&volume).start() else {
        panic!("it was refused")
    };
    assert_eq!(refusal.to_string(), "config.toml: `limit` must be above 0");
    let status = volume.status().unwrap();
    assert_eq!(
        (status.state, status.switch, status.digest),
        (StatusState::Rejected, None, None)
    );
    assert_eq!(status.attempted.switch, Some(switch));
    assert!(status.attempted.revision.is_some());
}

#[test]
fn without_current_a_supervised_service_refuses_to_start() {
    let volume = Volume::new();
    // A folder that happens to hold a document of that name is not taken for the configuration.
    fs::write(volume.path().join("config.toml"), "limit = 5\n").unwrap();
    let Err(error) = supervised(&volume).start() else {
        panic!("there is nothing to load")
    };
    assert!(error.to_string().contains("current cannot be read"), "{error}");
    let status = volume.status().unwrap();
    assert_eq!(
        (status.state, status.attempted.switch),
        (StatusState::Rejected, None)
    );
}

#[test]
fn a_reload_takes_the_new_release_and_a_refused_one_keeps_the_old() {
    let mut volume = Volume::new();
    let first = publish(&mut volume, "5");
    let client = supervised(&volume).start().unwrap();

    let second = publish(&mut volume, "6");
    client.reload().unwrap();
    assert_eq!(client.current().limit, 6);
    assert_eq!(volume.status().unwrap().switch, Some(second));
    assert!(second > first);

    let third = publish(&mut volume, "\"many\" # no number");
    let refusal = client.reload().unwrap_err();
    assert_eq!(client.current().limit, 6);
    let status = volume.status().unwrap();
    assert_eq!(
        (status.state, status.switch),
        (StatusState::Rejected, Some(second))
    );
    assert_eq!(status.attempted.switch, Some(third));
    let error = status.error.unwrap();
    assert_eq!(&error, refusal.error());
    assert_eq!(
        (error.path.as_deref(), error.line, error.column),
        (Some("config.toml"), Some(1), Some(9))
    );

    let fourth = publish(&mut volume, "7");
    client.reload().unwrap();
    let status = volume.status().unwrap();
    assert_eq!(
        (status.state, status.switch, status.error),
        (StatusState::Applied, Some(fourth), None)
    );
}

#[test]
fn a_new_switch_to_the_same_release_is_acknowledged_and_loaded_anew() {
    let mut volume = Volume::new();
    let built = volume.build(&[("config.toml", "limit = 5\n")]);
    volume.switch_to(&built);
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let count = move |_: &Config, _: &Config| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    let client = supervised(&volume).on_change(count).start().unwrap();
    let again = volume.switch_to(&built);
    client.reload().unwrap();
    let status = volume.status().unwrap();
    assert_eq!(
        (status.state, status.switch, status.digest),
        (StatusState::Applied, Some(again), Some(built.digest))
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn on_change_may_refuse_what_the_loader_accepts() {
    let mut volume = Volume::new();
    let first = publish(&mut volume, "5");
    let client = supervised(&volume)
        .on_change(|old, new| match new.limit > 2 * old.limit {
            true => Err(format!("from {} to {} is too far at once", old.limit, new.limit).into()),
            false => Ok(()),
        })
        .start()
        .unwrap();
    let second = publish(&mut volume, "50");
    assert_eq!(
        client.reload().unwrap_err().to_string(),
        "from 5 to 50 is too far at once"
    );
    assert_eq!(client.current().limit, 5);
    let status = volume.status().unwrap();
    assert_eq!(
        (status.state, status.switch),
        (StatusState::Rejected, Some(first))
    );
    assert_eq!(status.attempted.switch, Some(second));
}

#[test]
fn a_panic_in_the_loader_is_a_refusal() {
    let mut volume = Volume::new();
    publish(&mut volume, "5");
    let client = supervised(&volume).trigger(Trigger::Watch).start().unwrap();
    let second = publish(&mut volume, "666");
    assert_eq!(
        volume.attempt(second).error.unwrap().message,
        "the loader panicked: nobody thought of 666"
    );
    let third = publish(&mut volume, "6");
    assert_eq!(volume.attempt(third).state, StatusState::Applied);
    assert_eq!(client.current().limit, 6);
}

#[test]
fn a_watching_client_sees_current_being_renamed() {
    let mut volume = Volume::new();
    publish(&mut volume, "1");
    let client = supervised(&volume).trigger(Trigger::Watch).start().unwrap();
    for value in 2..12 {
        let switch = publish(&mut volume, &value.to_string());
        let status = volume.attempt(switch);
        assert_eq!(
            (status.state, status.switch),
            (StatusState::Applied, Some(switch))
        );
        assert_eq!(client.current().limit, value);
    }
}

#[test]
fn a_client_without_a_trigger_leaves_current_alone() {
    let mut volume = Volume::new();
    let first = publish(&mut volume, "5");
    let client = supervised(&volume).vote(true).start().unwrap();
    publish(&mut volume, "6");
    // An offer goes through the other thread; by its answer time has passed for sure.
    let offered = volume.build(&[("config.toml", "limit = 7\n")]);
    volume.offer("r-1", &offered);
    assert_eq!(volume.vote("r-1").switch, Some(first));
    assert_eq!(client.current().limit, 5);
}

#[test]
fn a_release_that_was_undone_during_a_slow_load_is_never_applied() {
    let mut volume = Volume::new();
    publish(&mut volume, "1");
    let (entered, inside) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let slow = move |snapshot: &Snapshot| {
        let config = load(snapshot)?;
        if config.limit == 2 {
            entered.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
        Ok(config)
    };
    let applied = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&applied);
    let client = Client::builder(slow)
        .on_change(move |_, new: &Config| {
            log.lock().unwrap().push(new.limit);
            Ok(())
        })
        .trigger(Trigger::Watch)
        .from_vars(volume.var())
        .unwrap()
        .start()
        .unwrap();

    publish(&mut volume, "2");
    inside.recv().unwrap();
    let third = publish(&mut volume, "3");
    open.send(()).unwrap();
    assert_eq!(volume.attempt(third).switch, Some(third));
    assert_eq!(client.current().limit, 3);
    assert_eq!(*applied.lock().unwrap(), [3]);
}

#[test]
fn a_signal_is_caught_from_the_builder_on_and_never_kills_afterwards() {
    let raise = || kill_process(getpid(), rustix::process::Signal::USR2).unwrap();
    let mut volume = Volume::new();
    let first = publish(&mut volume, "5");
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let count = move |_: &Config, _: &Config| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    let builder = supervised(&volume)
        .trigger(Trigger::Signal(Signal::Usr2))
        .on_change(count);
    raise();
    let client = builder.start().unwrap();
    eventually("the early signal to be served", || {
        (asked.load(Ordering::SeqCst) > 0).then_some(())
    });
    assert_eq!(client.status().switch, Some(first));
    let second = publish(&mut volume, "6");
    raise();
    assert_eq!(volume.attempt(second).state, StatusState::Applied);
    drop(client);
    raise();
}

#[test]
fn half_a_release_is_refused() {
    let mut volume = Volume::new();
    let first = publish(&mut volume, "5");
    let client = supervised(&volume).start().unwrap();
    let half = volume.build(&[("config.toml", "limit = 6\n")]);
    let about = volume.path().join(&half.directory).join(".lockstep/release.json");
    fs::remove_file(&about).unwrap();
    let second = volume.switch_to(&half);
    client.reload().unwrap_err();
    let status = volume.status().unwrap();
    assert_eq!(
        (status.state, status.switch),
        (StatusState::Rejected, Some(first))
    );
    assert_eq!(
        (status.attempted.switch, status.attempted.revision),
        (Some(second), None)
    );
    assert_eq!(status.error.unwrap().path.unwrap(), ".lockstep/release.json");

    fs::write(&about, "{\"revision\": \"00").unwrap();
    assert!(
        client
            .reload()
            .unwrap_err()
            .to_string()
            .contains(".lockstep/release.json:1:")
    );
    assert_eq!(client.current().limit, 5);
}

#[test]
fn two_files_are_never_mixed_while_two_thousand_switches_go_by() {
    #[derive(Deserialize)]
    struct Part {
        number: u64,
    }
    let mut volume = Volume::new();
    let files = |number: u64| format!("number = {number}\n");
    let mut kept = std::collections::VecDeque::new();
    let publish = |volume: &mut Volume, number| {
        let text = files(number);
        let built = volume.build(&[("a.toml", &text), ("b.toml", &text)]);
        (volume.switch_to(&built), built)
    };
    kept.push_back(publish(&mut volume, 1));
    let mixed = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&mixed);
    let both = move |snapshot: &Snapshot| {
        let a: Part = snapshot.toml("a.toml")?;
        std::thread::yield_now();
        let b: Part = snapshot.toml("b.toml")?;
        let switch = snapshot.switch().map(|switch| switch.0);
        if a.number != b.number || Some(a.number) != switch {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        Ok(a.number)
    };
    let client = Client::builder(both)
        .trigger(Trigger::Watch)
        .from_vars(volume.var())
        .unwrap()
        .start()
        .unwrap();
    let ended = AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !ended.load(Ordering::SeqCst) {
                client
                    .reload()
                    .expect("a release that vanishes after its switch was undone is no reason to refuse");
                asked += 1;
            }
            asked
        });
        for number in 2..=2000 {
            kept.push_back(publish(&mut volume, number));
            if kept.len() > 3 {
                let (switch, built) = kept.pop_front().unwrap();
                volume.remove(switch, &built);
            }
        }
        ended.store(true, Ordering::SeqCst);
        assert!(asking.join().unwrap() > 0);
        kept.back().unwrap().0
    });
    assert_eq!(volume.attempt(last).switch, Some(last));
    assert_eq!(**client.current(), 2000);
    assert_eq!(mixed.load(Ordering::SeqCst), 0);
}

#[test]
fn dropping_the_client_ends_its_threads() {
    let mut volume = Volume::new();
    publish(&mut volume, "5");
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let client = Client::builder(move |snapshot: &Snapshot| {
        let _held = &held;
        load(snapshot)
    });
    let client = client
        .trigger(Trigger::Watch)
        .vote(true)
        .from_vars(volume.var())
        .unwrap()
        .start()
        .unwrap();
    drop(client);
    // The loader belonged to the threads: it went with the last of them.
    assert_eq!(Arc::strong_count(&alive), 1);
}
#[test]
fn the_status_file_is_replaced_whole() {
    let mut volume = Volume::new();
    publish(&mut volume, "5");
    let client = supervised(&volume).start().unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // `status` panics when it finds half a document.
        let reader = scope.spawn(|| {
            let mut read = 0;
            while !ended.load(Ordering::SeqCst) {
                assert!(volume.status().is_some(), "there is always one");
                read += 1;
            }
            read
        });
        for _ in 0..500 {
            client.reload().unwrap();
        }
        ended.store(true, Ordering::SeqCst);
        assert!(reader.join().unwrap() > 0);
    });
    let left: Vec<_> = fs::read_dir(volume.run())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["status.json"]);
}

#[test]
fn a_status_that_could_not_be_written_is_made_up_for() {
    let mut volume = Volume::new();
    let switch = publish(&mut volume, "5");
    fs::remove_dir(volume.run()).unwrap();
    let client = supervised(&volume).start().unwrap();
    assert_eq!(client.status().switch, Some(switch));
    assert_eq!(volume.status(), None);
    fs::create_dir(volume.run()).unwrap();
    assert_eq!(volume.attempt(switch), client.status());
}
