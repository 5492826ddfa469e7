//! TLS: whom to trust, and why somebody is not trusted.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dial::Dial;
use super::refused::Refused;
use super::secret::Named;
use crate::SourceError;

/// What a connection trusts, read anew for each.
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    host: String,
    /// What is trusted, as a phrase.
    trusted: String,
}

impl Trust {
    /// Reads whom the settings, or else the system, trust.
    pub(crate) fn read(dial: &Dial) -> Result<Self, SourceError> {
        let host = dial.address.host.clone();
        let unusable = |why: String| Refused::CertificateUnusable {
            host: host.clone(),
            why,
        };
        let (roots, trusted) = match dial.access.ca_file.as_deref() {
            Some(path) => {
                let file = Named { key: "ca_file", path };
                (of_file(file)?, format!("only those in {} are", path.display()))
            }
            None => (of_system(), "only the system's own are".to_owned()),
        };
        if roots.is_empty() {
            return Err(unusable(
                "this system trusts no CA at all. Install its certificates (on Debian: apt-get install \
                 ca-certificates), or name source.ca_file"
                    .to_owned(),
            )
            .into());
        }
        let name = ServerName::try_from(host.clone()).map_err(|_| {
            unusable("certificates know no host of such a name. Correct source.url".to_owned())
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let failed = |e: &dyn std::fmt::Display| unusable(e.to_string());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|e| failed(&e))?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(&e))?
            // No less is verified: the verifier asks the usual one, and only tells its reasons apart.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier(inner)))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            name,
            host,
            trusted,
        })
    }

    /// Agrees on encryption with the server and has it prove who it is.
    pub(crate) async fn connect(&self, dial: &Dial) -> Result<TlsStream<TcpStream>, SourceError> {
        let stream = dial.tcp().await?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        dial.step("agreeing on encryption", dial.bounds.handshake, async {
            let connected = connector.connect(self.name.clone(), stream).await;
            connected.map_err(|e| self.failure(dial, &e))
        })
        .await
    }

    /// The reason in an error of a connection: rustls' own lies within.
    pub(crate) fn failure(&self, dial: &Dial, error: &std::io::Error) -> SourceError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match inner {
            Some(Error::InvalidCertificate(error)) => self.refused(error).into(),
            Some(other) => Refused::HandshakeFailed {
                host: dial.address.authority(),
                why: other.to_string(),
                expected: "TLS 1.2 or 1.3",
            }
            .into(),
            None => dial.unreachable(error),
        }
    }

    fn refused(&self, error: &CertificateError) -> Refused {
        let host = self.host.clone();
        match error {
            CertificateError::Expired => Refused::CertificateExpired {
                host,
                why: "its last day is over".to_owned(),
            },
            CertificateError::ExpiredContext { not_after, .. } => Refused::CertificateExpired {
                host,
                why: format!("since {}", date(*not_after)),
            },
            CertificateError::NotValidYet => Refused::CertificateNotYetValid {
                host,
                why: "its first day has not come".to_owned(),
            },
            CertificateError::NotValidYetContext { not_before, .. } => Refused::CertificateNotYetValid {
                host,
                why: format!("it begins at {}", date(*not_before)),
            },
            CertificateError::NotValidForName => Refused::CertificateOfAnotherHost {
                host,
                names: vec!["others".to_owned()],
            },
            CertificateError::NotValidForNameContext { presented, .. } => {
                // Written for a program: DnsName("a.example"), IpAddress(…).
                let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
                let names: Vec<_> = presented.iter().take(10).map(bare).collect();
                let names = if names.is_empty() {
                    vec!["no name at all".to_owned()]
                } else {
                    names
                };
                Refused::CertificateOfAnotherHost { host, names }
            }
            // A CA of the same name with another key, as one that was made anew, is another CA.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Refused::CertificateUntrusted {
                    host,
                    trusted: self.trusted.clone(),
                }
            }
            CertificateError::Other(other) if other.0.is::<SelfSigned>() => {
                Refused::CertificateSelfSigned { host }
            }
            other => {
                let why = if other.to_string().contains("CaUsedAsEndEntity") {
                    "it is that of a CA, which signs others' and serves nobody. Give the server one of its own; one \
                     that signs itself is made with `openssl req -x509 -addext basicConstraints=critical,CA:FALSE`"
                        .to_owned()
                } else {
                    format!("{other}. Give the server another one")
                };
                Refused::CertificateUnusable { host, why }
            }
        }
    }
}

/// The certificates of a file of the settings.
fn of_file(file: Named<'_>) -> Result<RootCertStore, Refused> {
    let text = file.text()?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let added = certificate
            .map_err(|e| e.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|e| e.to_string()));
        added.map_err(|e| file.unusable(&format!("a certificate in it cannot be read ({e}). It should be in PEM, as -----BEGIN CERTIFICATE-----")))?;
    }
    if roots.is_empty() {
        return Err(file
            .unusable("there is no certificate in it. It should be in PEM, as -----BEGIN CERTIFICATE-----"));
    }
    Ok(roots)
}

/// The certificates that the system trusts; those that are no good are left out, as everybody does.
fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn date(time: UnixTime) -> String {
    let second = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(second).map_or_else(|_| "a day out of time".to_owned(), |at| at.to_string())
}

/// The certificate is signed by itself.
#[derive(Debug)]
struct SelfSigned;

impl std::fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the certificate is signed by itself")
    }
}

impl std::error::Error for SelfSigned {}

/// The usual verifier. Of those whose issuer is not known it tells apart those that issued themselves.
#[derive(Debug)]
struct Verifier(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self
            .0
            .verify_server_cert(end_entity, intermediates, name, ocsp, now);
        let unknown = matches!(
            verdict,
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
        );
        if unknown && signs_itself(end_entity, name, now) {
            let own = rustls::OtherError(Arc::new(SelfSigned));
            return Err(Error::InvalidCertificate(CertificateError::Other(own)));
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Whether somebody who trusts this certificate would find its issuer: then it is its own.
fn signs_itself(certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
    let mut roots = RootCertStore::empty();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    roots.add(certificate.clone().into_owned()).is_ok()
        && WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .is_ok_and(|verifier| {
                !matches!(
                    verifier.verify_server_cert(certificate, &[], name, &[], now),
                    Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
                )
            })
}
