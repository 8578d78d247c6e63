//! stub
/// stub
#[derive(Debug)]
pub struct RustlsProvider;
/// stub
#[derive(Debug)]
pub struct HostIdentity;
