//! The service as its connections see it: the keyspace, the clients, the settings, the figures.

use crate::access::{Access, Denial, ReadAccess, User};
use crate::announcements::{Announcement, Announcements};
use crate::care::RoomGuard;
use crate::client::{Client, Clients, SharedClient};
use crate::client_memory::ClientMemory;
use crate::commands::{Command, Flags};
use crate::failure::{Failure, FailureKind};
use crate::limits::LiveLimits;
use crate::logging::SlowLines;
use crate::metrics::Metrics;
use crate::observe::{Baseline, Observations, shown};
use crate::pause::Pause;
use crate::protocol::{Arguments, RequestLimits, Version};
use crate::store::Store;
use crate::tls::Tls;
use crate::tracking::{Options, Tracking};
use lightning_ops::configuration::Loaded;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// All that connections share.
pub struct Server {
    store: Store,
    clients: Clients,
    settings: RwLock<Arc<Loaded>>,
    limits: LiveLimits,
    client_memory: ClientMemory,
    device_readers: tokio::sync::Semaphore,
    metrics: Metrics,
    observations: Observations,
    access: Access,
    tls: Option<Arc<Tls>>,
    /// When it was started.
    pub started: Instant,
    /// The time of that.
    pub started_at: SystemTime,
    /// The number by which this run of the service is known.
    pub run_id: String,
    random: AtomicU64,
    slow_lines: SlowLines,
    room: RoomGuard,
    pause: Pause,
    announcements: Announcements,
    tracking: Tracking,
    /// How many clients the process's limit of open files has room for.
    connections_room: AtomicU32,
    shutdown: tokio::sync::watch::Sender<bool>,
}

/// The longest string that Redis has; here the longest value that can be streamed may be less.
const STRING_BYTES_MAX: u64 = 512 << 20;

/// Threads that wait for the device for commands that only read. More of them would not
/// make it faster, and each takes memory of its own.
const DEVICE_READERS_MAX: usize = 8;

/// Descriptors besides one for each client: files, sockets, pipes.
pub(crate) const OWN_FILES: u64 = 64;

/// How long a client may take until it has proved who it is, where it has to.
const LOGIN: Duration = Duration::from_secs(30);

impl Server {
    /// A service on a keyspace.
    #[must_use]
    pub fn new(store: Store, access: Access, tls: Option<Arc<Tls>>, settings: Loaded) -> Self {
        let started_at = SystemTime::now();
        let seed = started_at
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(1, |since| since.as_nanos());
        let seed = u64::try_from(seed & u128::from(u64::MAX)).unwrap_or(1) | 1;
        let monitoring = &settings.configuration.monitoring;
        let client_memory = ClientMemory::new(
            settings.configuration.database.max_memory_bytes,
            store.database().statistics().engine.memory_bytes,
            settings.configuration.limits.connections_max,
        );
        let metrics = Metrics::default();
        metrics.measure(monitoring.metrics_enabled);
        let (shutdown, _) = tokio::sync::watch::channel(false);
        let server = Self {
            store,
            clients: Clients::default(),
            limits: LiveLimits::of(&settings.configuration),
            client_memory,
            device_readers: tokio::sync::Semaphore::new(DEVICE_READERS_MAX),
            settings: RwLock::new(Arc::new(settings)),
            metrics,
            observations: Observations::default(),
            access,
            tls,
            started: Instant::now(),
            started_at,
            run_id: String::new(),
            random: AtomicU64::new(seed),
            slow_lines: SlowLines::default(),
            room: RoomGuard::default(),
            pause: Pause::default(),
            announcements: Announcements::default(),
            tracking: Tracking::default(),
            connections_room: AtomicU32::new(u32::MAX),
            shutdown,
        };
        let run_id = (0..5)
            .map(|_| format!("{:08x}", server.random() >> 32))
            .collect();
        server.apply_settings();
        Self { run_id, ..server }
    }

    /// The keyspace.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The clients.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Whether the disk has room for more.
    pub fn room(&self) -> &RoomGuard {
        &self.room
    }

    /// Events on keys that are told.
    pub fn announcements(&self) -> &Announcements {
        &self.announcements
    }

    /// Who keeps what it has read.
    pub fn tracking(&self) -> &Tracking {
        &self.tracking
    }

    /// A client tracks from here on: called with the writer held.
    pub fn begin_tracking(&self, id: u64, options: Options) {
        self.tracking.enable(id, options, &self.client_memory);
    }

