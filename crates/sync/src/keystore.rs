//! The default keystore: one file beside the store, readable by its owner alone.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use data_encoding::HEXLOWER;
use partita_core::{Keystore, KeystoreError};
use partita_crypto::Zeroizing;
use rand_core::Rng as _;

use crate::SystemRandom;

/// Named secrets in one file: a JSON object of hexadecimal strings, mode 0600 on Unix, replaced as a whole.
#[derive(Debug)]
pub struct FileKeystore {
    path: PathBuf,
    /// Writers in this process take turns, whichever instance they have: each reads the file and replaces it as a whole.
    turn: Arc<Mutex<()>>,
}

impl FileKeystore {
    /// Makes an empty keystore.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] when the file is there: it is never overwritten, also where several make it at once.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, KeystoreError> {
        Self::create_with(path, |_| Ok(()))
    }

    /// Makes a keystore that holds from its first moment on what `fill` puts there: whoever finds the file finds all of that.
    /// `fill` must keep nothing of what it is given.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] when the file is there: it is never overwritten, also where several make it at once. What
    /// `fill` answers; nothing is made then.
    pub fn create_with(
        path: impl AsRef<Path>,
        fill: impl FnOnce(&dyn Keystore) -> Result<(), KeystoreError>,
    ) -> Result<Self, KeystoreError> {
        let path = path.as_ref().to_owned();
        if path.exists() {
            return Err(KeystoreError::Exists(path.display().to_string()));
        }
        let draft = Self { path: beside(&path), turn: Arc::default() };
        let made = draft.replace(&BTreeMap::new()).and_then(|()| fill(&draft)).and_then(|()| draft.publish(&path));
        let _ = fs::remove_file(&draft.path); // it has its name by now, or is not wanted
        made?;
        let turn = turn_of(&path);
        Ok(Self { path, turn })
    }

    /// Opens the keystore that is there.
    ///
    /// # Errors
    /// [`KeystoreError::Missing`] when it is not: a device without its keys is another device.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KeystoreError> {
        let path = path.as_ref().to_owned();
        let turn = turn_of(&path);
        let keystore = Self { path, turn };
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
        let next = beside(&self.path);
        let write = || -> std::io::Result<()> {
            let mut file = new_file(&next)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&next, &self.path)?;
            sync_folder(&self.path);
            Ok(())
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&next); // it may not even be there
            self.io(&error)
        })
    }

    /// Gives a finished keystore the name under which it is looked for, unless something has it.
    fn publish(&self, path: &Path) -> Result<(), KeystoreError> {
        let linked = fs::hard_link(&self.path, path).or_else(|error| match error.kind() {
            ErrorKind::AlreadyExists => Err(error),
            // Some file systems have no links. There the name is taken first, and for a moment has nothing in it.
            _ => new_file(path).and_then(|_empty| fs::rename(&self.path, path)),
        });
        match linked {
            Ok(()) => {
                sync_folder(path);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(KeystoreError::Exists(path.display().to_string()))
            }
            Err(error) => Err(KeystoreError::Io(format!("{}: {error}", path.display()))),
        }
    }
}

/// A name in the same folder that nobody else uses: not another instance, nor another program.
fn beside(path: &Path) -> PathBuf {
    let mut bytes = [0; 8];
    SystemRandom.fill_bytes(&mut bytes);
    path.with_added_extension(format!("{}.new", HEXLOWER.encode(&bytes)))
}

/// A file that was not there, for its owner alone.
fn new_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Not every system lets a folder be synced; where it does, a file's new name is durable too.
fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

/// The turn of those who write to this file, under whichever name.
fn turn_of(path: &Path) -> Arc<Mutex<()>> {
    static TURNS: Mutex<BTreeMap<PathBuf, Weak<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let name = fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned());
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    turns.retain(|_, turn| turn.strong_count() > 0);
    if let Some(turn) = turns.get(&name).and_then(Weak::upgrade) {
        return turn;
    }
    let turn = Arc::new(Mutex::new(()));
    turns.insert(name, Arc::downgrade(&turn));
    turn
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
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Each once replaced the one before: all but the last went on with a key that was nowhere.
    #[test]
    fn of_many_who_make_a_keystore_at_once_one_does_and_its_secrets_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let together = std::sync::Barrier::new(8);
        let make = |n: u8| {
            let (path, together) = (&path, &together);
            move || {
                together.wait();
                FileKeystore::create_with(path, |keystore| keystore.put("device", &[n])).map(|_| n)
            }
        };
        let made: Vec<Result<u8, KeystoreError>> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|n| scope.spawn(make(n))).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        let winners: Vec<u8> = made.iter().filter_map(|made| made.as_ref().ok().copied()).collect();
        assert_eq!(winners.len(), 1, "{made:?}");
        let others = made.iter().filter(|made| matches!(made, Err(KeystoreError::Exists(_)))).count();
        assert_eq!(others, 7, "{made:?}");
        assert_eq!(FileKeystore::open(&path).unwrap().get("device").unwrap().unwrap().as_slice(), winners);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn what_cannot_be_filled_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let failed = FileKeystore::create_with(&path, |keystore| {
            keystore.put("device", b"one")?;
            Err(KeystoreError::Locked)
        });
        assert_eq!(failed.err(), Some(KeystoreError::Locked));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// A plugin and the engine may each open the file.
    #[test]
    fn two_instances_of_one_file_lose_nothing_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        FileKeystore::create(&path).unwrap();
        std::thread::scope(|scope| {
            for instance in 0..2 {
                let keystore = FileKeystore::open(&path).unwrap();
                scope.spawn(move || {
                    for n in 0..20 {
                        keystore.put(&format!("{instance}.{n}"), &[n]).unwrap();
                    }
                });
            }
        });
        let keystore = FileKeystore::open(&path).unwrap();
        for instance in 0..2 {
            for n in 0..20 {
                assert!(keystore.get(&format!("{instance}.{n}")).unwrap().is_some(), "{instance}.{n}");
            }
        }
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

    /// What lies beside people's stores: whoever cannot read it is another device. `docs/formats.md` says what to do when this
    /// fails.
    #[test]
    fn the_text_of_the_file_stays_what_it_is() {
        let golden = "{\n  \"device\": \"0001ff\",\n  \"group/c0\": \"\"\n}";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        new_file(&path).unwrap().write_all(golden.as_bytes()).unwrap();
        let keystore = FileKeystore::open(&path).unwrap();
        assert_eq!(keystore.get("device").unwrap().unwrap().as_slice(), [0, 1, 0xff]);
        assert_eq!(keystore.get("group/c0").unwrap().unwrap().as_slice(), [0; 0]);
        keystore.put("device", &[0, 1, 0xff]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), golden);
    }
}
