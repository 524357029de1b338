//! What the service knows of one client.

use crate::access::User;
use crate::protocol::{OwnedArguments, Version};
use crate::store::WatchList;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};
use tokio::sync::Notify;
use tokio::sync::mpsc;

/// Messages that wait for a client that doesn't read them; one that has more is closed.
const MESSAGES_MAX: usize = 8192;

/// A transaction that a client is putting together.
#[derive(Debug, Default)]
pub struct Queue {
    /// The commands so far.
    pub commands: Vec<OwnedArguments>,
    /// A command was refused, so that `EXEC` will be.
    pub is_broken: bool,
    /// A command needs the writer.
    pub takes_writer: bool,
    /// A command is held back while writes are.
    pub has_writes: bool,
    /// Bytes of the commands' words.
    pub bytes: usize,
}

/// Which replies a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// None to this command and the next.
    SkipNext,
    /// None to this command.
    Skip,
}

/// How a client tracks what it reads: what its commands need to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracks {
    /// It is told of keys by their beginning, whether it has read them or not.
    pub is_broadcast: bool,
    /// Only what it reads behind `CLIENT CACHING YES` is tracked.
    pub is_opt_in: bool,
    /// What it reads behind `CLIENT CACHING NO` is not tracked.
    pub is_opt_out: bool,
}

/// What only the client's own commands see.
#[derive(Debug)]
pub struct Client {
    /// What others see.
    pub shared: Arc<SharedClient>,
    /// The database that its keys are in.
    pub database: usize,
    /// The version of the protocol.
    pub version: Version,
    /// The user, once it is proved.
    pub user: Option<Arc<User>>,
    /// The transaction under way.
    pub queue: Option<Queue>,
    /// The keys it watches.
    pub watches: WatchList,
    /// Which replies it wants.
    pub reply_mode: ReplyMode,
    /// It is to be closed when it has its replies.
    pub is_leaving: bool,
    /// How it tracks what it reads.
    pub tracks: Option<Tracks>,
    /// `CLIENT CACHING` was its last command, or stands in front of its transaction.
    pub is_caching: bool,
    /// Its last command, as the lists know it.
    last_command: &'static str,
}

/// What is known of a client in lists.
#[derive(Debug)]
pub struct SharedClient {
    /// Its number, from 1.
    pub id: u64,
    /// Where it comes from; `None`: a Unix socket.
    pub address: Option<SocketAddr>,
    /// Where it came to.
    pub local_address: Option<SocketAddr>,
    /// When it came.
    pub connected: Instant,
    /// The time of that.
    pub connected_at: SystemTime,
    /// Milliseconds from `connected` to its last command.
    pub active_ms: AtomicU64,
    /// The name it gave itself, and the library it says it is.
    pub labels: Mutex<Labels>,
    /// Its database.
    pub database: AtomicUsize,
    /// Whether it has a transaction under way, and how many commands are in it.
    pub queued: AtomicUsize,
    /// How many keys it watches.
    pub watched: AtomicUsize,
    /// Bytes of what it sent and wasn't run.
    pub input_bytes: AtomicUsize,
    /// Bytes of replies that it hasn't taken.
    pub output_bytes: AtomicUsize,
    /// Whether it speaks the third version of the protocol.
    pub is_third_version: AtomicBool,
    /// How many channels and patterns it has subscribed to.
    pub subscriptions: AtomicUsize,
    /// A pause holds its next command back.
    pub is_held: AtomicBool,
    /// It is to be closed.
    pub is_killed: AtomicBool,
    /// Wakes its connection to see that.
    pub wake: Notify,
    /// Messages for it.
    messages: mpsc::Sender<Message>,
    /// Bytes of those that it hasn't taken.
    pub message_bytes: AtomicUsize,
}

/// Words by which a client is known in lists.
#[derive(Debug, Default, Clone)]
pub struct Labels {
    /// Given by `CLIENT SETNAME`.
    pub name: String,
    /// Given by `CLIENT SETINFO LIB-NAME`.
    pub library_name: String,
    /// Given by `CLIENT SETINFO LIB-VER`.
    pub library_version: String,
    /// Its user.
    pub user: String,
    /// Its last command.
    pub last_command: &'static str,
}

