//! What stands in PEM files, and what to do about one that is of no use.

use std::io;
use std::path::Path;

use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::config::cause;

/// Characters of a damaged line that are repeated.
const SHOWN_CHARACTERS: usize = 60;

/// That a file cannot be read.
pub(crate) fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {}", cause(error.kind()))
}

/// All certificates in the content of a file. There may be none.
pub(crate) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    certificates.map_err(|error| damage(&error))
}

/// That there is no certificate in the content of the file `path`.
pub(crate) fn no_certificate(path: &Path, bytes: &[u8]) -> String {
    if is_der(bytes) {
        let shown = path.display();
        format!("it is not PEM, but DER: openssl x509 -inform der -in {shown} -out NEW makes it PEM")
    } else {
        "there is no certificate in it: one in PEM begins with -----BEGIN CERTIFICATE-----".to_owned()
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
        Err(Error::NoItemsFound) => {
            Err("there is no private key in it: one in PEM begins with -----BEGIN PRIVATE KEY-----".to_owned())
        }
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
        Ok(lists) if lists.is_empty() => {
            Err("there is no revocation list in it: one in PEM begins with -----BEGIN X509 CRL-----".to_owned())
        }
        Ok(lists) => Ok(lists),
        Err(error) => Err(damage(&error)),
    }
}

/// Whether the content begins with the tag of a sequence, as no PEM does.
fn is_der(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30)
}

/// Whether there is an encrypted private key in it, in either of the two forms.
fn is_encrypted(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// What is wrong with a file in which something begins.
fn damage(error: &Error) -> String {
    let shown = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.chars().take(SHOWN_CHARACTERS).flat_map(char::escape_debug).collect::<String>()
    };
    match error {
        Error::MissingSectionEnd { end_marker } => {
            format!("it is cut off: the line -----END {}----- is missing", shown(end_marker))
        }
        Error::IllegalSectionStart { line } => format!("a line in it does not end with -----: {}", shown(line)),
        Error::Base64Decode(_) => "it is damaged: what stands between the lines of dashes is not base64".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        private_key(Path::new("m.key"), text.as_bytes()).expect_err(text)
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
            ("0\u{1}", "but DER: openssl pkey -inform der -in m.key -out NEW makes it PEM"),
            ("-----BEGIN PRIVATE KEY-----\nMIIB\n", "it is cut off: the line -----END PRIVATE KEY----- is missing"),
            ("-----BEGIN PRIVATE KEY-----\nMI:B\n-----END PRIVATE KEY-----\n", "it is damaged: what stands between"),
            ("-----BEGIN PRIVATE KEY\nMIIB\n", "a line in it does not end with -----: -----BEGIN PRIVATE KEY"),
        ] {
            let told = key(text);
            assert!(told.contains(expected), "{told}");
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
