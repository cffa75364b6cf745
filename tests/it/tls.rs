//! TLS in the process, with a real TLS client in front of the tests' own: what passes without TLS passes with it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flowgate::config::{self, Sources};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::harness::http::Http;
use crate::harness::polling::Polling;
use crate::harness::process::{Process, flowgate, run};
use crate::harness::websocket::RawSocket;
use crate::harness::{
    BASE, SECRET_VARIABLE, Sidecar, closes, member, refusals, secret, until, within, write_settings,
};

/// A certificate for `localhost` that vouches for itself, in a folder of its own.
struct Pair {
    folder: tempfile::TempDir,
    der: CertificateDer<'static>,
}

fn make(change: impl FnOnce(&mut CertificateParams)) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut params);
    (params.self_signed(&key).unwrap(), key)
}

impl Pair {
    fn new() -> Self {
        let mut pair = Pair { folder: tempfile::tempdir().unwrap(), der: CertificateDer::from(Vec::new()) };
        pair.replace();
        pair
    }

    /// Puts another pair into the files.
    fn replace(&mut self) {
        let (certificate, key) = make(|_| {});
        write(&self.path("tls.key"), &key.serialize_pem());
        write(&self.path("tls.crt"), &certificate.pem());
        self.der = certificate.der().clone();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> String {
        settings(&self.path("tls.crt"), &self.path("tls.key"))
    }

    /// A TLS connection of a client that trusts this certificate alone, shown to whoever connects here without TLS.
    async fn bridge(&self, to: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let der = self.der.clone();
        tokio::spawn(async move {
            while let Ok((mut plain, _)) = listener.accept().await {
                let der = der.clone();
                tokio::spawn(async move {
                    let mut encrypted = connect(to, &der, ALL_VERSIONS, &[b"http/1.1"]).await.unwrap();
                    // Ends with either side.
                    let _ = tokio::io::copy_bidirectional(&mut plain, &mut encrypted).await;
                });
            }
        });
        address
    }
}

fn settings(certificate: &Path, key: &Path) -> String {
    format!("[server.tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n")
}

fn write(path: &Path, text: &str) {
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

async fn connect(
    to: SocketAddr,
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4().unwrap();
    // What this client does not read, its kernel takes little of.
    socket.set_recv_buffer_size(4096).unwrap();
    handshake(socket.connect(to).await.unwrap(), trusted, versions, alpn).await
}

async fn handshake(
    tcp: TcpStream,
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = "localhost".try_into().unwrap();
    within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
}

#[tokio::test]
async fn both_versions_are_spoken_and_http_1_only() {
    let pair = Pair::new();
    let sidecar = Sidecar::start(&pair.settings()).await;
    for versions in [&[&TLS12], &[&TLS13]] {
        let stream = connect(sidecar.public, &pair.der, versions, &[b"h2", b"http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
        assert_eq!(stream.get_ref().1.protocol_version(), Some(versions[0].version));
    }
    connect(sidecar.public, &pair.der, ALL_VERSIONS, &[]).await.unwrap();
    assert!(connect(sidecar.public, &pair.der, ALL_VERSIONS, &[b"h2"]).await.is_err());
    let other = Pair::new();
    assert!(connect(sidecar.public, &other.der, ALL_VERSIONS, &[]).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transport_carries_events_in_order() {
    const EVENTS: u64 = 600;
    let pair = Pair::new();
    // Far less than what passes: it would run full if what has been written were not counted.
    let limit = "[limits.slow_reader]\nmax_queued = \"64KiB\"";
    let sidecar = Sidecar::start(&format!("{}{limit}", pair.settings())).await;
    let at = pair.bridge(sidecar.public).await;
    let mut sender = RawSocket::join(at, &member("ann", &["red"])).await;
    let mut websocket = RawSocket::join(at, &member("ben", &["red"])).await;
    let mut polling = Polling::join(at, &member("cleo", &["red"])).await;
    let upgrading = Polling::join(at, &member("dan", &["red"])).await;
    let mut upgraded = upgrading.upgrade().await;
    let padding = "x".repeat(1000);
    let event = |number: u64| format!("{{\"number\":{number},\"padding\":\"{padding}\"}}");
    for number in 0..EVENTS {
        assert_eq!(sender.ask(&event(number)).await["ok"], true);
        // The echo came before the answer.
        assert_eq!(sender.event().await, event(number));
        for socket in [&mut websocket, &mut upgraded] {
            assert_eq!(socket.event().await, event(number));
        }
        if number % 20 == 19 {
            for number in number - 19..=number {
                assert_eq!(polling.event().await, event(number));
            }
        }
    }
    drop((sender, websocket, upgraded));
    polling.post("1").await;
    sidecar.until_empty().await;
    assert_eq!(sidecar.metric(&closes("slow_reader")).await, 0.0);
}

/// A member that has stopped reading, and one that sends until the sidecar has noticed.
async fn is_closed_for_not_reading(limits: &str) {
    let pair = Pair::new();
    let sidecar = Sidecar::start(&format!("{}[limits.slow_reader]\n{limits}", pair.settings())).await;
    let at = pair.bridge(sidecar.public).await;
    let stuck = RawSocket::join(at, &member("ben", &["red"])).await;
    let mut sender = RawSocket::join(at, &member("ann", &["red"])).await;
    let event = format!("\"{}\"", "x".repeat(8000));
    until("the slow reader is closed", async || {
        for _ in 0..50 {
            assert_eq!(sender.ask(&event).await["ok"], true);
            assert_eq!(sender.event().await, event);
        }
        sidecar.metric(&closes("slow_reader")).await == 1.0
    })
    .await;
    sidecar.until("flowgate_sessions", 1.0).await;
    sidecar.until("flowgate_peers", 1.0).await;
    assert_eq!(sender.ask("1").await["ok"], true);
    drop(stuck);
}

#[tokio::test]
async fn a_slow_reader_is_closed_for_what_waits() {
    is_closed_for_not_reading("max_queued = \"64KiB\"\nmax_stall = \"1h\"").await;
}

#[tokio::test]
async fn a_stalled_reader_is_closed_though_little_waits() {
    is_closed_for_not_reading("max_queued = \"1GiB\"\nmax_stall = \"500ms\"").await;
}

#[tokio::test]
async fn what_is_no_tls_is_closed() {
    let pair = Pair::new();
    let sidecar = Sidecar::start(&pair.settings()).await;
    let mut plain = Http::to(sidecar.public).await;
    plain.send("GET", "/socket.io/?EIO=4&transport=polling", &[], "").await;
    within("plain HTTP is closed", plain.closed()).await;
    let mut silent = Http::to(sidecar.public).await;
    within("silence is closed", silent.closed()).await;
    assert_eq!(sidecar.metric(&refusals("tls_handshake")).await, 2.0);
    assert_eq!(sidecar.metric("flowgate_sessions").await, 0.0);
}

#[tokio::test]
async fn a_proxy_header_comes_before_tls() {
    let pair = Pair::new();
    let limits = "[limits.connections]\nper_ip = 1\n[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let sidecar = Sidecar::start(&format!("{limits}{}", pair.settings())).await;
    for (source, status) in [("192.0.2.1", "200"), ("192.0.2.1", "429"), ("192.0.2.2", "200")] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut tcp = TcpStream::connect(sidecar.public).await.unwrap();
        tcp.write_all(format!("PROXY TCP4 {source} 198.51.100.2 1 2\r\n").as_bytes()).await.unwrap();
        let mut stream = handshake(tcp, &pair.der, ALL_VERSIONS, &[]).await.unwrap();
        let request = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = [0; 12];
        within("an answer", stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer[9..], status.as_bytes());
    }
}

#[tokio::test]
async fn a_changed_certificate_is_shown_to_new_connections() {
    let mut pair = Pair::new();
    let sidecar = Sidecar::start(&pair.settings()).await;
    let at = pair.bridge(sidecar.public).await;
    let mut old = RawSocket::join(at, &member("ann", &["red"])).await;
    let first = pair.der.clone();
    let shown =
        async |der: &CertificateDer<'static>| connect(sidecar.public, der, ALL_VERSIONS, &[]).await.is_ok();
    pair.replace();
    until("the new certificate is shown", async || shown(&pair.der).await).await;
    assert!(!shown(&first).await);
    let at = pair.bridge(sidecar.public).await;
    let mut new = RawSocket::join(at, &member("ben", &["red"])).await;
    assert_eq!(old.ask("1").await["ok"], true);
    assert_eq!(new.event().await, "1");

    // A bad pair changes nothing, and the good one after it does.
    let second = pair.der.clone();
    write(&pair.path("tls.key"), "no key at all");
    pair.der = first;
    assert!(shown(&second).await);
    pair.replace();
    until("the third certificate is shown", async || shown(&pair.der).await).await;
    assert_eq!(old.ask("2").await["ok"], true);
}

#[test]
fn a_bad_changed_pair_is_said_and_the_old_one_stays() {
    let mut pair = Pair::new();
    let folder = tempfile::tempdir().unwrap();
    let paths = write_settings(folder.path(), &[BASE, &pair.settings()]);
    let log = folder.path().join("log");
    let process = Process::serve_logging(&paths, &log);
    assert!(process.is_tls);
    let errors = || std::fs::read_to_string(&log).unwrap().matches("the old certificate stays").count();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let first = pair.der.clone();
        let shown = async |der: &CertificateDer<'static>| {
            connect(process.public, der, ALL_VERSIONS, &[]).await.is_ok()
        };
        write(&pair.path("tls.crt"), "no certificate at all");
        until("the bad certificate is complained of", async || errors() == 1).await;
        assert!(shown(&first).await);
        std::fs::remove_file(pair.path("tls.crt")).unwrap();
        until("the missing certificate is complained of", async || errors() >= 2).await;
        assert!(shown(&first).await);
        pair.replace();
        until("the good one is used", async || shown(&pair.der).await).await;
    });
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("server.tls.certificate_file: this is no PEM text"), "{text}");
    assert!(!text.contains("PRIVATE"), "{text}");
}

/// Both files, and what is wrong with them.
#[test]
fn a_bad_pair_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = make(|_| {});
    let (_, other) = make(|_| {});
    let (certificate, key, other) = (certificate.pem(), key.serialize_pem(), other.serialize_pem());
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let damaged = certificate.replace("-----END", "----END");
    let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    for (crt, key, said) in [
        (&certificate, &other, "key_file: this is not the key of the first certificate"),
        (&certificate, &certificate, "key_file: there is no private key in it; a PEM private key begins"),
        (&certificate, &encrypted, "key_file: this private key is encrypted with a passphrase"),
        (&certificate, &format!("{key}{other}"), "key_file: there are several private keys"),
        (&certificate, &"rubbish".to_owned(), "key_file: this is no PEM text"),
        (&key, &key, "certificate_file: there is no certificate in it; a PEM certificate begins"),
        (&damaged, &key, "certificate_file: this is no PEM text, or a damaged one; copy it again"),
        (&hollow, &key, "certificate_file: the first certificate cannot be read"),
        (&String::new(), &key, "certificate_file: FOLDER/tls.crt is empty"),
    ] {
        write(&folder.path().join("tls.crt"), crt);
        write(&folder.path().join("tls.key"), key);
        let problem =
            load(folder.path(), "certificate_file = \"tls.crt\"\nkey_file = \"tls.key\"").unwrap_err();
        assert!(problem.contains(&format!("1.toml: server.tls.{said}")), "{said}\n{problem}");
        assert!(problem.ends_with("1 problem in the configuration"), "{problem}");
    }
    let nowhere = load(folder.path(), "certificate_file = \"no.crt\"\nkey_file = \"no.key\"").unwrap_err();
    assert!(nowhere.contains("server.tls.certificate_file: FOLDER/no.crt cannot be read"), "{nowhere}");
    assert!(nowhere.contains("server.tls.key_file: FOLDER/no.key cannot be read"), "{nowhere}");
    let alone = load(folder.path(), "certificate_file = \"tls.crt\"").unwrap_err();
    assert!(
        alone.contains("server.tls.certificate_file: a certificate without its key; write key_file"),
        "{alone}"
    );
    let alone = load(folder.path(), "key_file = \"tls.key\"").unwrap_err();
    assert!(
        alone.contains("server.tls.key_file: a key without its certificate; write certificate_file"),
        "{alone}"
    );

