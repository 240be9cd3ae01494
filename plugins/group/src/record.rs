//! What a device keeps of a group, outside the store: in the application's keystore.

use partita_core::{
    ContextId, DeviceKeys, EpochId, Hash, Keystore, ReplicaId,
    codec::{DecodeError, Reader, Writer},
};
use partita_crypto::{BoxSecretKey, EpochKeys, EpochSecret, Secret, Zeroizing};

use crate::{error::GroupError, genesis::Genesis, invite::Invitation, role::MemberId};

const VERSION: u8 = 1;
/// The name under which the keystore lists the device's groups.
const GROUPS: &str = "groups";
/// How many earlier invitations are kept.
pub(crate) const MOST_USED: usize = 64;
const MAX_GROUPS: usize = 100_000;
const MAX_EPOCHS: usize = 1_000_000;
const MAX_FIELD: usize = 64 * 1024;

fn place(context: &ContextId) -> String {
    format!("group/{context}")
}

/// One group on one device.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) context: ContextId,
    pub(crate) member: MemberId,
    /// What begins the group, on the device that founded it, and the name that it gave it.
    pub(crate) genesis: Option<(Genesis, String)>,
    /// The invitation by which this device joined: its keys open what was boxed to the link.
    pub(crate) invitation: Option<Invitation>,
    /// Those by which it joined before, the latest first: what was boxed to them alone is opened by them alone.
    pub(crate) used: Vec<Invitation>,
    /// The device's box keys in this group, the latest first: the second is for boxes that were on their way when it
    /// changed.
    pub(crate) boxes: Vec<BoxSecretKey>,
    /// Secrets that no box key of today opens any more.
    pub(crate) epochs: Vec<(EpochId, EpochSecret)>,
}

impl Record {
    pub(crate) fn new(context: ContextId, member: MemberId, keys: &DeviceKeys) -> Self {
        let boxes = vec![keys.boxes.clone()];
        Self { context, member, genesis: None, invitation: None, used: Vec::new(), boxes, epochs: Vec::new() }
    }

    /// Every box key that this device has: those of this group, and the one that its cards show.
    pub(crate) fn box_keys<'a>(&'a self, device: &'a DeviceKeys) -> impl Iterator<Item = &'a BoxSecretKey> {
        self.boxes.iter().chain([&device.boxes])
    }

    pub(crate) fn load(keystore: &dyn Keystore, context: &ContextId) -> Result<Self, GroupError> {
        let kept = keystore.get(&place(context))?.ok_or(GroupError::UnknownGroup(*context))?;
        let record = Self::decode(&kept).map_err(|why| match why {
            // Whoever is told that it is damaged joins again, and loses what only this record opens.
            DecodeError::Unknown(_) => GroupError::NewerRecord,
            _ => GroupError::Damaged,
        })?;
        if record.context == *context { Ok(record) } else { Err(GroupError::Damaged) }
    }

    /// Keeps a new group.
    pub(crate) fn create(&self, keystore: &dyn Keystore) -> Result<(), GroupError> {
        if keystore.get(&place(&self.context))?.is_some() {
            return Err(GroupError::Exists(self.context));
        }
        self.save(keystore)?;
        self.list(keystore)
    }

    /// Has the group among the device's groups: whoever kept it may have ended before that.
    pub(crate) fn list(&self, keystore: &dyn Keystore) -> Result<(), GroupError> {
        let mut all = Self::all(keystore)?;
        if all.contains(&self.context) {
            return Ok(());
        }
        all.push(self.context);
        let mut out = Writer::new();
        out.varint(all.len() as u64);
        all.iter().for_each(|context| out.raw(context.as_bytes()));
        Ok(keystore.put(GROUPS, out.as_slice())?)
    }

    pub(crate) fn save(&self, keystore: &dyn Keystore) -> Result<(), GroupError> {
        Ok(keystore.put(&place(&self.context), &self.encode())?)
    }

    /// The device's groups.
    pub(crate) fn all(keystore: &dyn Keystore) -> Result<Vec<ContextId>, GroupError> {
        let Some(kept) = keystore.get(GROUPS)? else {
            return Ok(Vec::new());
        };
        Self::read_all(Reader::new(&kept)).map_err(|_| GroupError::Damaged)
    }

