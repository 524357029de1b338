//! One client's connection.
//!
//! # Protocol
//! What has come is run as far as its replies are taken: while more than a quarter of a
//! mebibyte of them waits, no further command is run. Requests are read on meanwhile, up
//! to the limit of what a client may have sent and not had run, since many clients send
//! a whole pipeline before they read the first reply. So the memory of a connection is
//! bounded by that limit, the soft one on replies, and the longest single reply, and
//! nobody waits for the other.
//!
//! A request whose begin has come must come whole within the time that a request may take,
//! and the time that its bytes take at a slow rate: who sends a byte now and then is let go
//! as well as who says nothing.
//!
//! A command that a pause holds back ([`crate::pause`]) waits with all that was sent behind
//! it, and no time runs out for its client.
//!
//! Buffers grow with what a client sends and are given up when it is silent, so that ten
//! thousand silent clients cost little.

use crate::batch::{self, Scratch};
use crate::client::{Client, Message, SharedClient};
use crate::protocol::{ProtocolError, ReplyWriter, RequestParser, Version};
use crate::server::Server;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// Replies that wait, in bytes, from which on no command is run.
const REPLY_BYTES_SOFT: usize = 256 * 1024;
/// The least and the most that is read at once.
const READ_BYTES_MIN: usize = 1024;
const READ_BYTES_MAX: usize = 256 * 1024;
/// What buffers may keep while there is nothing in them.
const KEPT_BYTES: usize = 16 * 1024;
/// How long, in steps, a client waits for others to need less memory.
const MEMORY_STEP: Duration = Duration::from_millis(20);
const MEMORY_STEPS_MIN: u64 = 50;
const MEMORY_STEPS_MORE: u64 = 200;
/// Bytes a second that a client sends of a long request at least.
const REQUEST_BYTES_PER_SECOND_MIN: u32 = 16 * 1024;
/// How long a client that is closed may take its last replies.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where a connection comes from and where it came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ends {
    /// The client's address; `None`: a Unix socket.
    pub client: Option<SocketAddr>,
    /// The address that it came to.
    pub local: Option<SocketAddr>,
}

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// The client went, or was let go.
    Left,
    /// The service ends.
    ShuttingDown,
    /// It said nothing for too long.
    Idle,
    /// It took too long to send a whole request.
    SlowRequest,
    /// It didn't prove who it is in time.
    NoLogin,
    /// It sent more than it may have waiting.
    TooMuchInput,
    /// It takes too little of its replies.
    TooMuchOutput,
    /// Clients' buffers take too much together, and it has more than its share.
    TooMuchMemory,
    /// What it sent can't be read.
    Protocol(ProtocolError),
    /// Another client ended it.
    Killed,
    /// The connection broke.
    Broken(std::io::Error),
}

struct Connection<R, W> {
    server: Arc<Server>,
    reader: R,
    writer: W,
    client: Client,
    messages: mpsc::Receiver<Message>,
    parser: RequestParser,
    scratch: Scratch,
    input: Vec<u8>,
    out: Vec<u8>,
    /// How much of `out` was sent.
    sent: usize,
    read_bytes: usize,
    /// The first command that was found and not run.
    next: usize,
    /// When the begin of a request came that isn't whole yet.
    unfinished_since: Option<Instant>,
    /// What its buffers take, as it was noted last.
    noted_bytes: usize,
    entry: Entry,
}

/// Serves a client until it leaves.
pub async fn serve<R, W>(server: Arc<Server>, reader: R, writer: W, ends: Ends)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (shared, messages) = server.clients().add(ends.client, ends.local);
    let user = server.user_of_strangers();
    if let Some(user) = &user {
        user.name().clone_into(&mut shared.labels().user);
    }
    let is_stranger = user.is_none();
    if is_stranger {
        server.clients().strangers.fetch_add(1, Ordering::Relaxed);
    }
    let entry = Entry {
        server: Arc::clone(&server),
        client: Arc::clone(&shared),
        is_stranger,
    };
    let mut connection = Connection {
        client: Client::new(shared, user),
        server,
        reader,
        writer,
        messages,
        parser: RequestParser::default(),
        scratch: Scratch::default(),
        input: Vec::new(),
        out: Vec::new(),
        sent: 0,
        read_bytes: READ_BYTES_MIN,
        next: 0,
        unfinished_since: None,
        noted_bytes: 0,
        entry,
    };
    let end = connection.run().await;
    connection.say_goodbye(&end).await;
    let Connection {
        server,
        client,
        noted_bytes,
        ..
    } = &mut connection;
    server.client_memory().note(*noted_bytes, 0);
    server.store().watches.unwatch(&mut client.watches);
}