    // Both in one file, as some tools write them.
    write(&folder.path().join("both.pem"), &format!("{key}{certificate}"));
    let both = "certificate_file = \"both.pem\"\nkey_file = \"both.pem\"";
    assert_eq!(load(folder.path(), both), Ok(String::new()));
}

/// The warnings or the problems of this `[server.tls]`.
fn load(folder: &Path, tls: &str) -> Result<String, String> {
    let sources = Sources {
        paths: write_settings(folder, &[BASE, &format!("[server.tls]\n{tls}")]),
        environment: vec![(SECRET_VARIABLE.into(), secret())],
        ..Sources::default()
    };
    let plain = |text: String| text.replace(&*folder.to_string_lossy(), "FOLDER");
    match config::load(&sources) {
        Ok(loaded) => Ok(plain(loaded.warnings.iter().map(ToString::to_string).collect())),
        Err(problems) => Err(plain(problems.to_string())),
    }
}

#[test]
fn a_certificate_out_of_date_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let dates = |from: i32, to: i32| {
        make(|params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        })
    };
    for (from, to, said) in [
        (2001, 2002, "this certificate expired at 2002-01-01T00:00:00Z; renew it"),
        (2900, 2901, "this certificate is not valid before 2900-01-01T00:00:00Z"),
    ] {
        let (certificate, key) = dates(from, to);
        write(&folder.path().join("tls.crt"), &certificate.pem());
        write(&folder.path().join("tls.key"), &key.serialize_pem());
        let warnings = load(folder.path(), "certificate_file = \"tls.crt\"\nkey_file = \"tls.key\"").unwrap();
        assert!(warnings.contains(&format!("1.toml: server.tls.certificate_file: {said}")), "{warnings}");
    }
}

