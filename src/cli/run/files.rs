//! The files that say who a node is, watched while it runs.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chargemesh::config::Config;

/// What tells that a file is another one, or `None` if there is none.
type Mark = Option<(SystemTime, u64, u64)>;

/// Settings, trust list, pins, delegations, credentials and message keys of a node, and what HTTPS needs.
pub(super) struct Files {
    paths: Vec<PathBuf>,
    /// As they were when they were read last.
    used: Vec<Mark>,
    /// As they were at the last look.
    seen: Vec<Mark>,
}

impl Files {
    /// The settings and what they name, to be called before that is read.
    pub(super) fn of(settings: &Path, config: &Config) -> Files {
        let of_party = config.parties.iter().flat_map(|p| [&p.message_key, &p.credential, &p.delegation]);
        let tls = &config.facade.tls;
        let of_facade = [&tls.certificate, &tls.key, &tls.client_ca];
        let of_backends = config.outbound.backends.iter().flat_map(|b| [&b.ca, &b.certificate, &b.key]);
        let hub = &config.hub;
        let of_hub = [&hub.ca, &hub.certificate, &hub.key];
        let of_https = of_backends.chain(of_facade).chain(of_hub).filter(|path| !path.as_os_str().is_empty());
        let all = of_party.chain([&config.node.trust, &config.node.pins]).chain(of_https);
        let paths: Vec<PathBuf> = all.cloned().collect();
        let paths: Vec<PathBuf> = paths.into_iter().chain([settings.to_owned()]).collect();
        let used: Vec<Mark> = paths.iter().map(|path| mark(path)).collect();
        Files { paths, seen: used.clone(), used }
    }

    /// The files that are others than those that were read last. None as long as any of them still
    /// changes: a new key and its delegation are written one after the other.
    pub(super) fn changed(&mut self) -> Vec<&Path> {
        let now: Vec<Mark> = self.paths.iter().map(|path| mark(path)).collect();
        if now != self.seen {
            self.seen = now;
            return Vec::new();
        }
        let used = std::mem::replace(&mut self.used, now);
        let pairs = self.paths.iter().zip(used.iter().zip(&self.used));
        pairs.filter(|(_, (used, now))| used != now).map(|(path, _)| path.as_path()).collect()
    }
}

fn mark(file: &Path) -> Mark {
    let metadata = std::fs::metadata(file).ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0;
    Some((metadata.modified().ok()?, metadata.len(), number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_when_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.resolve_paths(dir.path());
        let trust = config.node.trust.clone();
        std::fs::create_dir_all(trust.parent().unwrap()).unwrap();
        std::fs::write(&trust, "one").unwrap();
        let settings = dir.path().join("node.toml");
        let mut files = Files::of(&settings, &config);
        assert!(files.changed().is_empty());
        std::fs::write(&trust, "longer").unwrap();
        assert!(files.changed().is_empty(), "it may still be written");
        std::fs::write(&trust, "longer still").unwrap();
        assert!(files.changed().is_empty(), "it was");
        assert_eq!(files.changed(), [trust.as_path()]);
        assert!(files.changed().is_empty());
        // The same content in another file counts too: it was put there for a reason.
        let other = trust.with_extension("new");
        std::fs::write(&other, "longer still").unwrap();
        std::fs::rename(&other, &trust).unwrap();
        files.changed();
        assert_eq!(files.changed().len(), 1);
        std::fs::write(&settings, "[policy]").unwrap();
        files.changed();
        assert_eq!(files.changed(), [settings.as_path()]);
        std::fs::remove_file(&trust).unwrap();
        files.changed();
        assert_eq!(files.changed().len(), 1, "so that somebody says that it is gone");
    }
}
