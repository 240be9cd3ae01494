//! The owner's side: one of the owner's devices.

use std::collections::BTreeMap;

use partita_core::{
    ContextId, ContextInfo, ContextKind, CryptoRng, DeviceKeys, Keystore, KeystoreError, ReplicaId, Signature,
};
use partita_crypto::{Mnemonic, Secret, VerifyingKey};

use crate::{
    certificate::Certificate,
    error::OwnerError,
    modes::Mode,
    own::{Me, Own},
    owner::OwnerKeys,
    request::Request,
    resolve::DeviceStanding,
};

/// The name under which the keystore holds the device's certificate.
const CERTIFICATE: &str = "single-owner";

/// The partition strategy of one owner with many devices, on one of these devices.
///
/// It holds the device's own keys and the epoch secrets that were boxed to it, never the owner's secret: that is the
/// [`Mnemonic`], which is handed in where the owner decides something. See the [crate documentation](crate).
#[derive(Debug)]
pub struct SingleOwner {
    pub(crate) me: Me,
    pub(crate) kinds: Vec<ContextKind>,
    /// The sealed context first; then the plain one, where the application asked for it.
    pub(crate) own: Vec<Own>,
    sealed: ContextInfo,
    plain: ContextInfo,
}

/// A device, as far as is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceInfo {
    /// The device.
    pub replica: ReplicaId,
    /// Whether it may read and write.
    pub standing: DeviceStanding,
    /// Whether the owner said that nobody waits for it, and it has not been back since.
    pub dormant: bool,
}

impl SingleOwner {
    /// A new owner, with this device as the first. Needs no network.
    ///
    /// Show the mnemonic once and forget it: whoever has it *is* the owner, and nothing here keeps it. Without it no
    /// device can ever be added or revoked.
    ///
    /// # Errors
    /// [`OwnerError::Exists`] when the keystore belongs to an owner already.
    pub fn create(keystore: &dyn Keystore, rng: &mut dyn CryptoRng) -> Result<(Self, Mnemonic), OwnerError> {
        if keystore.get(CERTIFICATE)?.is_some() {
            return Err(OwnerError::Exists);
        }
        let mnemonic = Mnemonic::from_entropy(&Secret::random(rng));
        let request = Self::request(keystore, rng)?;
        Self::accept(keystore, &Self::certify(&mnemonic, &request))?;
        Ok((Self::open(keystore)?, mnemonic))
    }

    /// This device's request to be certified. Makes the device's keys if the keystore has none.
    ///
    /// # Errors
    /// [`OwnerError::Keystore`].
    pub fn request(keystore: &dyn Keystore, rng: &mut dyn CryptoRng) -> Result<Request, OwnerError> {
        let keys = match DeviceKeys::load(keystore) {
            Err(KeystoreError::Missing(_)) => DeviceKeys::create(keystore, rng)?,
            keys => keys?,
        };
        Ok(Request::new(&keys))
    }

    /// The owner's answer to a request. Pure: it can be done on any device, offline, also on one of nobody's.
    ///
    /// The words of another owner give a certificate of that owner: compare [`Certificate::owner`] where it matters.
    pub fn certify(mnemonic: &Mnemonic, request: &Request) -> Certificate {
        Certificate::sign(&OwnerKeys::of(mnemonic), request)
    }

    /// The owner's signature on a statement of another plugin, under that plugin's own purpose, with the key that verifies
    /// it. Pure, like [`certify`](Self::certify).
    ///
    /// # Errors
    /// [`OwnerError::OwnPurpose`] for the purposes of this crate: certificates and revocations have their own ways.
    pub fn sign_for(
        mnemonic: &Mnemonic,
        purpose: &'static str,
        statement: &[u8],
    ) -> Result<(VerifyingKey, Signature), OwnerError> {
        if purpose.contains("single-owner") {
            return Err(OwnerError::OwnPurpose);
        }
        let keys = OwnerKeys::of(mnemonic);
        Ok((keys.owner(), keys.signing.sign(purpose, statement)))
    }