    /// A client tracks nothing any more.
    pub fn end_tracking(&self, id: u64) {
        self.tracking.disable(id, &self.client_memory);
    }

    /// Keeps what is to be told of a commit until it is durable: called with the writer
    /// held.
    pub fn announce(&self, sequence: u64, announcement: Announcement) {
        if !announcement.is_empty() {
            self.announcements
                .put(sequence, announcement, &self.client_memory);
        }
    }

    /// Tells what was to be told of commits up to this one where they are durable, and
    /// forgets it where they failed.
    pub fn tell_outcome(&self, sequence: u64, is_durable: bool) {
        if is_durable {
            let (clients, memory) = (&self.clients, &self.client_memory);
            self.announcements
                .tell(sequence, clients, &self.tracking, memory);
        } else {
            self.announcements.forget(sequence, &self.client_memory);
        }
    }

    /// What holds commands back.
    pub fn pause(&self) -> &Pause {
        &self.pause
    }

    /// The figures.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What is remembered of what it did.
    pub fn observations(&self) -> &Observations {
        &self.observations
    }

    /// The lines of the log about what was slow.
    pub fn slow_lines(&self) -> &SlowLines {
        &self.slow_lines
    }

    /// Counts from here on: see [`crate::observe`].
    pub fn reset_statistics(&self) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.metrics.by_command().reset();
        self.observations.errors.reset();
        self.observations.set_baseline(Baseline {
            accepted: count(&self.clients.accepted),
            rejected: count(&self.clients.rejected),
            commands: self.metrics.commands(),
            expired: count(&self.metrics.expired),
            input_bytes: count(&self.metrics.input_bytes),
            output_bytes: count(&self.metrics.output_bytes),
        });
    }

    /// The settings as they are now.
    #[must_use]
    pub fn settings(&self) -> Arc<Loaded> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Other settings, from here on.
    pub fn set_settings(&self, settings: Loaded) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.apply_settings();
    }

    /// Hands settings on to those who look at them too often to ask each time.
    fn apply_settings(&self) {
        let settings = self.settings();
        crate::engine::apply(self.store.database(), &settings.configuration);
        self.limits.set(&settings.configuration);
        self.tracking.set_keys_max(
            self.limits.tracked_keys_max(),
            &self.clients,
            &self.client_memory,
        );
        self.clients
            .set_message_bytes_max(self.limits.output_bytes_max());
        let monitoring = &settings.configuration.monitoring;
        self.announcements
            .set_classes(monitoring.notify_keyspace_events);
        self.slow_lines.set_threshold(monitoring.slowlog_threshold);
        self.observations.set_thresholds(
            monitoring.slowlog_threshold,
            monitoring.latency_monitor_threshold,
        );
    }

    /// The longest value, in bytes.
    #[must_use]
    pub fn string_bytes_max(&self) -> u64 {
        let limits = self.store.limits();
        let value = u64::try_from(limits.value_bytes_max).unwrap_or(u64::MAX);
        limits.streamed_bytes_max.max(value).min(STRING_BYTES_MAX)
    }

    /// Who reads from the device holds one of its permits.
    pub fn device_readers(&self) -> &tokio::sync::Semaphore {
        &self.device_readers
    }

    /// What clients' buffers take and may take.
    #[must_use]
    pub fn client_memory(&self) -> &ClientMemory {
        &self.client_memory
    }

    /// How long a request may take, and more that is asked for often.
    #[must_use]
    pub fn limits(&self) -> &LiveLimits {
        &self.limits
    }

    /// How long this client may say nothing; one that listens to channels as long as it likes.
    #[must_use]
    pub fn idle_timeout(&self, client: &Client) -> Option<Duration> {
        let timeout = self.limits.idle_timeout();
        timeout.filter(|_| client.shared.subscriptions.load(Ordering::Relaxed) == 0)
    }

    /// Whether one more client can be taken in.
    ///
    /// # Errors
    /// What it is told if not.
    pub fn admit(&self, client: SocketAddr) -> Result<(), &'static str> {
        let settings = self.settings();
        let limits = &settings.configuration.limits;
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        if self.clients.count() >= count(self.connections_max()) {
            return Err("-ERR max number of clients reached\r\n");
        }
        if self.user_of_strangers().is_none() {
            let strangers = self.clients.strangers.load(Ordering::Relaxed);
            if strangers >= count(limits.unauthenticated_connections_max) {
                return Err("-ERR max number of clients that have not logged in reached\r\n");
            }
        }
        if let Some(most) = limits.connections_per_address_max {
            let ip = client.ip();
            let of_address =
                |other: &Arc<SharedClient>| other.address.is_some_and(|address| address.ip() == ip);
            if self
                .clients
                .list()
                .iter()
                .filter(|other| of_address(other))
                .count()
                >= count(most)
            {
                return Err("-ERR max number of clients of one address reached\r\n");
            }
        }
        Ok(())
    }

    /// How many clients may be connected: as many as is set, and no more than there are
    /// descriptors for. Past those no client could even be told that it is refused, and the
    /// engine couldn't make a segment of its log.
    #[must_use]
    pub fn connections_max(&self) -> u32 {
        let set = self.settings().configuration.limits.connections_max;
        set.min(self.connections_room.load(Ordering::Relaxed))
    }

    /// Tells how many files this process may open, clients included; answers whether that
    /// is enough for as many clients as are set.
    pub fn set_files_max(&self, files_max: u64) -> bool {
        let room = u32::try_from(files_max.saturating_sub(OWN_FILES)).unwrap_or(u32::MAX);
        self.connections_room.store(room.max(1), Ordering::Relaxed);
        self.settings().configuration.limits.connections_max <= room
    }

    /// How TLS is spoken, where it is.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.as_ref()
    }

    /// Others may come in from here on; who is in stays, unless there is no such user any
    /// more.
    pub fn set_access(&self, read: ReadAccess) {
        for gone in self.access.replace(read) {
            self.end_clients_of(gone.name(), |_| true);
        }
    }

    /// The users.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Ends those connections of a user that `applies` to.
    pub fn end_clients_of(&self, user: &str, applies: impl Fn(&SharedClient) -> bool) {
        for client in self.clients.list() {
            if client.labels().user == user && applies(&client) {
                client.kill();
                self.clients.remove(client.id);
            }
        }
    }

    /// How long a client may take until it has proved who it is.
    #[must_use]
    pub fn login_timeout(&self, client: &Client) -> Option<Duration> {
        client.user.is_none().then_some(LOGIN)
    }

    /// The user that everybody is who has proved nothing; `None`: a password is asked for.
    #[must_use]
    pub fn user_of_strangers(&self) -> Option<Arc<User>> {
        self.access.user_of_strangers()
    }

    /// The user that name and password prove: see [`Access::log_in`].
    ///
    /// # Errors
    /// What the client is told.
    pub fn log_in(
        &self,
        client: &Client,
        user: &[u8],
        password: &[u8],
        is_short: bool,
    ) -> Result<Arc<User>, Failure> {
        let outcome = self.access.log_in(user, password, is_short);
        if outcome.is_err() {
            let name = String::from_utf8_lossy(user);
            // AUTH or HELLO.
            let object = client.shared.labels().last_command;
            self.note_denial(client, "auth", object.as_bytes(), &name);
        }
        outcome
    }

    fn note_denial(&self, client: &Client, reason: &'static str, object: &[u8], user: &str) {
        let is_multi = client.queue.is_some();
        let context = if is_multi { "multi" } else { "toplevel" };
        let line = crate::commands::client_line(self, &client.shared);
        self.access
            .denials
            .note(reason, context, object, user, line);
    }

    /// Whether the client's user may run the command with these words; notes it if not.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn check_access(
        &self,
        client: &Client,
        command: &Command,
        arguments: Arguments<'_>,
    ) -> Result<(), Denial> {
        let Some(user) = &client.user else {
            return Ok(());
        };
        user.check(command, arguments).inspect_err(|denial| {
            let (reason, object) = match denial {
                Denial::Command => ("command", command.name.as_bytes()),
                Denial::Key(place) => ("key", arguments.at(*place)),
                Denial::Channel(place) => ("channel", arguments.at(*place)),
            };
            self.note_denial(client, reason, object, user.name());
        })
    }

    /// Closes the database, when nobody else has a part in it any more.
    ///
    /// # Errors
    /// A failed device.
    pub fn close(self) -> lightning_db::Result<()> {
        self.store.into_database().close()
    }

    /// What requests of this client may be like.
    #[must_use]
    pub fn request_limits(&self, client: &Client) -> RequestLimits {
        RequestLimits {
            argument_bytes_max: self.string_bytes_max(),
            is_authenticated: client.user.is_some(),
        }
    }

    /// Whether the client may run the command.
    ///
    /// # Errors
    /// What it is told if not.
    pub fn may_run(
        &self,
        client: &Client,
        command: &Command,
        arguments: Arguments<'_>,
    ) -> Result<(), Failure> {
        if client.user.is_none() && !command.flags.has(Flags::NO_AUTH) {
            return Err(Failure::reply("NOAUTH Authentication required."));
        }
        if let Err(denial) = self.check_access(client, command, arguments) {
            let one_of = |what: &str| {
                format!(
                    "NOPERM this user has no permissions to access one of the {what} used as arguments"
                )
            };
            return Err(Failure::reply(match denial {
                Denial::Command => format!(
                    "NOPERM this user has no permissions to run the '{}' command",
                    command.name
                ),
                Denial::Key(_) => one_of("keys"),
                Denial::Channel(_) => one_of("channels"),
            }));
        }
        let listens = client.shared.subscriptions.load(Ordering::Relaxed) > 0;
        let may_listen = || {
            command.flags.has(Flags::PUBSUB) && command.name != "publish"
                || matches!(command.name, "ping" | "quit" | "reset")
        };
        if listens && client.version == Version::Resp2 && !may_listen() {
            return Err(Failure::reply(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                command.name
            )));
        }
        if command.flags.has(Flags::DENY_OOM) {
            self.room.check()?;
        }
        Ok(())
    }

    /// Counts what failed.
    pub fn note_failure(&self, failure: &Failure) {
        let kind = failure.kind();
        self.metrics.note_failure(kind);
        self.observations.errors.note(&failure.message());
        match kind {
            FailureKind::Refused => {}
            FailureKind::Transaction => {
                tracing::warn!(reason = %failure.log_words(), "a command failed");
            }
            FailureKind::Io | FailureKind::Corruption => {
                tracing::error!(reason = %failure.log_words(), "a command failed");
            }
        }
    }

    /// Notes a command that was run where it was slow, and tells those who want to know of
    /// every one.
    pub fn note_command(
        &self,
        client: &Client,
        command: &'static Command,
        arguments: Arguments<'_>,
        took: Duration,
    ) {
        self.slow_lines.note(client, command, took);
        let is_fast = command.flags.has(Flags::FAST);
        let event = if is_fast { "fast-command" } else { "command" };
        self.observations.note_event(event, took);
        if command.name != "exec" && self.observations.is_slow(took) {
            let monitoring = &self.settings().configuration.monitoring;
            let length_max = usize::try_from(monitoring.slowlog_length_max).unwrap_or(usize::MAX);
            let name = client.shared.labels().name.clone();
            let address = client.shared.address_text();
            self.observations
                .slow
                .note(command, arguments, took, address, name, length_max);
        }
        if self.clients.has_monitors() && !command.flags.has(Flags::UNNOTED) {
            self.tell_monitors(client, command, arguments);
        }
    }

    fn tell_monitors(&self, client: &Client, command: &Command, arguments: Arguments<'_>) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        let mut line = format!(
            "{}.{:06} [{} {}]",
            since.as_secs(),
            since.subsec_micros(),
            client.database,
            client.shared.address_text()
        );
        for word in shown(command, arguments) {
            line.push_str(" \"");
            line.push_str(&word.escape_ascii().to_string());
            line.push('"');
        }
        self.clients.tell_monitors(&line);
    }

    /// Counts a command that was refused before it ran.
    pub fn note_refusal(&self, arguments: Arguments<'_>, failure: &Failure) {
        self.metrics.note_refusal();
        self.observations.errors.note(&failure.message());
        if let Some(command) = crate::commands::named(arguments) {
            self.metrics.by_command().note_refusal(command);
        }
    }

    /// A random number, not fit for secrets.
    #[must_use]
    pub fn random(&self) -> u64 {
        let state = self
            .random
            .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A random number from `low` to `high`, both included.
    #[must_use]
    pub fn random_between(&self, low: u64, high: u64) -> u64 {
        match high.saturating_sub(low).checked_add(1) {
            Some(count) => low + self.random() % count,
            None => self.random(),
        }
    }

    /// Ends the service: connections finish what they are at.
    pub fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    /// Becomes true when the service is to end.
    pub fn shutdown(&self) -> tokio::sync::watch::Receiver<bool> {
        self.shutdown.subscribe()
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Server")
            .field("store", &self.store)
            .field("run_id", &self.run_id)
            .finish_non_exhaustive()
    }
}