#[test]
fn check_refuses_a_bad_pair() {
    let pair = Pair::new();
    write(&pair.path("tls.key"), &make(|_| {}).1.serialize_pem());
    let paths = write_settings(pair.folder.path(), &["[auth]\nmode = \"off\"", &pair.settings()]);
    let arguments = ["check", "--config", paths[0].to_str().unwrap(), "--config", paths[1].to_str().unwrap()];
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("server.tls.key_file: this is not the key"), "{said}");
    let mut pair = pair;
    pair.replace();
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("/socket.io/ with TLS, internally on"));
}

/// Trust is the system's, which `SSL_CERT_FILE` stands in for as it does for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_reach_it_who_trust_its_certificate() {
    let pair = Pair::new();
    let sidecar = Sidecar::start(&pair.settings()).await;
    let send = |trusted: Option<PathBuf>| {
        let mut command = flowgate(&["send", "--token-env", "TOKEN", "1"]);
        command.args(["--url", &format!("https://localhost:{}", sidecar.public.port())]);
        command.env("TOKEN", member("ann", &["red"])["token"].as_str().unwrap());
        command.env("SSL_CERT_FILE", trusted.unwrap_or_else(|| "/dev/null".into()));
        async { tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap() }
    };
    let output = send(Some(pair.path("tls.crt"))).await;
    assert!(output.status.success(), "{output:?}");
    let output = send(None).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no TLS"), "{output:?}");
}