    /// Keeps this device's certificate. Accepting it twice changes nothing.
    ///
    /// # Errors
    /// [`OwnerError::OtherDevice`], [`OwnerError::Exists`] when the device is another owner's, [`OwnerError::Keystore`].
    pub fn accept(keystore: &dyn Keystore, certificate: &Certificate) -> Result<(), OwnerError> {
        let keys = DeviceKeys::load(keystore)?;
        check(&keys, certificate)?;
        if let Some(kept) = keystore.get(CERTIFICATE)?
            && Certificate::from_bytes(&kept).is_ok_and(|kept| kept.owner() != certificate.owner())
        {
            return Err(OwnerError::Exists);
        }
        Ok(keystore.put(CERTIFICATE, &certificate.to_bytes())?)
    }

    /// The strategy of the device whose keys and certificate are in the keystore.
    ///
    /// # Errors
    /// [`OwnerError::Keystore`] when there are no keys: that is never taken for a new device.
    /// [`OwnerError::NotCertified`] when there is no certificate yet.
    pub fn open(keystore: &dyn Keystore) -> Result<Self, OwnerError> {
        let keys = DeviceKeys::load(keystore)?;
        let kept = keystore.get(CERTIFICATE)?.ok_or(OwnerError::NotCertified)?;
        let certificate = Certificate::from_bytes(&kept).map_err(|_| OwnerError::Damaged)?;
        check(&keys, &certificate)?;
        let sealed = Mode::Sealed.context(&certificate.owner())?;
        let plain = Mode::Plain.context(&certificate.owner())?;
        Ok(Self {
            me: Me { keys, certificate },
            kinds: vec![sealed.kind.clone()],
            own: vec![Own::new(sealed.clone(), Mode::Sealed)],
            sealed,
            plain,
        })
    }

    /// With the owner's plain context as well: relays and whoever runs them can read what is written in it.
    #[must_use]
    pub fn with_plain(mut self) -> Self {
        if self.own.len() == 1 {
            self.kinds.push(self.plain.kind.clone());
            self.own.push(Own::new(self.plain.clone(), Mode::Plain));
        }
        self
    }

    /// The owner's verifying key.
    pub fn owner(&self) -> VerifyingKey {
        self.me.certificate.owner()
    }

    /// This device.
    pub fn device(&self) -> ReplicaId {
        self.me.replica()
    }

    /// The owner's sealed context.
    pub fn context(&self) -> ContextId {
        self.sealed.id
    }

    /// The owner's plain context. It is in use only after [`with_plain`](Self::with_plain).
    pub fn plain_context(&self) -> ContextId {
        self.plain.id
    }

    /// Every device that is known here to have been certified, by rising id.
    pub fn devices(&self) -> Vec<DeviceInfo> {
        let mut devices = BTreeMap::new();
        for own in &self.own {
            let resolved = own.state.resolved();
            for (replica, device) in &resolved.devices {
                let (replica, standing) = (*replica, device.standing);
                let known = devices.entry(replica).or_insert(DeviceInfo { replica, standing, dormant: false });
                known.standing = standing.max(known.standing);
                known.dormant |= resolved.dormant.contains(&replica);
            }
        }
        devices.into_values().collect()
    }

    pub(crate) fn own(&self, context: &ContextId) -> Option<&Own> {
        self.own.iter().find(|own| own.info.id == *context)
    }

    /// How a device was lost in any of the owner's contexts: it gets nothing from here in the others either.
    pub(crate) fn loss_of(&self, device: &ReplicaId) -> Option<DeviceStanding> {
        self.own.iter().filter_map(|own| own.state.resolved().loss_of(device)).max()
    }
}

fn check(keys: &DeviceKeys, certificate: &Certificate) -> Result<(), OwnerError> {
    if certificate.device() == keys.replica() && certificate.box_key() == keys.boxes.public() {
        Ok(())
    } else {
        Err(OwnerError::OtherDevice(certificate.device()))
    }
}
