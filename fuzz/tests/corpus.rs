//! Replays the corpus: what a fuzzer once found interesting, and every input that ever broke a target, as an ordinary test.

use std::path::{Path, PathBuf};

use flowgate_fuzz::TARGETS;

/// Every file of one target, in name order.
fn files(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let files = files(target);
    assert!(!files.is_empty(), "{target} has no corpus");
    let broken: Vec<String> = files
        .iter()
        .filter_map(|file| {
            let data = std::fs::read(file).unwrap();
            // The panic's own message stands above; this says which file to give to `fuzz/run`.
            std::panic::catch_unwind(|| run(&data)).is_err().then(|| file.display().to_string())
        })
        .collect();
    assert!(broken.is_empty(), "{target} panics on:\n{}", broken.join("\n"));
}

/// One test a target, so that they run side by side and a failure names its target.
macro_rules! replays {
    ($($target:ident),+) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })+

        #[test]
        fn every_target_is_replayed_and_can_be_fuzzed() {
            let replayed = [$(stringify!($target)),+];
            let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(targets, replayed);
            for target in targets {
                let root = Path::new(env!("CARGO_MANIFEST_DIR"));
                assert!(root.join("fuzz_targets").join(format!("{target}.rs")).is_file(), "{target}");
            }
            let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap();
            for folder in folders {
                let name = folder.unwrap().file_name().into_string().unwrap();
                assert!(replayed.contains(&name.as_str()), "corpus/{name} belongs to no target");
            }
        }
    };
}

replays!(config, envelope, frames, jwks, jwt, node_format, packets, proxy_header);
