//! What `docs/moving-in.md` leads to: a service that runs already, and whose files were edited in place, comes under
//! Lockstep without noticing.

use std::fs;

use lockstep_tests::{Lab, Service};

#[test]
fn a_service_whose_files_were_edited_in_place_is_taken_in_as_it_runs() {
    let lab = Lab::builder()
        .service(Service::running("web").foreign())
        .unstarted()
        .start();
    let file = lab.volume().join("config.toml");
    fs::create_dir_all(lab.volume()).expect("the lab is ours");
    fs::write(&file, "[web]\nvalue = 1\n").expect("the lab is ours");
    fs::write(lab.volume().join("config.toml.bak"), "[web]\nvalue = 0\n").expect("the lab is ours");
    let process = lab.start_foreign("web", &["--style", "plain", "--reload", "hup"]);
    assert_eq!(lab.value("web"), 1);

    lab.start_reconciler_with(&["--adopt"]);
    lab.wait_settled(&lab.origin().revision("HEAD"));
    assert!(file.is_symlink(), "the path that it reads leads to the release");
    lab.wait_settled(&lab.set(&[("web", "value = 2")]));
    assert_eq!(lab.value("web"), 2);
    assert_eq!(lab.foreign("web"), process, "nobody restarted it");

    // Whoever wants to leave ends Lockstep and has their files still.
    lab.lockstep(&["down"]).done();
    assert_eq!(lab.foreign("web"), process, "nor ended it");
    let kept = lab.volume().join(".lockstep/adopted-1/config.toml.bak");
    assert_eq!(
        fs::read_to_string(kept).expect("it is kept"),
        "[web]\nvalue = 0\n"
    );
}
