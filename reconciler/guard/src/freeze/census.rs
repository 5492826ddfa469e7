//! Finding everybody who belongs to the services that are to be stopped.
//!
//! The hard case is a chain of processes each of which ends right after it made the next one: a list of
//! pids is out of date before the first of them is read. So only the first look, before anybody is stopped,
//! goes by a list. Each further look tries every number that the kernel has given out since, in the order in
//! which it gives them out (upwards, and from the low end again after the last).
//!
//! Why such a look, begun after everybody known is stopped, misses nobody: take somebody unknown who is
//! alive at its end, and the line of makers from a known one down to it. The known one made the next of that
//! line before the look began. So there is a last one in the line, call it L, that existed when the look came
//! to its number. If L is not the end of the line, L was alive to make its successor, and that happened after
//! the look had passed the successor's number, which comes after L's own. In either case L was alive when
//! its number was tried: it was found, and the look did not come out empty.

use crate::processes::stat::Stat;
use crate::processes::table::{Carrier, Processes};
use crate::processes::tree::{Root, attribute};
use std::io;

/// After so many times that new numbers were given out while the last were tried, the look is not complete.
const ROUNDS: usize = 100;

/// What earlier looks have found out, so that a look inside a pause reads as little as can be.
pub(crate) struct Census {
    roots: Vec<Root>,
    /// What the environment of a process that carries a root's token holds.
    entries: Vec<String>,
    /// The highest number there is.
    pid_max: u32,
    /// The pid given out last before the first look, once there was one.
    first: Option<u32>,
    /// Who was there at the first look, ascending: whoever of them was no member then never becomes one.
    there_first: Vec<u32>,
    pids: Vec<u32>,
}

/// What one look found.
pub(crate) struct Sighting {
    /// Who belongs to a root and is alive, those known already included.
    pub(crate) found: Vec<(Stat, usize)>,
    /// Who was seen of whom it is not known yet whether they belong here.
    pub(crate) doubtful: Vec<u32>,
    /// Whether every number was tried that was given out until the end of the look.
    pub(crate) all_tried: bool,
}

impl Census {
    pub(crate) fn new(processes: &mut Processes, roots: Vec<Root>) -> io::Result<Self> {
        let entries = roots
            .iter()
            .map(|root| format!("{}={}", crate::INSTANCE, root.token))
            .collect();
        let pid_max = processes.pid_max()?;
        Ok(Self {
            roots,
            entries,
            pid_max,
            first: None,
            there_first: Vec::new(),
            pids: Vec::new(),
        })
    }

    /// Looks for everybody: at first among all processes, later among those made since. `known` are the
    /// members so far: who they are, and the place of their root.
    pub(crate) fn look(
        &mut self,
        processes: &mut Processes,
        known: &[(Stat, usize)],
    ) -> io::Result<Sighting> {
        // Members are not read again: wherever they are handed to, they stay members. They are wanted here
        // as the parents of others.
        let mut alive: Vec<Stat> = known.iter().map(|(stat, _)| *stat).collect();
        let mut last = processes.last_pid()?;
        let mut pids = std::mem::take(&mut self.pids);
        processes.pids(&mut pids)?;
        let mut all_tried = true;
        match self.first {
            None => {
                self.first = Some(last);
                read(processes, pids.iter().copied(), &mut alive)?;
                self.there_first.clone_from(&pids);
            }
            Some(mut tried) => {
                pids.retain(|pid| self.there_first.binary_search(pid).is_err());
                read(processes, pids.iter().copied(), &mut alive)?;
                // Until nobody was made while the last ones were tried.
                let mut rounds = 0;
                while tried != last && rounds < ROUNDS {
                    read(processes, given_out(tried, last, self.pid_max), &mut alive)?;
                    tried = last;
                    last = processes.last_pid()?;
                    rounds += 1;
                }
                all_tried = tried == last;
            }
        }
        self.pids = pids;
        alive.sort_unstable_by_key(|stat| (stat.pid, stat.start_ticks));
        alive.dedup_by_key(|stat| (stat.pid, stat.start_ticks));
        let (owners, mut doubtful) = self.owners(processes, known, &alive)?;
        let mut found = Vec::with_capacity(known.len() + 4);
        for (stat, owner) in alive.iter().zip(owners) {
            match owner {
                Some(place) => found.push((*stat, place)),
                // Its maker came into being behind our back, so its own descent is not known.
                None if !self.is_somebody(stat.parent, &alive) => doubtful.push(stat.pid),
                None => {}
            }
        }
        // After the first look they are still to be looked at.
        self.there_first.retain(|pid| !doubtful.contains(pid));
        Ok(Sighting {
            found,
            doubtful,
            all_tried,
        })
    }

