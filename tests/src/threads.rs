//! Holding one thread of a process still, while its others go on: what one of them asks of another is then answered as
//! late as a test wants it.

use std::fs;
use std::marker::PhantomData;

use crate::processes::Process;

/// A thread that is held still. It goes on when this is dropped.
#[derive(Debug)]
pub struct Held {
    thread: libc::pid_t,
    /// Only the thread of the test that holds it can let it go.
    _here: PhantomData<*const ()>,
}

impl Held {
    /// Holds the thread of this name. None where the system does not allow that.
    ///
    /// # Panics
    /// When there is no such thread.
    #[must_use]
    pub fn thread(process: &Process, name: &str) -> Option<Self> {
        let thread = find(process, name).expect("the process has a thread of that name");
        if !trace(libc::PTRACE_SEIZE, thread) {
            eprintln!("not run: the system does not let a test hold a thread of its child");
            return None;
        }
        let held = Self {
            thread,
            _here: PhantomData,
        };
        assert!(trace(libc::PTRACE_INTERRUPT, thread), "it is ours to stop");
        // SAFETY: no memory is written: where the status would go is null.
        let stopped = unsafe { libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL) };
        assert_eq!(stopped, thread, "it stops");
        Some(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that is gone goes nowhere.
        let _ = trace(libc::PTRACE_DETACH, self.thread);
    }
}

fn find(process: &Process, name: &str) -> Option<libc::pid_t> {
    let threads = fs::read_dir(format!("/proc/{}/task", process.pid)).ok()?;
    let mut threads = threads.flatten();
    let thread = threads.find(|thread| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    })?;
    thread.file_name().to_str()?.parse().ok()
}

fn trace(request: libc::c_uint, thread: libc::pid_t) -> bool {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: these requests read and write none of our memory.
    unsafe { libc::ptrace(request, thread, nothing, nothing) == 0 }
}
