//! TLS: certificate and key from files, read again on reload.
//!
//! rustls does the work. Connections keep the certificate that they began with; new ones
//! get the newest that could be read, so that a reload with a broken file changes nothing.

use lightning_ops::configuration::TlsSettings;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why TLS can't be spoken.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason} ({key})", path = .path.display())]
pub struct TlsError {
    path: PathBuf,
    reason: String,
    key: &'static str,
}

/// What is needed to speak TLS.
pub struct Tls {
    acceptor: RwLock<TlsAcceptor>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// Names the file at fault: not readable, nothing of that kind in it, a key that
    /// others can read, or one that doesn't fit the certificate.
    pub fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        Ok(Self {
            acceptor: RwLock::new(acceptor(settings)?),
        })
    }

    /// Reads certificate and key again, for new connections.
    ///
    /// # Errors
    /// As [`read`](Self::read); those in use stay.
    pub fn reload(&self, settings: &TlsSettings) -> Result<(), TlsError> {
        let acceptor = acceptor(settings)?;
        *self
            .acceptor
            .write()
            .unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    /// What new connections are taken in by.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn acceptor(settings: &TlsSettings) -> Result<TlsAcceptor, TlsError> {
    let refuse = |path: &Path, key: &'static str, reason: String| TlsError {
        path: path.to_owned(),
        reason,
        key,
    };
    let certificate =
        |reason: String| refuse(&settings.certificate_file, "security.tls_cert_file", reason);
    let key = |reason: String| refuse(&settings.key_file, "security.tls_key_file", reason);

    let pem = std::fs::read(&settings.certificate_file)
        .map_err(|error| certificate(error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| certificate(format!("not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(certificate("there is no certificate in it".to_owned()));
    }
    let pem = std::fs::read(&settings.key_file).map_err(|error| key(error.to_string()))?;
    if lightning_db::is_readable_by_others(&settings.key_file)
        .map_err(|error| key(error.to_string()))?
    {
        return Err(key(
            "everybody on this machine can read the key: chmod 640 it".to_owned(),
        ));
    }
    let private_key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| key(format!("there is no private key in it: {error}")))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| certificate(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .map_err(|error| key(format!("it doesn't fit the certificate: {error}")))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
