//! Certificates, made anew for each test.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A CA.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, as a server has it.
#[derive(Clone)]
pub struct Certified {
    certificate: String,
    key: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// As all of this: when no key can be made.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("it has no name that could be wrong");
        params
            .distinguished_name
            .push(DnType::CommonName, "A CA of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, key()).expect("a CA can be made"))
    }

    /// Its certificate in PEM: what `ca_file` holds.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these hosts.
    #[must_use]
    pub fn certify(&self, hosts: &[&str]) -> Certified {
        self.sign(&params(hosts))
    }

    /// The same from one year's beginning to another's.
    #[must_use]
    pub fn certify_between(&self, hosts: &[&str], years: (i32, i32)) -> Certified {
        let mut params = params(hosts);
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Certified {
        let key = key();
        let certificate = params.signed_by(&key, &self.0).expect("it can be signed");
        Certified {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Certified {
    /// A certificate that is signed by nobody but itself.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn by_itself(hosts: &[&str]) -> Self {
        let key = key();
        let certificate = params(hosts).self_signed(&key).expect("it can be signed");
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.certificate
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("it was just made")
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("it was just made")
    }
}

fn params(hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    CertificateParams::new(hosts).expect("a test's hosts have names")
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}
