//! Whether the store's disk has room. A commit that finds none is the end of a store until it is opened again, so a relay stops
//! taking entries before.

use std::{path::Path, sync::Arc, time::Duration};

/// How long after a look the next one is made at the latest, and how long after it at the soonest, where entries were taken since.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_SOON: Duration = Duration::from_millis(100);
/// By which part of the reserve more has to be free before entries are taken again: it would go back and forth otherwise.
const MORE: u64 = 8;

/// Says how many bytes are free; `None` where that cannot be told.
pub(crate) type FreeSpace = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// What is free in the file system of a file, for whoever is not its administrator.
#[cfg(unix)]
pub(crate) fn beside(path: &Path) -> FreeSpace {
    let path = path.to_owned();
    Arc::new(move || {
        let system = rustix::fs::statvfs(&path).ok()?;
        // Some file systems do not count.
        (system.f_blocks > 0).then(|| system.f_bavail.saturating_mul(system.f_frsize))
    })
}

#[cfg(not(unix))]
pub(crate) fn beside(_path: &Path) -> FreeSpace {
    Arc::new(|| None)
}

/// What is known of it, and when it is looked again.
pub(crate) struct Room {
    /// So many bytes are to stay free.
    reserve: u64,
    free: Option<FreeSpace>,
    is_short: bool,
    /// Whether it is being looked.
    looks: bool,
    /// When it was looked last, and how many entries had been taken then.
    looked: Option<(Duration, u64)>,
}

impl Room {
    pub(crate) fn new(reserve: u64, free: Option<FreeSpace>) -> Self {
        Self { reserve, free, is_short: false, looks: false, looked: None }
    }

    /// Looks before anything is taken; whoever calls it may wait for a disk.
    pub(crate) fn look(&mut self) -> Option<u64> {
        let free = self.free.as_ref().and_then(|free| free());
        self.judge(free);
        free
    }

    pub(crate) fn is_short(&self) -> bool {
        self.is_short
    }

    pub(crate) fn reserve(&self) -> u64 {
        self.reserve
    }

    /// What is to be asked, if a look begins now.
    pub(crate) fn begin(&mut self, now: Duration, taken: u64) -> Option<FreeSpace> {
        let rests = |(at, before): (Duration, u64)| {
            let rest = if taken > before { LOOK_SOON } else { LOOK_EVERY };
            now.saturating_sub(at) < rest
        };
        if self.looks || self.looked.is_some_and(rests) {
            return None;
        }
        let free = self.free.clone()?;
        self.looks = true;
        self.looked = Some((now, taken));
        Some(free)
    }

    /// The answer. True if it changes whether there is room.
    pub(crate) fn end(&mut self, free: Option<u64>) -> bool {
        self.looks = false;
        self.judge(free)
    }

    /// What cannot be told changes nothing.
    fn judge(&mut self, free: Option<u64>) -> bool {
        let wanted = if self.is_short { self.reserve.saturating_add(self.reserve / MORE) } else { self.reserve };
        let is_short = free.map_or(self.is_short, |free| free < wanted);
        std::mem::replace(&mut self.is_short, is_short) != is_short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_disk_at_its_reserve_is_short_until_a_little_more_is_free() {
        let mut room = Room::new(800, None);
        assert!(!room.end(Some(800)) && !room.is_short());
        assert!(room.end(Some(799)) && room.is_short());
        assert!(!room.end(Some(899)) && room.is_short(), "it would go back and forth");
        assert!(!room.end(None) && room.is_short(), "nobody knows of more");
        assert!(room.end(Some(900)) && !room.is_short());
        assert!(!room.end(Some(800)) && !room.is_short());
    }

    #[test]
    fn without_a_reserve_no_disk_is_short() {
        assert!(!Room::new(0, None).end(Some(0)));
    }

    #[test]
    fn it_is_looked_sooner_where_entries_were_taken_and_once_at_a_time() {
        let mut room = Room::new(800, Some(Arc::new(|| Some(1_u64))));
        assert!(room.begin(SECOND, 0).is_some());
        assert!(room.begin(SECOND * 60, 9).is_none(), "one at a time");
        room.end(Some(1000));
        let soon = SECOND + LOOK_SOON;
        assert!(room.begin(soon, 0).is_none(), "nothing was taken");
        assert!(room.begin(soon, 1).is_some());
        room.end(Some(1000));
        assert!(room.begin(soon + LOOK_SOON, 1).is_none(), "nothing was taken since");
        assert!(room.begin(soon + LOOK_EVERY, 1).is_some());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_systems_free_space_is_told_and_none_is_where_nothing_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(beside(folder.path())().is_some_and(|free| free > 0));
        assert_eq!(beside(&folder.path().join("nowhere"))(), None);
    }
}