    /// Whom each belongs to, and of whom that is not certain.
    fn owners(
        &self,
        processes: &mut Processes,
        known: &[(Stat, usize)],
        alive: &[Stat],
    ) -> io::Result<(Vec<Option<usize>>, Vec<u32>)> {
        // Orphans are handed to the guard (their nearest reaper) or to whoever reaps in its place; an
        // adopted main process has such a reaper for its parent.
        let mut reapers = vec![1, std::process::id()];
        let is_main = |stat: &&Stat| self.roots.iter().any(|root| root.pid == stat.pid);
        reapers.extend(alive.iter().filter(is_main).map(|stat| stat.parent));
        let (mut fault, mut doubtful) = (None, Vec::new());
        let owner_of = |stat: &Stat| {
            known
                .iter()
                .find(|(member, _)| is_same(member, stat))
                .map(|(_, place)| *place)
        };
        let owners = attribute(alive, &self.roots, owner_of, |stat| {
            if !reapers.contains(&stat.parent) {
                return None;
            }
            match processes.carrier_of(stat.pid, stat.start_ticks, &self.entries) {
                Ok(Carrier::Of(place)) => return Some(place),
                Ok(Carrier::OfNone) => {}
                Ok(Carrier::Unclear) => doubtful.push(stat.pid),
                Err(error) => fault = Some(error),
            }
            None
        });
        match fault {
            Some(error) => Err(error),
            None => Ok((owners, doubtful)),
        }
    }

    /// Whether this is the pid of somebody whom we know to be there, or the guard, or nobody's.
    fn is_somebody(&self, pid: u32, alive: &[Stat]) -> bool {
        pid == 0
            || pid == std::process::id()
            || self.there_first.binary_search(&pid).is_ok()
            || alive.binary_search_by_key(&pid, |stat| stat.pid).is_ok()
    }
}

/// Reads these numbers; adds who is alive under them.
fn read(processes: &mut Processes, pids: impl Iterator<Item = u32>, alive: &mut Vec<Stat>) -> io::Result<()> {
    let me = std::process::id();
    for pid in pids.filter(|pid| *pid != me) {
        alive.extend(processes.stat(pid)?.filter(|stat| !stat.is_dead()));
    }
    Ok(())
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    one.pid == other.pid && one.start_ticks == other.start_ticks
}

/// The numbers that were given out after `first` and up to `last`, in this order.
fn given_out(first: u32, last: u32, pid_max: u32) -> impl Iterator<Item = u32> {
    let wrapped = last < first;
    let upwards = if wrapped {
        first + 1..pid_max
    } else {
        first + 1..last + 1
    };
    let again = if wrapped { 1..last + 1 } else { 0..0 };
    upwards.chain(again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn numbers_are_tried_in_the_order_in_which_they_were_given_out() {
        let numbers = |first, last| given_out(first, last, 20).collect::<Vec<_>>();
        assert_eq!(numbers(10, 13), [11, 12, 13]);
        assert!(numbers(10, 10).is_empty());
        assert_eq!(numbers(17, 3), [18, 19, 1, 2, 3]);
        assert_eq!(numbers(19, 2), [1, 2]);
    }

    #[test]
    fn who_ends_between_two_looks_is_no_longer_found_and_who_begins_is() {
        let mut processes = Processes::open().unwrap();
        let start = || Command::new("sleep").arg("60").spawn().unwrap();
        let mut main = start();
        let root = Root {
            pid: main.id(),
            token: "none".into(),
        };
        let pids = |found: &[(Stat, usize)]| found.iter().map(|(stat, _)| stat.pid).collect::<Vec<_>>();
        let mut census = Census::new(&mut processes, vec![root.clone()]).unwrap();
        let found = census.look(&mut processes, &[]).unwrap().found;
        assert_eq!(pids(&found), [main.id()]);
        assert_eq!(census.look(&mut processes, &found).unwrap().found, found);

        // The same with a root that is made after the first look.
        let mut later = Census::new(&mut processes, Vec::new()).unwrap();
        later.look(&mut processes, &[]).unwrap();
        let mut second = start();
        later.roots.push(Root {
            pid: second.id(),
            token: "none".into(),
        });
        assert_eq!(
            pids(&later.look(&mut processes, &[]).unwrap().found),
            [second.id()]
        );

        for child in [&mut main, &mut second] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let mut fresh = Census::new(&mut processes, vec![root]).unwrap();
        assert_eq!(fresh.look(&mut processes, &[]).unwrap().found, []);
    }
}