/// Ends when a client has been patiently waited for, if that has an end. A timer is made
/// only where there is one, since this begins with each request.
async fn silence(patience: Option<(Duration, End)>) -> End {
    match patience {
        Some((patience, end)) => {
            tokio::time::sleep(patience).await;
            end
        }
        None => std::future::pending().await,
    }
}

/// A client's place in the list, given up however its connection ends.
struct Entry {
    server: Arc<Server>,
    client: Arc<SharedClient>,
    /// It is counted among those who haven't proved who they are.
    is_stranger: bool,
}

impl Entry {
    /// The client has proved who it is.
    fn note_login(&mut self) {
        if self.is_stranger {
            self.is_stranger = false;
            self.server
                .clients()
                .strangers
                .fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.note_login();
        self.server.clients().remove(self.client.id);
        self.server.end_tracking(self.client.id);
    }
}

impl<R, W> Connection<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    async fn run(&mut self) -> End {
        let mut shutdown = self.server.shutdown();
        loop {
            if let Err(end) = self.run_commands().await {
                return end;
            }
            if self.client.user.is_some() {
                self.entry.note_login();
            }
            if self.client.is_leaving {
                return End::Left;
            }
            if self.client.shared.is_killed.load(Ordering::Relaxed) {
                return End::Killed;
            }
            if *shutdown.borrow() {
                return End::ShuttingDown;
            }
            let waiting = self.out.len() - self.sent;
            if waiting > self.server.limits().output_bytes_max() {
                return End::TooMuchOutput;
            }
            let input_limit = self.server.limits().query_bytes_max();
            if self.input.len() >= input_limit {
                // Who is held back would be let go for what others do.
                if waiting == 0 && !self.is_held() {
                    return End::TooMuchInput;
                }
            } else {
                self.make_room();
            }
            self.note_memory();
            if self.server.client_memory().is_short(self.noted_bytes) {
                if self.makes_room_in_vain().await {
                    return End::TooMuchMemory;
                }
                // What it has sent meanwhile may have made room for commands.
                continue;
            }
            let patience = self.patience();
            let is_held = self.is_held();
            tokio::select! {
                biased;
                written = self.writer.write(&self.out[self.sent..]), if waiting > 0 => {
                    match written {
                        Ok(0) => return End::Left,
                        Ok(count) => self.note_sent(count),
                        Err(error) => return End::Broken(error),
                    }
                }
                read = self.reader.read_buf(&mut self.input), if self.input.len() < input_limit => {
                    match read {
                        Ok(0) => return End::Left,
                        Ok(count) => self.note_read(count),
                        Err(error) => return End::Broken(error),
                    }
                }
                Some(message) = self.messages.recv() => {
                    let bytes = message.bytes();
                    self.client.shared.message_bytes.fetch_sub(bytes, Ordering::Relaxed);
                    self.write_message(&message);
                }
                () = self.client.shared.wake.notified() => {}
                () = self.server.pause().ended(), if is_held => {}
                _ = shutdown.changed() => {}
                end = silence(patience) => return end,
            }
        }
    }

    /// How long the client is waited for from here on, if that has an end, and what it is
    /// then.
    fn patience(&self) -> Option<(Duration, End)> {
        if self.is_held() {
            // It is not the client that one waits for.
            return None;
        }
        let login = self.server.login_timeout(&self.client).map(|limit| {
            let left = limit.saturating_sub(self.client.shared.connected.elapsed());
            (left, End::NoLogin)
        });
        let idle = self.server.idle_timeout(&self.client);
        let idle = idle.map(|limit| (limit, End::Idle));
        let request = self.unfinished_since.and_then(|since| {
            let bytes = u32::try_from(self.input.len()).unwrap_or(u32::MAX);
            let for_bytes = Duration::from_secs((bytes / REQUEST_BYTES_PER_SECOND_MIN).into());
            let limit = self.server.limits().request_timeout()? + for_bytes;
            Some((limit.saturating_sub(since.elapsed()), End::SlowRequest))
        });
        let all = [login, idle, request].into_iter().flatten();
        all.min_by_key(|(left, _)| *left)
    }

