//! Another policy while it runs: what live sockets notice, what keeps an old policy in force, and who may ask for it.

mod live;
mod load;
mod triggers;

use std::path::PathBuf;
use std::sync::Arc;

use flowgate::edition::Reloaded;
use flowgate::reload::{Reloader, Trigger};

use crate::harness::{BASE, Sidecar, write_settings};

/// A sidecar with settings above the tests' own that can be written anew. It is reloaded when a test says so.
struct Scene {
    sidecar: Sidecar,
    reloader: Arc<Reloader>,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn with(settings: &str) -> Self {
        Self::with_files(settings, &[]).await
    }

    /// With further files beside its settings.
    async fn with_files(settings: &str, files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let paths = write_settings(folder.path(), &[BASE, "[reload]\nwatch = false", settings]);
        let (sidecar, reloader) = Sidecar::reloading(paths).await;
        Scene { sidecar, reloader, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Reads the settings as they are.
    async fn reload(&self) -> Reloaded {
        self.reloader.reload(Trigger::Embedder).await
    }

    /// Takes other settings in. Returns the keys that have changed, and how many sockets may not stay.
    async fn change(&self, settings: &str) -> (Vec<String>, usize) {
        self.write("2.toml", settings);
        match self.reload().await {
            Reloaded::Applied { changes, closed, .. } => {
                (changes.iter().map(ToString::to_string).collect(), closed)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Tries other settings, which are refused: the keys and what is said of them.
    async fn refused(&self, settings: &str) -> String {
        self.write("2.toml", settings);
        match self.reload().await {
            Reloaded::Refused { problems, .. } => {
                problems.iter().map(|problem| format!("{problem}\n")).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn reloads(outcome: &str) -> String {
    format!("flowgate_policy_reloads_total{{outcome=\"{outcome}\"}}")
}
