//! What others see of the service: what it works with, whether it is well, and its connection.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::{get, post};
use lockstep_protocol::RELEASE_FILE;
use tokio::sync::oneshot;

use crate::section::Section;
use crate::told::Reply;
use crate::{Args, Reload, place};

/// The live values.
#[derive(Debug, Default)]
pub(crate) struct Served {
    value: AtomicI64,
    switch: AtomicU64,
    rings: AtomicU64,
    unhealthy: AtomicBool,
    /// What the release that it works with says of itself.
    release: Mutex<String>,
}

impl Served {
    /// Works with this from now on.
    pub(crate) fn serve(self: &Arc<Self>, section: &Section, switch: u64) {
        self.value.store(section.value, Ordering::SeqCst);
        self.switch.store(switch, Ordering::SeqCst);
        self.unhealthy.store(section.unhealthy, Ordering::SeqCst);
        if !section.lag {
            let file = place("LOCKSTEP_CONFIG").join("current").join(RELEASE_FILE);
            let text = std::fs::read_to_string(file).unwrap_or_default();
            *self.release.lock().expect("nobody panics with it") = text;
        }
        if let (Some(after), value) = (section.sicken, section.value) {
            let served = Arc::clone(self);
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(after));
                // Unless it works with something else by now.
                served
                    .unhealthy
                    .fetch_or(served.value.load(Ordering::SeqCst) == value, Ordering::SeqCst);
            });
        }
        println!("switch {switch}: value {}", section.value);
    }

    /// Counts that it was told.
    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn switch(&self) -> u64 {
        self.switch.load(Ordering::SeqCst)
    }

    /// What it works with, as Prometheus reads it.
    fn metrics(&self) -> String {
        let text = self.release.lock().expect("nobody panics with it").clone();
        let release: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        format!(
            "# HELP lab_config_info The configuration that is worked with.\n# TYPE lab_config_info gauge\n\
             lab_config_info{{revision={},digest={}}} 1\n",
            release["revision"], release["digest"]
        )
    }

    fn line(&self) -> String {
        format!(
            "{{\"pid\": {}, \"value\": {}, \"switch\": {}, \"rings\": {}}}\n",
            std::process::id(),
            self.value.load(Ordering::SeqCst),
            self.switch(),
            self.rings.load(Ordering::SeqCst)
        )
    }
}

/// Opens all that is asked for. Called once there is something to serve.
pub(crate) fn open(args: &Args, served: &Arc<Served>, asked: mpsc::Sender<Reply>) {
    let socket = place("LAB_PLACE").join(format!("{}.sock", args.name));
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("the lab's folder is writable");
    let shown = Arc::clone(served);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Whoever asked may be gone.
            let _ = stream.write_all(shown.line().as_bytes());
        }
    });
    if let Some(address) = args.http {
        let served = Arc::clone(served);
        let asked = (args.reload == Reload::Http).then_some(asked);
        std::thread::spawn(move || serve(address, served, asked));
    }
    if let Some(address) = args.connect {
        std::thread::spawn(move || hold(address));
    }
}

fn serve(address: SocketAddr, served: Arc<Served>, asked: Option<mpsc::Sender<Reply>>) {
    let told = Arc::clone(&served);
    let release = move || {
        let told = Arc::clone(&told);
        async move { told.release.lock().expect("nobody panics with it").clone() }
    };
    let counted = Arc::clone(&served);
    let metrics = move || {
        let served = Arc::clone(&counted);
        async move { served.metrics() }
    };
    let health = move || {
        let served = Arc::clone(&served);
        async move {
            if served.unhealthy.load(Ordering::SeqCst) {
                (StatusCode::SERVICE_UNAVAILABLE, "not well")
            } else {
                (StatusCode::OK, "well")
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .expect("the address is the lab's alone");
        let mut router = axum::Router::new()
            .route("/health", get(health))
            .route("/release", get(release))
            .route("/metrics", get(metrics));
        if let Some(asked) = asked {
            router = router.route("/reload", post(move || reload(asked.clone())));
        }
        axum::serve(listener, router).await.expect("it serves for ever");
    });
}

/// Has the service reload, and answers with what came of it.
async fn reload(asked: mpsc::Sender<Reply>) -> (StatusCode, String) {
    let (reply, answer) = oneshot::channel();
    asked.send(reply).expect("the service lives as long as this");
    match answer.await {
        Ok(Ok(())) => (StatusCode::OK, "reloaded".to_owned()),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "it went on".to_owned()),
    }
}

/// Holds one connection for the whole life of the process: a lost one is not opened again.
fn hold(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).expect("the test listens");
    let mut answers = BufReader::new(stream.try_clone().expect("a socket can be shared"));
    let mut answer = String::new();
    loop {
        answer.clear();
        let alive = stream.write_all(b"beat\n").is_ok()
            && matches!(answers.read_line(&mut answer), Ok(read) if read > 0);
        if !alive {
            eprintln!("the connection to {address} was lost");
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
