//! From a certificate to the names in it.
