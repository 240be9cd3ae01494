//! Who may open a context: the registered provider first, then a shared write key where it is switched on, else nobody.

use bytes::Bytes;
use partita_core::{AuthProvider, ContextInfo, Grant, Now, Refusal, StrategyError, Transcript};
use partita_crypto::VerifyingKey;

use crate::multi::MultiContext;

impl MultiContext {
    /// The provider of the context's strategy.
    fn registered(&self, context: &ContextInfo) -> &dyn AuthProvider {
        self.routes.at(&context.id).auth()
    }

    /// What the registered provider said, or else what a shared key is granted.
    pub(crate) fn or_shared(
        &self,
        registered: Result<Grant, Refusal>,
        transcript: &Transcript,
        context: &ContextInfo,
        proof: &[u8],
    ) -> Result<Grant, Refusal> {
        match registered {
            // Whoever was shut out by name stays out.
            Ok(_) | Err(Refusal::Revoked) => registered,
            Err(why) => self.shared.verify(transcript, context, proof).ok_or(why),
        }
    }

    /// What the first strategy that knows the remote says of a context that is nobody's yet.
    fn first_grant(
        &self,
        now: Now,
        transcript: &Transcript,
        remote: &VerifyingKey,
        context: &ContextInfo,
        proof: &[u8],
    ) -> Result<Grant, Refusal> {
        let mut told = Refusal::Denied;
        for (_, member) in self.routes.of_kind(&context.kind) {
            match member.auth().verify(now, transcript, remote, context, proof) {
                Ok(grant) => return Ok(grant),
                // What somebody says who knows the remote or its proof is worth more than that nobody does.
                Err(why) if told == Refusal::Denied && why != Refusal::UnknownKind => told = why,
                Err(_) => {}
            }
        }
        Err(told)
    }
}

impl AuthProvider for MultiContext {
    fn prove(&self, transcript: &Transcript, context: &ContextInfo) -> Result<Bytes, StrategyError> {
        let registered = self.registered(context).prove(transcript, context);
        if registered.as_ref().is_ok_and(|proof| !proof.is_empty()) {
            return registered;
        }
        self.shared.prove(transcript, context).map_or(registered, Ok)
    }

    fn prove_briefly(&self, transcript: &Transcript, context: &ContextInfo) -> Option<Bytes> {
        self.registered(context).prove_briefly(transcript, context)
    }

    fn verify(
        &self,
        now: Now,
        transcript: &Transcript,
        remote: &VerifyingKey,
        context: &ContextInfo,
        proof: &[u8],
    ) -> Result<Grant, Refusal> {
        if !self.routes.kinds().contains(&context.kind) {
            return Err(Refusal::UnknownKind);
        }
        let registered = match self.routes.home(&context.id) {
            Some(_) => self.routes.of(context)?.auth().verify(now, transcript, remote, context, proof),
            None => self.first_grant(now, transcript, remote, context, proof),
        };
        self.or_shared(registered, transcript, context, proof)
    }
}