/// What a client gets without having asked for it just now.
#[derive(Debug, Clone)]
pub enum Message {
    /// A message of a channel.
    Published {
        /// The pattern that led it here, where it was one.
        pattern: Option<Arc<[u8]>>,
        /// The channel it was sent to.
        channel: Arc<[u8]>,
        /// What was sent.
        payload: Arc<[u8]>,
    },
    /// A command that somebody has run.
    Monitored(Arc<str>),
    /// What is kept of these keys holds no more; `None`: of any.
    Invalidated {
        /// The keys.
        keys: Option<Arc<[Arc<[u8]>]>>,
        /// It is told in another's place.
        is_redirected: bool,
    },
    /// The client of this number is to be told in its place, and is gone.
    BrokenRedirection(u64),
}

impl Message {
    /// Bytes that it takes. What several clients get counts for each, as in Redis.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let text = match self {
            Self::Published {
                channel, payload, ..
            } => channel.len() + payload.len(),
            Self::Monitored(line) => line.len(),
            Self::Invalidated { keys, .. } => {
                let keys = keys.iter().flat_map(|keys| keys.iter());
                keys.map(|key| key.len() + size_of::<Arc<[u8]>>()).sum()
            }
            Self::BrokenRedirection(_) => 0,
        };
        size_of::<Self>() + text
    }
}

impl SharedClient {
    /// Sends it a message, unless more than so many bytes of them would wait; who has not
    /// taken its earlier ones is closed. Answers whether it was sent.
    fn send(&self, message: Message, bytes_max: usize) -> bool {
        let bytes = message.bytes();
        let before = self.message_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes <= bytes_max && self.messages.try_send(message).is_ok() {
            return true;
        }
        self.message_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.kill();
        false
    }

    /// The client's words.
    pub fn labels(&self) -> MutexGuard<'_, Labels> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it comes from, in words.
    #[must_use]
    pub fn address_text(&self) -> String {
        self.address
            .map_or_else(|| "unix:0".to_owned(), |address| address.to_string())
    }

