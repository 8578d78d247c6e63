//! What stands in PEM files, and what to do about one that is of no use.

use std::io;
use std::path::Path;

use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::config::cause;

/// The message for a file that cannot be read.
pub(crate) fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {}", cause(error.kind()))
}

/// All certificates in the content of a file. There may be none.
pub(crate) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    certificates.map_err(|error| damage(&error))
}

/// The message for the file `path`, in whose content there is no certificate.
pub(crate) fn no_certificate(path: &Path, bytes: &[u8]) -> String {
    if is_der(bytes) {
        let shown = path.display();
        format!("it is not PEM, but DER: openssl x509 -inform der -in {shown} -out NEW makes it PEM")
    } else {
        absent("certificate", "CERTIFICATE")
    }
}

/// The first private key in the content of the file `path`.
pub(crate) fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let shown = path.display();
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => Ok(key),
        Err(_) if is_encrypted(bytes) => Err(format!(
            "the private key is encrypted, and s2sd asks nobody for its pass phrase: openssl pkey -in {shown} -out NEW \
             decrypts it; let nobody else read what that writes, and put it in its place"
        )),
        Err(_) if is_der(bytes) => {
            Err(format!("it is not PEM, but DER: openssl pkey -inform der -in {shown} -out NEW makes it PEM"))
        }
        Err(Error::NoItemsFound) => Err(absent("private key", "PRIVATE KEY")),
        Err(error) => Err(damage(&error)),
    }
}

/// The revocation lists in the content of a file, as DER: several in PEM, or one in DER.
pub(crate) fn revocation_lists(bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, String> {
    if is_der(&bytes) {
        return Ok(vec![bytes]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes);
    let lists = lists.map(|list| list.map(|list| list.as_ref().to_vec())).collect::<Result<Vec<_>, _>>();
    match lists {
        Ok(lists) if lists.is_empty() => Err(absent("revocation list", "X509 CRL")),
        Ok(lists) => Ok(lists),
        Err(error) => Err(damage(&error)),
    }
}

fn absent(what: &str, label: &str) -> String {
    format!("there is no {what} in it: one in PEM begins with -----BEGIN {label}-----")
}

/// Whether it is DER: it begins with the tag of a SEQUENCE. That is also the digit 0, with which the text before PEM may
/// begin, so it must not be text.
fn is_der(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30) && std::str::from_utf8(bytes).is_err()
}

/// Whether there is an encrypted private key in it, in either of the two forms.
fn is_encrypted(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// What is wrong with a file in which something begins. It may be a private key: where line breaks are lost, that stands
/// in the line with the dashes, and is not repeated.
fn damage(error: &Error) -> String {
    match error {
        Error::MissingSectionEnd { .. } => {
            "it is cut off, or its line breaks are lost: the line that begins with -----END is missing".to_owned()
        }
        Error::IllegalSectionStart { .. } => {
            "a line in it begins with -----BEGIN and does not end with -----; are its line breaks lost?".to_owned()
        }
        Error::Base64Decode(_) => "it is damaged: what stands between the lines of dashes is not base64".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(content: impl AsRef<[u8]>) -> String {
        private_key(Path::new("m.key"), content.as_ref()).expect_err("no key")
    }

    #[test]
    fn a_private_key_that_is_encrypted_is_told_from_one_that_is_damaged_and_how_to_decrypt_it() {
        let pkcs8 = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMIIB\n\
                           -----END RSA PRIVATE KEY-----\n";
        for text in [pkcs8, traditional] {
            let told = key(text);
            assert!(told.starts_with("the private key is encrypted"), "{told}");
            assert!(told.contains("openssl pkey -in m.key -out NEW decrypts it"), "{told}");
        }
        for (text, expected) in [
            ("", "there is no private key in it: one in PEM begins with -----BEGIN PRIVATE KEY-----"),
            ("0 is no DER", "there is no private key in it: one in PEM begins with -----BEGIN PRIVATE KEY-----"),
            (
                "-----BEGIN PRIVATE KEY-----\nMIIB\n",
                "it is cut off, or its line breaks are lost: the line that begins with -----END is missing",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMI:B\n-----END PRIVATE KEY-----\n", "it is damaged: what stands between"),
            ("-----BEGIN PRIVATE KEY\nMIIB\n", "begins with -----BEGIN and does not end with -----; are its line br"),
        ] {
            let told = key(text);
            assert!(told.contains(expected), "{told}");
        }
        let told = key([0x30, 0x82]);
        assert!(told.contains("but DER: openssl pkey -inform der -in m.key -out NEW makes it PEM"), "{told}");
    }

    #[test]
    fn a_private_key_whose_line_breaks_are_lost_is_told_to_nobody() {
        let key_of_one_line = "-----BEGIN EC PRIVATE KEY----- MHcCAQEEIL -----END EC PRIVATE KEY-----";
        for text in [key_of_one_line, &key_of_one_line.replace(' ', "\\n"), &key_of_one_line.replace("----- M", "M")] {
            let told = key(text);
            assert!(!told.contains("MHcC"), "{told}");
        }
    }

    #[test]
    fn what_holds_no_certificate_or_list_is_told_what_it_should_begin_with() {
        let path = Path::new("ca.der");
        assert_eq!(certificates(b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n"), Ok(Vec::new()));
        assert!(no_certificate(path, b"text").ends_with("begins with -----BEGIN CERTIFICATE-----"));
        let remedy = "openssl x509 -inform der -in ca.der -out NEW makes it PEM";
        assert!(no_certificate(path, &[0x30, 0x82]).ends_with(remedy));
        let told = revocation_lists(b"text".to_vec()).expect_err("no list");
        assert!(told.ends_with("begins with -----BEGIN X509 CRL-----"), "{told}");
        assert_eq!(revocation_lists(vec![0x30, 0x82]), Ok(vec![vec![0x30, 0x82]]));
    }
}
