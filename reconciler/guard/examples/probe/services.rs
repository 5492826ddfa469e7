//! Services of every shape that a pause has to cope with.
//!
//! Each process or thread beats: it rewrites a counter in a file of its own in the folder. So a test sees
//! from outside whether anybody at all moved. It does so every `PROBE_BEAT_MS` (1). With `PROBE_USR1` set, SIGUSR1 is caught and each arrival is
//! appended to `usr1`; `main` holds the main process's pid once it is ready for anything.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, exit};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

/// Runs a service until it is killed.
pub(crate) fn run(service: &str, folder: &Path, rest: &[&str]) -> ! {
    let number = |place: usize| {
        rest.get(place)
            .and_then(|text| text.parse::<u32>().ok())
            .unwrap_or(0)
    };
    match service {
        "beat" => {}
        // Killed by the first SIGTERM only after it has counted it, or never.
        "deaf" => catch(libc::SIGTERM, libc::SIG_IGN),
        "end" => {
            ready(folder);
            exit(number(0).cast_signed());
        }
        "threads" => {
            for thread in 0..number(0) {
                let folder = folder.to_owned();
                thread::spawn(move || beat(&folder, &format!("thread-{thread}")));
            }
        }
        // A chain of children below the main process.
        "nest" => {
            if number(0) > 0 {
                child("nest", folder, &[&(number(0) - 1).to_string()]);
            }
        }
        "pool" => {
            for _ in 0..number(0) {
                child("beat", folder, &[]);
            }
        }
        // A child's child that has lost its parent, and kept the session.
        "orphan" => {
            forget(folder, false);
        }
        // One that also left the session.
        "stray" => {
            forget(folder, true);
        }
        // Forks short-lived children without a pause.
        "forker" => {
            ready(folder);
            fork_storm(folder);
        }
        // A chain of processes each of which ends right after it made the next.
        "chain" => fork_chain(folder),
        // Executes commands without a pause, as shells and make do.
        "executor" => {
            ready(folder);
            let mut beats = counter(folder, "executor");
            loop {
                let _ = Command::new("/bin/true").status();
                beats();
            }
        }
        // Its child neither executes anything nor ends, so that the parent, waiting for that, cannot be stopped.
        "unstoppable" => {
            ready(folder);
            let mut beats = counter(folder, "child");
            // SAFETY: not what vfork is for, but this process has one thread and its parent side, which would
            // suffer, never runs again.
            #[allow(deprecated, reason = "the very thing to be tested")]
            unsafe {
                if libc::vfork() == 0 {
                    loop {
                        beats();
                        libc::usleep(1000);
                    }
                }
            }
        }
        "echo" => echo(folder),
        // Blocks SIGUSR1 in all threads, as one that waits by sigwait does.
        "blocks-usr1" => {
            // SAFETY: the set is emptied before it is read.
            unsafe {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, libc::SIGUSR1);
                libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            }
        }
        other => {
            eprintln!("probe has no service {other}");
            exit(2);
        }
    }
    if std::env::var_os("PROBE_USR1").is_some() {
        record_usr1(folder);
    }
    ready(folder);
    beat(folder, "main");
}

/// Says that the main process is as it will be. Children run the same code and say nothing.
fn ready(folder: &Path) {
    if std::env::var_os("PROBE_CHILD").is_none() {
        let text = format!(
            "{} {}\n",
            std::process::id(),
            std::env::var("LOCKSTEP_INSTANCE").unwrap_or_default()
        );
        let mut starts = OpenOptions::new()
            .append(true)
            .create(true)
            .open(folder.join("starts"))
            .expect("starts");
        starts.write_all(text.as_bytes()).expect("one start");
        println!("probe is ready");
    }
}

fn child(service: &str, folder: &Path, rest: &[&str]) {
    let program = std::env::current_exe().expect("own program");
    let child = Command::new(program)
        .arg(service)
        .arg(folder)
        .args(rest)
        .env("PROBE_CHILD", "1")
        .spawn();
    // It outlives nobody: the test that started all of this kills it.
    std::mem::forget(child.expect("a child"));
}

/// A counter in a file of its own, raised by each call.
fn counter(folder: &Path, what: &str) -> impl FnMut() {
    let name = format!("beat-{}-{what}", std::process::id());
    let file = File::create(folder.join(name)).expect("a file to beat in");
    let mut count: u64 = 0;
    move || {
        count += 1;
        file.write_all_at(format!("{count:020}").as_bytes(), 0)
            .expect("a beat");
    }
}

fn beat(folder: &Path, what: &str) -> ! {
    let mut beats = counter(folder, what);
    let every = std::env::var("PROBE_BEAT_MS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    loop {
        beats();
        thread::sleep(Duration::from_millis(every));
    }
}

fn forget(folder: &Path, leaves_session: bool) {
    // SAFETY: this process has one thread, and the children only fork, call setsid, beat or exit.
    unsafe {
        if libc::fork() == 0 {
            if libc::fork() == 0 {
                if leaves_session {
                    libc::setsid();
                }
                beat(folder, "helper");
            }
            libc::_exit(0);
        }
        libc::wait(std::ptr::null_mut());
    }
}

fn fork_chain(folder: &Path) {
    let steps = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("beat-chain"))
        .expect("a file");
    let steps = steps.into_raw_fd();
    // SAFETY: this process has one thread; the children only fork, write, sleep and exit.
    unsafe {
        if libc::fork() != 0 {
            return;
        }
        // An end of its own, for when nobody manages to kill it.
        for _ in 0..5_000 {
            match libc::fork() {
                0 => {
                    libc::write(steps, b".".as_ptr().cast(), 1);
                    libc::usleep(3000);
                }
                _ => libc::_exit(0),
            }
        }
        libc::_exit(0);
    }
}

fn fork_storm(folder: &Path) -> ! {
    let forks = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("beat-forks"))
        .expect("a file");
    let forks = forks.as_raw_fd();
    // SAFETY: this process has one thread; the children only write, sleep and exit.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        loop {
            if libc::fork() == 0 {
                libc::usleep(500);
                libc::write(forks, b".".as_ptr().cast(), 1);
                libc::_exit(0);
            }
            libc::usleep(200);
        }
    }
}

fn echo(folder: &Path) -> ! {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its number").port();
    std::fs::write(folder.join("port.new"), port.to_string()).expect("the port's file");
    std::fs::rename(folder.join("port.new"), folder.join("port")).expect("the port's file");
    ready(folder);
    loop {
        let (mut peer, _) = listener.accept().expect("a peer");
        thread::spawn(move || {
            let mut bytes = [0; 256];
            while let Ok(length) = peer.read(&mut bytes) {
                if length == 0 || peer.write_all(&bytes[..length]).is_err() {
                    return;
                }
            }
        });
    }
}

static USR1: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_usr1(_: i32) {
    // SAFETY: write is safe in a handler.
    unsafe {
        libc::write(USR1.load(Ordering::Relaxed), b"x".as_ptr().cast(), 1);
    }
}

fn record_usr1(folder: &Path) {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("usr1"))
        .expect("a file");
    USR1.store(file.into_raw_fd(), Ordering::Relaxed);
    catch(libc::SIGUSR1, on_usr1 as *const () as usize);
}

fn catch(signal: i32, handler: usize) {
    // SAFETY: the handler only does what is allowed in one.
    unsafe {
        libc::signal(signal, handler);
    }
}