    /// Bytes in its buffers.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        self.input_bytes.load(Ordering::Relaxed) + self.output_bytes.load(Ordering::Relaxed)
    }

    /// Closes its connection as soon as that can be.
    pub fn kill(&self) {
        self.is_killed.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// How long it has done nothing, in seconds.
    #[must_use]
    pub fn idle_seconds(&self) -> u64 {
        let active = u128::from(self.active_ms.load(Ordering::Relaxed));
        let idle = self.connected.elapsed().as_millis().saturating_sub(active);
        u64::try_from(idle / 1000).unwrap_or(u64::MAX)
    }

    /// Notes that it has sent something.
    pub fn note_activity(&self) {
        let elapsed = self.connected.elapsed().as_millis();
        self.active_ms.store(
            u64::try_from(elapsed).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }
}

/// All clients, and who has subscribed to what.
#[derive(Debug, Default)]
pub struct Clients {
    next: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<SharedClient>>>,
    channels: Mutex<Subscriptions>,
    /// Who is told of every command.
    monitors: Mutex<BTreeSet<u64>>,
    /// How many they are, so that commands cost nothing while there are none.
    monitor_count: AtomicUsize,
    /// Bytes of messages that may wait for a client.
    message_bytes_max: AtomicUsize,
    /// How many have come since the start.
    pub accepted: AtomicU64,
    /// How many were turned away.
    pub rejected: AtomicU64,
    /// How many are connected and haven't proved who they are.
    pub strangers: AtomicUsize,
}

/// Who listens to what.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// By channel.
    pub channels: BTreeMap<Arc<[u8]>, BTreeSet<u64>>,
    /// By pattern.
    pub patterns: BTreeMap<Arc<[u8]>, BTreeSet<u64>>,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<SharedClient>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets so many bytes of messages wait for each client.
    pub fn set_message_bytes_max(&self, bytes: usize) {
        self.message_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Sends a message to a client; answers whether it gets it.
    pub fn send(&self, client: &SharedClient, message: Message) -> bool {
        client.send(message, self.message_bytes_max.load(Ordering::Relaxed))
    }

    /// A client that has just come.
    pub fn add(
        &self,
        address: Option<SocketAddr>,
        local_address: Option<SocketAddr>,
    ) -> (Arc<SharedClient>, mpsc::Receiver<Message>) {
        let (messages, receiver) = mpsc::channel(MESSAGES_MAX);
        let client = Arc::new(SharedClient {
            id: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            address,
            local_address,
            connected: Instant::now(),
            connected_at: SystemTime::now(),
            active_ms: AtomicU64::new(0),
            labels: Mutex::default(),
            database: AtomicUsize::new(0),
            queued: AtomicUsize::new(usize::MAX),
            watched: AtomicUsize::new(0),
            input_bytes: AtomicUsize::new(0),
            output_bytes: AtomicUsize::new(0),
            is_third_version: AtomicBool::new(false),
            subscriptions: AtomicUsize::new(0),
            is_held: AtomicBool::new(false),
            is_killed: AtomicBool::new(false),
            wake: Notify::new(),
            messages,
            message_bytes: AtomicUsize::new(0),
        });
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(client.id, Arc::clone(&client));
        (client, receiver)
    }

    /// A client that has gone.
    pub fn remove(&self, id: u64) {
        let removed = self.lock().remove(&id);
        self.set_monitor(id, false);
        if let Some(client) =
            removed.filter(|client| client.subscriptions.load(Ordering::Relaxed) > 0)
        {
            self.unsubscribe_all(&client);
        }
    }

    /// All of them, in the order in which they came.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<SharedClient>> {
        self.lock().values().cloned().collect()
    }

    /// The client of this number.
    #[must_use]
    pub fn find(&self, id: u64) -> Option<Arc<SharedClient>> {
        self.lock().get(&id).cloned()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn monitors(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.monitors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a client is told of every command.
    #[must_use]
    pub fn is_monitor(&self, id: u64) -> bool {
        self.has_monitors() && self.monitors().contains(&id)
    }

    /// Tells a client of every command from here on, or no more.
    pub fn set_monitor(&self, id: u64, is_monitor: bool) {
        if !is_monitor && !self.has_monitors() {
            return;
        }
        let mut monitors = self.monitors();
        if is_monitor {
            monitors.insert(id);
        } else {
            monitors.remove(&id);
        }
        self.monitor_count.store(monitors.len(), Ordering::Relaxed);
    }

    /// Whether anybody is told of commands.
    #[must_use]
    pub fn has_monitors(&self) -> bool {
        self.monitor_count.load(Ordering::Relaxed) > 0
    }

    /// Tells those who want to know what was run. Who has not taken thousands of
    /// earlier lines is closed.
    pub fn tell_monitors(&self, line: &str) {
        let line: Arc<str> = line.into();
        let ids: Vec<u64> = self.monitors().iter().copied().collect();
        for client in ids.into_iter().filter_map(|id| self.find(id)) {
            self.send(&client, Message::Monitored(Arc::clone(&line)));
        }
    }

    /// Who has subscribed to what.
    pub fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To how many channels and patterns a client listens.
    #[must_use]
    pub fn subscriptions_of(&self, id: u64) -> usize {
        let subscriptions = self.subscriptions();
        let channels = subscriptions.channels.values();
        let all = channels.chain(subscriptions.patterns.values());
        all.filter(|clients| clients.contains(&id)).count()
    }

    /// The channels, or patterns, that a client listens to.
    #[must_use]
    pub fn names_of(&self, id: u64, by_pattern: bool) -> Vec<Arc<[u8]>> {
        let subscriptions = self.subscriptions();
        let listeners = if by_pattern {
            &subscriptions.patterns
        } else {
            &subscriptions.channels
        };
        let of_client = listeners
            .iter()
            .filter(|(_, clients)| clients.contains(&id));
        of_client.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// A client listens to a channel, or pattern, no more.
    pub fn leave(&self, id: u64, name: &[u8], by_pattern: bool) {
        let mut subscriptions = self.subscriptions();
        let listeners = if by_pattern {
            &mut subscriptions.patterns
        } else {
            &mut subscriptions.channels
        };
        if let Some(clients) = listeners.get_mut(name) {
            clients.remove(&id);
            if clients.is_empty() {
                listeners.remove(name);
            }
        }
    }

    /// A client listens to nothing any more.
    pub fn unsubscribe_all(&self, client: &SharedClient) {
        for by_pattern in [false, true] {
            for name in self.names_of(client.id, by_pattern) {
                self.leave(client.id, &name, by_pattern);
            }
        }
        client.subscriptions.store(0, Ordering::Relaxed);
    }

    /// Sends a message to all who have subscribed to its channel; answers how many.
    /// Who has not taken thousands of earlier ones is closed.
    pub fn publish(&self, channel: &[u8], payload: &[u8]) -> usize {
        let mut receivers: Vec<(u64, Option<Arc<[u8]>>)> = Vec::new();
        {
            let subscriptions = self.subscriptions();
            if let Some(clients) = subscriptions.channels.get(channel) {
                receivers.extend(clients.iter().map(|id| (*id, None)));
            }
            for (pattern, clients) in &subscriptions.patterns {
                if crate::glob::matches(pattern, channel) {
                    receivers.extend(clients.iter().map(|id| (*id, Some(Arc::clone(pattern)))));
                }
            }
        }
        if receivers.is_empty() {
            return 0;
        }
        let (channel, payload): (Arc<[u8]>, Arc<[u8]>) = (channel.into(), payload.into());
        let mut reached = 0;
        for (id, pattern) in receivers {
            let Some(client) = self.find(id) else {
                continue;
            };
            let message = Message::Published {
                pattern,
                channel: Arc::clone(&channel),
                payload: Arc::clone(&payload),
            };
            reached += usize::from(self.send(&client, message));
        }
        reached
    }
}

impl Client {
    /// A client that has just come.
    #[must_use]
    pub fn new(shared: Arc<SharedClient>, user: Option<Arc<User>>) -> Self {
        Self {
            shared,
            database: 0,
            version: Version::default(),
            user,
            queue: None,
            watches: WatchList::default(),
            reply_mode: ReplyMode::default(),
            is_leaving: false,
            tracks: None,
            is_caching: false,
            last_command: "",
        }
    }

    /// Notes its last command for lists.
    pub fn note_command(&mut self, name: &'static str) {
        if !std::ptr::eq(self.last_command, name) {
            self.last_command = name;
            self.shared.labels().last_command = name;
        }
    }

    /// Whether what its next command reads is to be tracked.
    #[must_use]
    pub fn tracks_reads(&self) -> bool {
        match self.tracks {
            Some(tracks) if tracks.is_broadcast => false,
            Some(tracks) if tracks.is_opt_in => self.is_caching,
            Some(tracks) if tracks.is_opt_out => !self.is_caching,
            Some(_) => true,
            None => false,
        }
    }

    /// Chooses the database.
    pub fn select(&mut self, database: usize) {
        self.database = database;
        self.shared.database.store(database, Ordering::Relaxed);
    }

    /// Notes for lists what changed.
    pub fn note_state(&self) {
        let queued = self
            .queue
            .as_ref()
            .map_or(usize::MAX, |queue| queue.commands.len());
        self.shared.queued.store(queued, Ordering::Relaxed);
        self.shared
            .watched
            .store(self.watches.len(), Ordering::Relaxed);
        self.shared
            .is_third_version
            .store(self.version == Version::Resp3, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_too_many_bytes_of_messages_waiting_is_closed() {
        let clients = Clients::default();
        clients.set_message_bytes_max(1000);
        let (client, mut messages) = clients.add(None, None);
        let listeners = [client.id].into();
        clients
            .subscriptions()
            .channels
            .insert(Arc::from(&b"c"[..]), listeners);
        assert_eq!(clients.publish(b"other", &[0; 2000]), 0);
        assert_eq!(clients.publish(b"c", &[0; 500]), 1);
        let waiting = client.message_bytes.load(Ordering::Relaxed);
        assert!(waiting > 500 && !client.is_killed.load(Ordering::Relaxed));
        assert_eq!(clients.publish(b"c", &[0; 500]), 0);
        assert!(client.is_killed.load(Ordering::Relaxed));
        assert_eq!(client.message_bytes.load(Ordering::Relaxed), waiting);
        assert_eq!(
            messages.try_recv().map(|message| message.bytes()),
            Ok(waiting)
        );
    }
}