    /// Runs what is whole, as far as its replies are taken.
    async fn run_commands(&mut self) -> Result<(), End> {
        if self.is_held() {
            if self.server.pause().held().is_some() {
                return Ok(());
            }
            self.set_held(false);
        }
        loop {
            let limits = self.server.request_limits(&self.client);
            let parsed = if self.next == 0 {
                self.parser.parse(&mut self.input, limits)
            } else {
                Ok(())
            };
            while self.next < self.parser.commands() {
                if self.out.len() >= REPLY_BYTES_SOFT {
                    // A batch looks at the whole buffer: what was sent is no part of it.
                    self.out.drain(..self.sent);
                    self.sent = 0;
                }
                if self.out.len() >= REPLY_BYTES_SOFT {
                    return Ok(());
                }
                // Who has replies to make lets others be done first, where memory is short.
                self.server.client_memory().wait().await;
                let ran = batch::run(
                    &self.server,
                    &mut self.client,
                    &self.parser,
                    &self.input,
                    self.next,
                    &mut self.out,
                    &mut self.scratch,
                )
                .await;
                self.next = ran.next;
                self.note_memory();
                let is_killed = self.client.shared.is_killed.load(Ordering::Relaxed);
                if self.client.is_leaving || is_killed {
                    return Ok(());
                }
                if ran.is_held {
                    self.set_held(true);
                    return Ok(());
                }
            }
            let found = self.parser.commands();
            let cut = self.parser.consume();
            self.input.drain(..cut);
            if cut > 0 {
                self.unfinished_since = None;
            }
            if self.input.len() < KEPT_BYTES && self.input.capacity() > READ_BYTES_MAX * 2 {
                // Room that a long value took.
                self.input.shrink_to(KEPT_BYTES);
            }
            self.next = 0;
            parsed.map_err(End::Protocol)?;
            if found == 0 {
                if !self.input.is_empty() && self.unfinished_since.is_none() {
                    self.unfinished_since = Some(Instant::now());
                }
                let shared = &self.client.shared;
                shared
                    .input_bytes
                    .store(self.input.len(), Ordering::Relaxed);
                shared
                    .output_bytes
                    .store(self.out.len() - self.sent, Ordering::Relaxed);
                return Ok(());
            }
        }
    }

    /// Whether a pause holds its next command back.
    fn is_held(&self) -> bool {
        self.client.shared.is_held.load(Ordering::Relaxed)
    }

    fn set_held(&self, is_held: bool) {
        self.client.shared.is_held.store(is_held, Ordering::Relaxed);
    }

    /// Notes what its buffers take.
    fn note_memory(&mut self) {
        let queued = self.client.queue.as_ref().map_or(0, |queue| queue.bytes);
        let messages = self.client.shared.message_bytes.load(Ordering::Relaxed);
        let now = self.input.capacity() + self.out.capacity() + queued + messages;
        if now != self.noted_bytes {
            self.server.client_memory().note(self.noted_bytes, now);
            self.noted_bytes = now;
        }
    }

    /// Reads nothing for a while, and sends what it has to send; answers whether clients
    /// still take too much then. Not all wait equally long, so that not all end at once.
    async fn makes_room_in_vain(&mut self) -> bool {
        let steps = MEMORY_STEPS_MIN + self.client.shared.id % MEMORY_STEPS_MORE;
        for _ in 0..steps {
            let rest = &self.out[self.sent..];
            if rest.is_empty() {
                tokio::time::sleep(MEMORY_STEP).await;
            } else {
                match tokio::time::timeout(MEMORY_STEP, self.writer.write(rest)).await {
                    Ok(Ok(count)) if count > 0 => self.note_sent(count),
                    // What is wrong is met again, and told, where it is written next.
                    Ok(_) => tokio::time::sleep(MEMORY_STEP).await,
                    Err(_) => {}
                }
                if self.out.is_empty() {
                    self.out = Vec::new();
                }
            }
            self.note_memory();
            if !self.server.client_memory().is_short(self.noted_bytes) {
                return false;
            }
        }
        true
    }

    fn make_room(&mut self) {
        if self.input.is_empty() && self.input.capacity() > KEPT_BYTES {
            self.input = Vec::new();
        }
        if self.out.is_empty() && self.out.capacity() > KEPT_BYTES {
            self.out = Vec::new();
        }
        let lacking = self.parser.lacking_bytes(&self.input).min(READ_BYTES_MAX);
        let wanted = self.read_bytes.max(lacking);
        if self.input.len() < READ_BYTES_MAX {
            self.input.reserve(wanted);
        } else {
            // Not twice as much: what is read at once may pass the limit of what a client
            // may send, and the memory counts.
            self.input.reserve_exact(wanted);
        }
    }

