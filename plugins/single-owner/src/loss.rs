//! What an owner does when a device is lost: revoke it, retire it, or start again with the mnemonic alone.

use partita_core::{
    ContextId, ReplicaId, SignedTip, Turn,
    planted::{Bug, planted},
};
use partita_crypto::Mnemonic;

use crate::{
    device::SingleOwner,
    error::OwnerError,
    modes::Mode,
    op::{MAX_OPS, Op, Payload, Share},
    own::Own,
    owner::OwnerKeys,
    resolve::DeviceStanding,
    revocation::Revocation,
};

/// How many logs a loss lists at most: a control entry takes 512 KiB, and a certificate and an epoch may be beside them.
const MOST_LISTED: usize = 400 * 1024 / SignedTip::MAX_ENCODED;

impl SingleOwner {
    /// Revokes a device (a thief has it): what is held of its logs here counts, and nothing beyond. In the same step a
    /// new key epoch begins that it is not given.
    ///
    /// Of a device that opened its store very many times the longest logs are listed, some thousands: nobody is safe from
    /// revocation by having many. What is in the others counts where a checkpoint or a remaining device stands for it.
    ///
    /// Concerns each of the owner's contexts that this strategy was opened for: an owner with a plain context revokes
    /// from a device that has it too. Cannot be undone: a device that is found again makes new keys, in a new keystore.
    ///
    /// # Errors
    /// [`OwnerError::WrongMnemonic`], [`OwnerError::UnknownDevice`], [`OwnerError::AlreadyRevoked`],
    /// [`OwnerError::OwnDevice`].
    pub fn revoke(&mut self, turn: &mut Turn<'_>, mnemonic: &Mnemonic, device: ReplicaId) -> Result<(), OwnerError> {
        let owner = self.owner_keys(mnemonic)?;
        if device == self.device() {
            return Err(OwnerError::OwnDevice);
        }
        if !self.own.iter().any(|own| own.state.resolved().devices.contains_key(&device)) {
            return Err(OwnerError::UnknownDevice(device));
        }
        let concerned: Vec<&Own> = self.own.iter().filter(|own| !is_revoked(own, &device)).collect();
        if concerned.is_empty() {
            return Err(OwnerError::AlreadyRevoked(device));
        }
        let mut payloads = Vec::new();
        for own in concerned {
            let context = own.info.id;
            let caps = SignedTip::longest(caps(turn, &context, &device), MOST_LISTED);
            let revocation = Op::Revoke(Revocation::sign(&owner, &context, device, caps));
            let mut ops = vec![revocation];
            // A lost device may carry its owner's word, but has none of its own.
            if !own.state.resolved().has_lost(&self.device()) {
                ops.splice(0..0, own.introduction(&self.me));
                if own.mode == Mode::Sealed && !planted(Bug::KeysKept) {
                    ops.push(own.new_epoch(&self.me, Some(device), turn.rng)?);
                }
            }
            payloads.push((context, ops));
        }
        payloads.into_iter().for_each(|(context, ops)| append(turn, context, &ops));
        Ok(())
    }

    /// Ends this device (the phone is sold): everything that it has written counts, and nothing after.
    ///
    /// Have every change committed first, and stay connected until it was sent: what is not in a log here is not in the
    /// final tips.
    ///
    /// # Errors
    /// [`OwnerError::Lost`] when it was revoked or retired already, [`OwnerError::TooManyLogs`].
    pub fn retire(&mut self, turn: &mut Turn<'_>) -> Result<(), OwnerError> {
        let me = self.device();
        let remaining: Vec<&Own> = self.own.iter().filter(|own| !own.state.resolved().has_lost(&me)).collect();
        if remaining.is_empty() {
            return Err(OwnerError::Lost);
        }
        let mut payloads = Vec::new();
        for own in remaining {
            let mut ops = own.introduction(&self.me);
            let caps = caps(turn, &own.info.id, &me);
            if caps.len() > MOST_LISTED {
                return Err(OwnerError::TooManyLogs(caps.len()));
            }
            ops.push(Op::Retire(caps));
            payloads.push((own.info.id, ops));
        }
        payloads.into_iter().for_each(|(context, ops)| append(turn, context, &ops));
        Ok(())
    }

    /// Gives this device every key that the mnemonic can open: for a new device when all others are gone. Says how many
    /// key epochs that were.
    ///
    /// Sync with a relay first: the boxes lie in the control entries.
    ///
    /// # Errors
    /// [`OwnerError::WrongMnemonic`], [`OwnerError::Lost`].
    pub fn recover(&mut self, turn: &mut Turn<'_>, mnemonic: &Mnemonic) -> Result<usize, OwnerError> {
        let owner = self.owner_keys(mnemonic)?;
        let me = (self.device(), self.me.certificate.box_key());
        let mut recovered = 0;
        for own in &self.own {
            if own.state.resolved().has_lost(&self.device()) {
                return Err(OwnerError::Lost);
            }
            let found = own.ring.recoverable(&owner.owner(), &owner.recovery);
            if found.is_empty() {
                continue;
            }
            recovered += found.len();
            let mut ops = own.introduction(&self.me);
            for (epoch, secret) in &found {
                ops.push(Op::Share(Share::create(turn.rng, own.place(&self.me), *epoch, secret, me)?));
            }
            append(turn, own.info.id, &ops);
        }
        Ok(recovered)
    }

    pub(crate) fn owner_keys(&self, mnemonic: &Mnemonic) -> Result<OwnerKeys, OwnerError> {
        let keys = OwnerKeys::of(mnemonic);
        if keys.owner() == self.owner() { Ok(keys) } else { Err(OwnerError::WrongMnemonic) }
    }
}

/// A retired device can still be revoked: a cap of the owner's may say less than its own.
fn is_revoked(own: &Own, device: &ReplicaId) -> bool {
    own.state.resolved().loss_of(device) == Some(DeviceStanding::Revoked)
}

/// All logs of the device, not only tips: a newcomer gets control entries first, and must decide the same without
/// knowing which log followed which.
fn caps(turn: &Turn<'_>, context: &ContextId, device: &ReplicaId) -> Vec<SignedTip> {
    let mut tips = turn.view.logs_of(context, device);
    tips.sort_unstable();
    tips.dedup_by_key(|listed| listed.tip.log);
    tips
}

/// Appends ops, as many to an entry as fit.
pub(crate) fn append(turn: &mut Turn<'_>, context: ContextId, ops: &[Op]) {
    turn.append.extend(ops.chunks(MAX_OPS).map(|ops| (context, Payload::encode(ops))));
}
