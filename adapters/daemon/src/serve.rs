//! `s2sd serve`: one server with what the configuration says, until a signal ends it.

use std::path::Path;

use smol::future::or;

use crate::certificates;
use crate::config;
use crate::failure::Failure;
use crate::log::{self, Record};
use crate::server::Server;
use crate::signals::Signals;
use crate::trust;

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve(file: &Path) -> Result<(), Failure> {
    let settings = config::load(file)?;
    log::install(settings.log_format);
    let identities = certificates::load(&settings)?;
    let authorities = trust::load(&settings)?;
    for warning in settings.warnings.iter().chain(&identities.warnings).chain(&authorities.warnings) {
        tracing::warn!(event = "configuration", "{warning}");
    }
    let server = Server::bind(&settings, identities.identities, &authorities.certificates)?;
    let signals = Signals::register().map_err(Failure::runtime("signals cannot be received"))?;
    eprintln!("s2sd ready {}", server.bound());

    let closed = smol::block_on(server.run(|record: Record| record.write(), async {
        or(signals.end(), refuse_to_reload(&signals)).await;
        tracing::info!(event = "shutdown", "closing all streams");
    }));
    if !closed {
        tracing::warn!(event = "shutdown", "some streams did not close in time");
    }
    Ok(())
}

async fn refuse_to_reload(signals: &Signals) {
    loop {
        signals.reload().await;
        tracing::warn!(event = "reload", "reload is not in this version");
    }
}
