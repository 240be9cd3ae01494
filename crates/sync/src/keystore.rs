//! The default keystore: one file beside the store, readable by its owner alone.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

use data_encoding::HEXLOWER;
use partita_core::{Keystore, KeystoreError};
use partita_crypto::Zeroizing;

/// Named secrets in one file: a JSON object of hexadecimal strings, mode 0600 on Unix, replaced as a whole.
#[derive(Debug)]
pub struct FileKeystore {
    path: PathBuf,
    /// Writers in this process take turns.
    turn: Mutex<()>,
}

impl FileKeystore {
    /// Makes an empty keystore.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] when the file is there: it is never overwritten.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, KeystoreError> {
        let path = path.as_ref().to_owned();
        if path.exists() {
            return Err(KeystoreError::Exists(path.display().to_string()));
        }
        let keystore = Self { path, turn: Mutex::new(()) };
        keystore.replace(&BTreeMap::new())?;
        Ok(keystore)
    }

    /// Opens the keystore that is there.
    ///
    /// # Errors
    /// [`KeystoreError::Missing`] when it is not: a device without its keys is another device.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KeystoreError> {
        let keystore = Self { path: path.as_ref().to_owned(), turn: Mutex::new(()) };
        keystore.read()?;
        Ok(keystore)
    }

    fn io(&self, error: &std::io::Error) -> KeystoreError {
        KeystoreError::Io(format!("{}: {error}", self.path.display()))
    }

    fn read(&self) -> Result<BTreeMap<String, Zeroizing<String>>, KeystoreError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(KeystoreError::Missing(format!("the keystore {}", self.path.display())));
            }
            Err(error) => return Err(self.io(&error)),
        };
        self.check_mode(&file)?;
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(|error| self.io(&error))?;
        let map: BTreeMap<String, String> = serde_json::from_str(&text)
            .map_err(|_| KeystoreError::Damaged(format!("{} is not a keystore", self.path.display())))?;
        Ok(map.into_iter().map(|(name, secret)| (name, Zeroizing::new(secret))).collect())
    }

    #[cfg(unix)]
    fn check_mode(&self, file: &File) -> Result<(), KeystoreError> {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().map_err(|error| self.io(&error))?.permissions().mode();
        if mode & 0o077 != 0 { Err(KeystoreError::Exposed(self.path.display().to_string())) } else { Ok(()) }
    }

    #[cfg(not(unix))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    fn check_mode(&self, _file: &File) -> Result<(), KeystoreError> {
        Ok(())
    }

    /// Writes a new file, makes it durable, then puts it in the place of the old one.
    fn replace(&self, map: &BTreeMap<String, &str>) -> Result<(), KeystoreError> {
        let text =
            Zeroizing::new(serde_json::to_string_pretty(map).map_err(|error| KeystoreError::Io(error.to_string()))?);
        let next = self.path.with_added_extension("new");
        let write = || -> std::io::Result<()> {
            match fs::remove_file(&next) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&next)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&next, &self.path)?;
            if let Some(folder) = self.path.parent() {
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                // Not every system lets a folder be synced; where it does, the rename is durable too.
                let _ = File::open(folder).and_then(|folder| folder.sync_all());
            }
            Ok(())
        };
        write().map_err(|error| self.io(&error))
    }
}

impl Keystore for FileKeystore {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        let map = self.read()?;
        let Some(secret) = map.get(name) else {
            return Ok(None);
        };
        let bytes = HEXLOWER.decode(secret.as_bytes()).map_err(|_| {
            KeystoreError::Damaged(format!("{} holds something else under {name}", self.path.display()))
        })?;
        Ok(Some(Zeroizing::new(bytes)))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeystoreError> {
        let _turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let map = self.read()?;
        let text = Zeroizing::new(HEXLOWER.encode(secret));
        let mut next: BTreeMap<String, &str> =
            map.iter().map(|(name, secret)| (name.clone(), secret.as_str())).collect();
        next.insert(name.to_owned(), &text);
        self.replace(&next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_back_and_are_never_overwritten_by_a_new_keystore() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        FileKeystore::create(&path).unwrap().put("a", b"one").unwrap();
        assert!(matches!(FileKeystore::create(&path), Err(KeystoreError::Exists(_))));
        let keystore = FileKeystore::open(&path).unwrap();
        keystore.put("b", b"two").unwrap();
        assert_eq!(keystore.get("a").unwrap().unwrap().as_slice(), b"one");
        assert_eq!(keystore.get("c").unwrap(), None);
    }

    #[test]
    fn a_missing_keystore_is_an_error_and_never_a_new_identity() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(FileKeystore::open(folder.path().join("key")), Err(KeystoreError::Missing(_))));
    }

    #[cfg(unix)]
    #[test]
    fn a_keystore_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        FileKeystore::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(FileKeystore::open(&path), Err(KeystoreError::Exposed(_))));
    }

    #[test]
    fn a_damaged_keystore_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        FileKeystore::create(&path).unwrap();
        fs::write(&path, "garbage").unwrap();
        assert!(matches!(FileKeystore::open(&path), Err(KeystoreError::Damaged(_))));
    }
}