    fn read_all(mut input: Reader<'_>) -> Result<Vec<ContextId>, DecodeError> {
        let count = input.count("the number of groups", MAX_GROUPS, ContextId::LEN)?;
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(ContextId::from_bytes(input.array()?));
        }
        input.end()?;
        Ok(all)
    }

    /// Takes over every secret that is held, so that an older box key can be forgotten.
    pub(crate) fn keep_epochs(&mut self, ring: &EpochKeys) {
        self.epochs = ring.iter().map(|(id, secret)| (*id, secret.clone())).collect();
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut public = Writer::new();
        public.u8(VERSION);
        public.raw(self.context.as_bytes());
        public.raw(self.member.0.as_bytes());
        let mut bytes = Writer::new();
        let name = self.genesis.as_ref().map_or("", |(genesis, name)| {
            genesis.encode(&mut bytes);
            name
        });
        public.bytes(bytes.as_slice());
        public.bytes(name.as_bytes());
        let invitation = self.invitation.as_ref().map(Invitation::to_bytes).unwrap_or_default();
        let used: Vec<Zeroizing<Vec<u8>>> = self.used.iter().map(Invitation::to_bytes).collect();
        let len_of_used: usize = used.iter().map(|one| one.len() + 8).sum();
        // Large enough from the beginning: what grows leaves copies of secrets behind.
        let secrets = invitation.len() + len_of_used + 32 * self.boxes.len() + 64 * self.epochs.len();
        let mut out = Zeroizing::new(Vec::with_capacity(public.len() + secrets + 64));
        out.extend_from_slice(public.as_slice());
        let count = |number: usize| {
            let mut count = Writer::new();
            count.varint(number as u64);
            count.finish()
        };
        out.extend_from_slice(&count(invitation.len()));
        out.extend_from_slice(&invitation);
        out.extend_from_slice(&count(used.len()));
        for one in &used {
            out.extend_from_slice(&count(one.len()));
            out.extend_from_slice(one);
        }
        out.extend_from_slice(&count(self.boxes.len()));
        self.boxes.iter().for_each(|key| out.extend_from_slice(key.secret().expose()));
        out.extend_from_slice(&count(self.epochs.len()));
        for (id, secret) in &self.epochs {
            out.extend_from_slice(id.0.as_bytes());
            out.extend_from_slice(secret.0.expose());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        if input.u8()? != VERSION {
            return Err(DecodeError::Unknown("version of a group's record"));
        }
        let context = ContextId::from_bytes(input.array()?);
        let member = MemberId(ReplicaId::from_bytes(input.array()?));
        let genesis = input.bytes("a genesis", MAX_FIELD)?;
        let name = str::from_utf8(input.bytes("a name", MAX_FIELD)?).map_err(|_| DecodeError::Invalid("name"))?;
        let genesis = match genesis {
            [] => None,
            bytes => {
                let mut input = Reader::new(bytes);
                let genesis = Genesis::decode(&mut input)?;
                input.end()?;
                Some((genesis, name.to_owned()))
            }
        };
        let invitation = match input.bytes("an invitation", MAX_FIELD)? {
            [] => None,
            bytes => Some(Invitation::from_bytes(bytes)?),
        };
        let count = input.count("the number of used invitations", MOST_USED, 1)?;
        let used = (0..count).map(|_| Invitation::from_bytes(input.bytes("an invitation", MAX_FIELD)?));
        let used = used.collect::<Result<_, DecodeError>>()?;
        let count = input.count("the number of box keys", 2, 32)?;
        let boxes = (0..count).map(|_| Ok(BoxSecretKey::from_secret(&Secret::from_bytes(input.array()?))));
        let boxes = boxes.collect::<Result<_, DecodeError>>()?;
        let count = input.count("the number of epochs", MAX_EPOCHS, 64)?;
        let mut epochs = Vec::with_capacity(count);
        for _ in 0..count {
            let id = EpochId(Hash::from_bytes(input.array()?));
            epochs.push((id, EpochSecret(Secret::from_bytes(input.array()?))));
        }
        input.end()?;
        Ok(Self { context, member, genesis, invitation, used, boxes, epochs })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What lies in keystores: whoever cannot read it is out of the group. When this fails: raise `VERSION` and go on reading
    /// the old (`docs/formats.md`).
    #[test]
    fn the_bytes_of_version_1_stay_what_they_are() {
        let invitation = [&[1][..], &[1; 32], &[4; 32], &[0], &[0]].concat(); // version, context, seed, no member, no address
        let golden = [
            &[1][..],    // version
            &[1; 32],    // context
            &[2; 32],    // member
            &[0, 0],     // not the founder's
            &[66 + 1],   // the length of the invitation
            &invitation, //
            &[1, 66 + 1],
            &invitation, // one that was used before
            &[1],        // box keys
            &[5; 32],    //
            &[1],        // epochs, each with its secret
            &[6; 32],    //
            &[7; 32],    //
        ]
        .concat();
        let context = ContextId::from_bytes([1; 32]);
        let record = Record {
            context,
            member: MemberId(ReplicaId::from_bytes([2; 32])),
            genesis: None,
            invitation: Some(Invitation::from_bytes(&invitation).unwrap()),
            used: vec![Invitation::from_bytes(&invitation).unwrap()],
            boxes: vec![BoxSecretKey::from_secret(&Secret::from_bytes([5; 32]))],
            epochs: vec![(EpochId(Hash::from_bytes([6; 32])), EpochSecret(Secret::from_bytes([7; 32])))],
        };
        assert!(record.encode().as_slice() == golden, "an encoding changed: {:02x?}", record.encode().as_slice());
        let read = Record::decode(&golden).unwrap();
        assert_eq!((read.context, read.member), (record.context, record.member));
        assert!(read.boxes == record.boxes && read.epochs == record.epochs);
        assert!(read.encode().as_slice() == golden);
        let later = [&[2][..], &golden[1..]].concat();
        assert_eq!(Record::decode(&later).err(), Some(DecodeError::Unknown("version of a group's record")));
        // The list of a device's groups: a count and contexts.
        let list = [&[1][..], &[1; 32]].concat();
        assert_eq!(Record::read_all(Reader::new(&list)), Ok(vec![context]));
    }
}
