//! The epoch secrets that a device holds, and the payload keys that it used last.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::{EpochId, EpochSecret, payload_key};
use crate::AeadKey;

/// How many payload keys are kept: a busy context has a few dozen authors, and deriving again costs microseconds.
const CACHED: usize = 64;

/// Epoch secrets by id. Everything in it is zeroized when dropped, and it prints no secret.
///
/// Only secrets that fit their op's commitment belong in here; [`open_epoch`](crate::open_epoch) gives no others.
#[derive(Debug, Default)]
pub struct EpochKeys {
    secrets: BTreeMap<EpochId, EpochSecret>,
    /// Behind a lock because strategies open payloads through a shared reference.
    cache: Mutex<VecDeque<(CacheKey, AeadKey)>>,
}

type CacheKey = (EpochId, [u8; 32], [u8; 32]);

impl EpochKeys {
    /// An empty ring.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a secret; says whether it is new. A secret that is held already stays: one id has one secret.
    pub fn insert(&mut self, id: EpochId, secret: EpochSecret) -> bool {
        match self.secrets.entry(id) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(secret);
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        }
    }

    /// The secret of an epoch, if it is here.
    pub fn get(&self, id: &EpochId) -> Option<&EpochSecret> {
        self.secrets.get(id)
    }

    /// Whether the secret of an epoch is here.
    pub fn contains(&self, id: &EpochId) -> bool {
        self.secrets.contains_key(id)
    }

    /// Every secret with its id, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (&EpochId, &EpochSecret)> {
        self.secrets.iter()
    }

    /// How many secrets are here.
    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    /// Whether no secret is here.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// The key of one author's payloads in one context and epoch, if the epoch's secret is here: see [`payload_key`].
    pub fn payload_key(&self, id: &EpochId, context: &[u8; 32], author: &[u8; 32]) -> Option<AeadKey> {
        let secret = self.secrets.get(id)?;
        let wanted = (*id, *context, *author);
        // Poison means that a thread died while it held the lock; a list of keys cannot be half right.
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = cache.iter().find(|(cached, _)| *cached == wanted) {
            return Some(key.clone());
        }
        let key = payload_key(secret, context, author);
        if cache.len() >= CACHED {
            cache.pop_front();
        }
        cache.push_back((wanted, key.clone()));
        Some(key)
    }
}