    fn note_read(&mut self, count: usize) {
        // Who fills the buffer gets a larger one, who doesn't a smaller one.
        if count >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if count < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
        let shared = &self.client.shared;
        shared.note_activity();
        shared
            .input_bytes
            .store(self.input.len(), Ordering::Relaxed);
        let bytes = u64::try_from(count).unwrap_or(u64::MAX);
        self.server
            .metrics()
            .input_bytes
            .fetch_add(bytes, Ordering::Relaxed);
    }

    fn note_sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        } else if self.sent >= REPLY_BYTES_SOFT {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        let bytes = u64::try_from(count).unwrap_or(u64::MAX);
        self.server
            .metrics()
            .output_bytes
            .fetch_add(bytes, Ordering::Relaxed);
    }

    fn write_message(&mut self, message: &Message) {
        let mut reply = ReplyWriter::new(&mut self.out, self.client.version);
        let (pattern, channel, payload) = match message {
            Message::Published {
                pattern,
                channel,
                payload,
            } => (pattern, channel, payload),
            Message::Monitored(line) => return reply.simple(line),
            Message::BrokenRedirection(other) => {
                reply.push(2);
                reply.bulk(b"tracking-redir-broken");
                return reply.integer(i64::try_from(*other).unwrap_or(i64::MAX));
            }
            Message::Invalidated {
                keys,
                is_redirected,
            } => {
                let listens = self.client.shared.subscriptions.load(Ordering::Relaxed) > 0;
                if self.client.version == Version::Resp3 {
                    reply.push(2);
                    reply.bulk(b"invalidate");
                } else if *is_redirected && listens {
                    reply.push(3);
                    reply.bulk(b"message");
                    reply.bulk(b"__redis__:invalidate");
                } else {
                    return;
                }
                let Some(keys) = keys else {
                    return reply.null();
                };
                reply.array(keys.len());
                for key in keys.iter() {
                    reply.bulk(key);
                }
                return;
            }
        };
        match pattern {
            Some(pattern) => {
                reply.push(4);
                reply.bulk(b"pmessage");
                reply.bulk(pattern);
            }
            None => {
                reply.push(3);
                reply.bulk(b"message");
            }
        }
        reply.bulk(channel);
        reply.bulk(payload);
    }

    /// Sends what is left, and why it ends where that is the client's doing.
    async fn say_goodbye(&mut self, end: &End) {
        let client = &self.client.shared;
        match end {
            End::Protocol(error) => {
                let mut reply = ReplyWriter::new(&mut self.out, Version::Resp2);
                reply.error(&format!("ERR Protocol error: {error}"));
                tracing::info!(client = client.id, reason = %error, "a client's request can't be read");
            }
            End::TooMuchInput => {
                tracing::warn!(
                    client = client.id,
                    "a client was closed: it sent more than limits.max_query_bytes at once"
                );
            }
            End::TooMuchOutput => {
                tracing::warn!(
                    client = client.id,
                    "a client was closed: more than limits.max_client_output_bytes of replies wait for it"
                );
                return;
            }
            End::TooMuchMemory => {
                let mut reply = ReplyWriter::new(&mut self.out, Version::Resp2);
                reply.error("ERR the clients' requests and replies take more memory than there is (database.max_memory_mb)");
                tracing::warn!(
                    client = client.id,
                    bytes = self.noted_bytes,
                    "a client was closed: clients take more memory together than database.max_memory_mb leaves them"
                );
            }
            End::Idle => {
                tracing::info!(
                    client = client.id,
                    "a client was closed: it sent nothing for limits.idle_timeout_sec"
                );
            }
            End::SlowRequest => {
                let mut reply = ReplyWriter::new(&mut self.out, Version::Resp2);
                reply.error("ERR the request took too long to come (limits.request_timeout_sec)");
                tracing::info!(
                    client = client.id,
                    "a client was closed: it began a request and didn't end it in limits.request_timeout_sec"
                );
            }
            End::NoLogin => {
                tracing::info!(client = client.id, "a client was closed: it didn't log in");
            }
            End::Killed => tracing::info!(client = client.id, "a client was closed by another"),
            End::Broken(error) => {
                tracing::debug!(client = client.id, %error, "a connection broke");
                return;
            }
            End::Left | End::ShuttingDown => {}
        }
        let rest = &self.out[self.sent..];
        let farewell = async {
            self.writer.write_all(rest).await?;
            self.writer.shutdown().await
        };
        // Who doesn't take it in time doesn't get it.
        let _outcome = tokio::time::timeout(FAREWELL, farewell).await;
    }
}
