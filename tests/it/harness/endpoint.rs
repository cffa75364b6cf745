//! A key endpoint (JWKS) that behaves as it is told and counts who comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use url::Url;

/// How the endpoint answers.
#[derive(Clone)]
pub enum Answer {
    /// 200 with this text.
    Body(String),
    /// The same, once a permit is there.
    Held(String, Arc<Semaphore>),
    /// A status without a text.
    Status(&'static str),
    /// A redirect.
    Redirect(Url),
    /// Chunks without end.
    Endless,
    /// Nothing at all, and the connection stays open.
    Silent,
    /// The connection is closed.
    Closed,
}

/// A key endpoint on a free port.
pub struct Endpoint {
    pub url: Url,
    answer: watch::Sender<Answer>,
    served: Arc<Served>,
    task: tokio::task::JoinHandle<()>,
}

/// What came and what went.
#[derive(Default)]
struct Served {
    requests: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    /// Bytes of endless answers that went out, and how many of those answers were cut off.
    endless: watch::Sender<(usize, usize)>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/jwks", listener.local_addr().unwrap())).unwrap();
        let (answer, answers) = watch::channel(answer);
        let served = Arc::<Served>::default();
        let serving = served.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, answers.clone(), serving.clone()));
            }
        });
        Endpoint { url, answer, served, task }
    }

    /// How many requests have come.
    pub fn requests(&self) -> usize {
        self.served.requests.load(Ordering::SeqCst)
    }

    /// How many requests were there at the same time, at most.
    pub fn most_at_once(&self) -> usize {
        self.served.most_at_once.load(Ordering::SeqCst)
    }

    /// From now on it answers like this.
    pub fn answers(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// Waits until an endless answer was cut off, and returns how many bytes of such had gone out.
    pub async fn cut_off(&self) -> usize {
        let mut endless = self.served.endless.subscribe();
        let (sent, _) = *endless.wait_for(|(_, cut_off)| *cut_off > 0).await.unwrap();
        sent
    }
}

async fn serve(mut stream: TcpStream, answers: watch::Receiver<Answer>, served: Arc<Served>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    served.requests.fetch_add(1, Ordering::SeqCst);
    let now = served.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    served.most_at_once.fetch_max(now, Ordering::SeqCst);
    let answer = answers.borrow().clone();
    // A client that has heard enough closes, which is what some tests want to see.
    let _ = write(&mut stream, answer, &served.endless).await;
    served.at_once.fetch_sub(1, Ordering::SeqCst);
}

async fn write(
    stream: &mut TcpStream,
    answer: Answer,
    endless: &watch::Sender<(usize, usize)>,
) -> std::io::Result<()> {
    let text = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    };
    match answer {
        Answer::Body(body) => stream.write_all(text("200 OK", &body).as_bytes()).await,
        Answer::Held(body, gate) => {
            gate.acquire().await.unwrap().forget();
            stream.write_all(text("200 OK", &body).as_bytes()).await
        }
        Answer::Status(status) => stream.write_all(text(status, "").as_bytes()).await,
        Answer::Redirect(to) => {
            let head = format!(
                "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await
        }
        Answer::Endless => {
            let mut written =
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
            while written.is_ok() {
                written = stream.write_all(chunk.as_bytes()).await;
                endless.send_modify(|(sent, _)| *sent += chunk.len());
            }
            endless.send_modify(|(_, cut_off)| *cut_off += 1);
            written
        }
        Answer::Silent => stream.read_u8().await.map(|_| ()),
        Answer::Closed => Ok(()),
    }
}
