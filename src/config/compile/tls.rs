//! `[server.tls]`: a certificate and its key, or neither.

use std::time::SystemTime;

use super::Report;
use crate::config::certificate::{Certificate, CertificateError, Which, read_pair};
use crate::config::key_path::KeyPath;
use crate::config::policy::Tls;
use crate::config::raw;

/// `Some(None)` where TLS is not asked for, `None` where it cannot be had.
pub(super) fn compile(raw: &raw::Tls, at: &KeyPath, report: &mut Report<'_>) -> Option<Option<Tls>> {
    let places = Places { certificate: at.key("certificate_file"), key: at.key("key_file") };
    let (certificate_file, key_file) = match (&raw.certificate_file, &raw.key_file) {
        (None, None) => return Some(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => {
            report.missing(&places.certificate, "a certificate without its key", "write key_file beside it");
            return None;
        }
        (None, Some(_)) => {
            report.missing(&places.key, "a key without its certificate", "write certificate_file beside it");
            return None;
        }
    };
    let certificate_file = report.folder(&places.certificate).join(certificate_file);
    let key_file = report.folder(&places.key).join(key_file);
    if report.context.without_keys && !(certificate_file.exists() && key_file.exists()) {
        return Some(None);
    }
    let read = read_pair(&certificate_file, &key_file).and_then(|(certificate, key)| {
        Certificate::from_pem(&certificate, &key).map_err(|error| vec![error])
    });
    match read {
        Ok(certificate) => {
            if let Some(found) = certificate.out_of_date(SystemTime::now()) {
                let mend = "renew it; clients that check will refuse to connect";
                report.warn(&places.certificate, format!("this certificate {found}"), mend);
            }
            Some(Some(Tls { certificate_file, key_file, certificate }))
        }
        Err(errors) => {
            errors.into_iter().for_each(|error| places.refuse(error, report));
            None
        }
    }
}

struct Places {
    certificate: KeyPath,
    key: KeyPath,
}

impl Places {
    fn refuse(&self, error: CertificateError, report: &mut Report<'_>) {
        let at = match error.file {
            Which::Certificate => &self.certificate,
            Which::Key => &self.key,
        };
        report.refuse(at, error.found, error.mend);
    }
}
