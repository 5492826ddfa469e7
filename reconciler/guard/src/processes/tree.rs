//! Who belongs to which service.
//!
//! Pure. A process belongs to a service when it is its main process, is in the session that the main
//! process leads, descends from one that belongs, or (having lost its parent and left the session)
//! carries the instance's token in its environment.

use crate::processes::stat::Stat;

/// The start of one service's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    /// The main process, also the id of the session that it leads.
    pub(crate) pid: u32,
    /// Its instance's token.
    pub(crate) token: String,
}

/// For each process the place in `roots` of the service that it belongs to.
///
/// `processes` is sorted by pid. `known` gives what earlier looks found out about a pid (a member stays
/// one, whoever its parent becomes). `carries` is asked about processes that have lost their parent, and
/// tells whose token is in the environment of one.
pub(crate) fn attribute(
    processes: &[Stat],
    roots: &[Root],
    known: impl Fn(&Stat) -> Option<usize>,
    mut carries: impl FnMut(&Stat) -> Option<usize>,
) -> Vec<Option<usize>> {
    let mut owners: Vec<Option<usize>> = processes
        .iter()
        .map(|process| {
            known(process).or_else(|| {
                roots
                    .iter()
                    .position(|root| process.pid == root.pid || process.session == root.pid)
            })
        })
        .collect();
    spread(processes, &mut owners);
    let mut found = false;
    for (process, owner) in processes.iter().zip(&mut owners) {
        if owner.is_none() {
            *owner = carries(process);
            found |= owner.is_some();
        }
    }
    if found {
        spread(processes, &mut owners);
    }
    owners
}

/// Children belong to whom their parents belong, to any depth. Pids mostly grow from parent to child, so
/// that one pass does nearly all; passes go on until one changes nothing.
fn spread(processes: &[Stat], owners: &mut [Option<usize>]) {
    loop {
        let mut changed = false;
        for place in 0..processes.len() {
            if owners[place].is_some() {
                continue;
            }
            let parent = processes.binary_search_by_key(&processes[place].parent, |process| process.pid);
            if let Some(owner) = parent.ok().and_then(|parent| owners[parent]) {
                owners[place] = Some(owner);
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::stat::State;

    fn process(pid: u32, parent: u32, session: u32) -> Stat {
        Stat {
            pid,
            parent,
            session,
            state: State::Active,
            threads: 1,
            start_ticks: u64::from(pid),
        }
    }

    fn roots(pids: &[u32]) -> Vec<Root> {
        pids.iter()
            .map(|pid| Root {
                pid: *pid,
                token: format!("token-{pid}"),
            })
            .collect()
    }

    #[test]
    fn descendants_of_any_depth_belong_also_when_a_child_has_the_lower_pid() {
        let all = [
            process(5, 30, 5),
            process(10, 1, 10),
            process(20, 10, 10),
            process(30, 20, 30),
            process(40, 1, 40),
        ];
        let owners = attribute(&all, &roots(&[10]), |_| None, |_| None);
        assert_eq!(owners, [Some(0), Some(0), Some(0), Some(0), None]);
    }

    #[test]
    fn an_orphan_is_found_by_its_session() {
        let all = [process(10, 1, 10), process(30, 1, 10), process(31, 30, 31)];
        assert_eq!(
            attribute(&all, &roots(&[10]), |_| None, |_| None),
            [Some(0), Some(0), Some(0)]
        );
    }

    #[test]
    fn an_orphan_with_a_session_of_its_own_is_found_by_its_token_and_its_children_with_it() {
        let all = [
            process(10, 1, 10),
            process(30, 1, 30),
            process(31, 30, 30),
            process(32, 1, 32),
        ];
        let mut asked = Vec::new();
        let owners = attribute(
            &all,
            &roots(&[10]),
            |_| None,
            |process| {
                asked.push(process.pid);
                (process.pid == 30).then_some(0)
            },
        );
        assert_eq!(owners, [Some(0), Some(0), Some(0), None]);
        assert_eq!(asked, [30, 31, 32]);
    }

    #[test]
    fn a_member_stays_one_when_it_is_handed_to_another_parent() {
        let all = [process(10, 1, 10), process(30, 1, 30)];
        let owners = attribute(
            &all,
            &roots(&[10]),
            |process| (process.pid == 30).then_some(0),
            |_| None,
        );
        assert_eq!(owners, [Some(0), Some(0)]);
    }

    #[test]
    fn two_services_keep_apart() {
        let all = [
            process(10, 1, 10),
            process(11, 10, 10),
            process(20, 1, 20),
            process(21, 20, 20),
        ];
        let owners = attribute(&all, &roots(&[10, 20]), |_| None, |_| None);
        assert_eq!(owners, [Some(0), Some(0), Some(1), Some(1)]);
    }
}
