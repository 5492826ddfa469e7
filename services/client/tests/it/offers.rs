//! Votes, and that they touch nothing.

use std::fs;

use lockstep_client::StatusState;

use crate::volume::{Built, Volume};
use crate::{publish, supervised};

#[test]
fn offers_are_answered_beside_the_live_value() {
    let mut volume = Volume::new();
    let first = publish(&mut volume, "5");
    let client = supervised(&volume)
        .on_offer(|old, new| match new.limit < old.limit {
            true => Err("a smaller limit would close open positions".into()),
            false => Ok(()),
        })
        .vote(true)
        .start()
        .unwrap();
    let answer = |volume: &mut Volume, rollout: &str, value: &str| {
        let text = format!("limit = {value}\n");
        let built = volume.build(&[("config.toml", &text)]);
        volume.offer(rollout, &built);
        let status = volume.vote(rollout);
        assert_eq!(
            (status.state, status.switch, status.attempted.switch),
            (StatusState::Applied, Some(first), Some(first))
        );
        assert_eq!(client.current().limit, 5);
        status.vote.unwrap()
    };
    let vote = answer(&mut volume, "r-1", "6");
    assert_eq!((vote.accept, vote.error), (true, None));
    let vote = answer(&mut volume, "r-2", "0");
    assert!(!vote.accept);
    assert_eq!(
        vote.error.unwrap().to_string(),
        "config.toml: `limit` must be above 0"
    );
    let vote = answer(&mut volume, "r-3", "4");
    assert_eq!(
        vote.error.unwrap().message,
        "a smaller limit would close open positions"
    );
    let vote = answer(&mut volume, "r-4", "oops");
    assert_eq!(vote.error.unwrap().line, Some(1));

    // The vote stays while something else is applied.
    let second = publish(&mut volume, "8");
    client.reload().unwrap();
    let status = volume.status().unwrap();
    assert_eq!(
        (status.switch, status.vote.unwrap().rollout.0.as_str()),
        (Some(second), "r-4")
    );
}

#[test]
fn an_offer_of_something_else_is_refused_and_half_an_offer_is_ignored() {
    let mut volume = Volume::new();
    publish(&mut volume, "5");
    let _client = supervised(&volume).vote(true).start().unwrap();
    let offered = volume.build(&[("config.toml", "limit = 6\n")]);
    let other = volume.build(&[("config.toml", "limit = 7\n")]);
    let error = |rollout: &str, built: &Built| {
        volume.offer(rollout, built);
        volume.vote(rollout).vote.unwrap().error.unwrap().message
    };
    let wrong = Built {
        digest: other.digest,
        ..offered.clone()
    };
    assert!(error("r-1", &wrong).contains("is not the release offered"));
    let outside = Built {
        directory: "../run".into(),
        ..offered.clone()
    };
    assert!(error("r-2", &outside).contains("out of the volume"));
    let missing = Built {
        directory: ".lockstep/releases/none".into(),
        ..offered.clone()
    };
    assert!(error("r-3", &missing).contains("cannot be opened"));

    fs::write(
        volume.run().join("offer.json"),
        "{\"protocol\": 1, \"rollout\": \"r-4\"",
    )
    .unwrap();
    fs::write(
        volume.run().join("offer.json"),
        "{\"protocol\": 2, \"rollout\": \"r-5\"}",
    )
    .unwrap();
    volume.offer("r-6", &offered);
    assert!(volume.vote("r-6").vote.unwrap().accept);
}
