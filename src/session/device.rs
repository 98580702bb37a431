//! Proofs of the device that the session is bound to.

use std::sync::Arc;

use http::HeaderMap;

use super::Session;
use crate::{
    SessionId, Timestamp,
    binding::{DeviceToken, Purpose, is_challenge},
    events::EventKind,
    record::{Binding, BoundDevice, DeviceKey, Proof},
    settings::{DeviceConfig, ask_for_proof},
};

/// Why a proof is refused: for the client, the log and the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProofRefusal {
    /// There is no session of a user to bind.
    NoSession,
    /// The token is not the latest one of the session.
    OldToken,
    /// The session began without an offer.
    NotOffered,
    /// The session is bound to another key.
    OtherDevice,
    /// The proof carries no key, or one where none belongs.
    Key,
    /// The challenge is too old, or was not made for this session and purpose.
    Challenge,
    /// The signature is not by the key.
    Signature,
}

impl ProofRefusal {
    /// As a label of the counter, and in the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NoSession => "no_session",
            Self::OldToken => "old_token",
            Self::NotOffered => "not_offered",
            Self::OtherDevice => "other_device",
            Self::Key => "key",
            Self::Challenge => "challenge",
            Self::Signature => "signature",
        }
    }

    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::NoSession => "There is no session of a user.",
            Self::OldToken => "The session cookie is not the latest one.",
            Self::NotOffered => "This session was not offered a binding.",
            Self::OtherDevice => "The session is bound to another device.",
            Self::Key => "The proof of a registration carries a public key; that of a refresh does not.",
            Self::Challenge => "The challenge is too old, or it is not one for this session and purpose.",
            Self::Signature => "The signature was not made by the key of the device.",
        }
    }
}

/// What came of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refreshed {
    /// The device proved itself, and gets a new bound cookie.
    Renewed,
    /// The device has to prove itself with a new challenge.
    Challenged,
    /// The session is over, or not bound: the browser may forget it.
    Forgotten,
    /// It cannot be said now whether the session is over.
    Undecided,
}

impl Session {
    /// Verifies the proof of a registration and plans to bind the session.
    pub(crate) fn register_device(&self, token: &DeviceToken) -> Result<(), ProofRefusal> {
        let (sid, binding, proof) = {
            let state = self.look();
            let known = state.request.lasting().filter(|known| known.record.subject.is_some());
            let known = known.ok_or(ProofRefusal::NoSession)?;
            let binding = known.record.binding.clone().ok_or(ProofRefusal::NotOffered)?;
            (known.record.sid, binding, known.proof)
        };
        let now = self.inner().shared_now();
        // A thief of an older cookie cannot bind the session to another device.
        if proof != Proof::Current {
            return Err(ProofRefusal::OldToken);
        }
        let key = token.key.as_ref().ok_or(ProofRefusal::Key)?;
        verify(token, key, &binding, sid, Purpose::Registration, now)?;
        match &binding.device {
            // The answer to an earlier attempt was lost.
            Some(device) if device.key == *key => Ok(()),
            Some(_) => Err(ProofRefusal::OtherDevice),
            None => {
                let device = BoundDevice { key: key.clone(), bound_at: now };
                self.state().request.plan_binding(device);
                Ok(())
            }
        }
    }

    /// Answers a registration that is stored: the bound cookie and the session instructions. Of two
    /// registrations at the same time the first one wins.
    pub(crate) fn registered_device(
        &self,
        token: &DeviceToken,
        headers: &mut HeaderMap,
    ) -> Result<Vec<u8>, ProofRefusal> {
        let config = self.device_config().ok_or(ProofRefusal::NotOffered)?;
        let (sid, binding) = self.binding().ok_or(ProofRefusal::NoSession)?;
        let is_bound = binding.device.as_ref().is_some_and(|device| Some(&device.key) == token.key.as_ref());
        if !is_bound {
            return Err(ProofRefusal::OtherDevice);
        }
        config.issue(headers, &binding, sid, self.inner().shared_now());
        Ok(config.instructions(sid))
    }

    /// Answers a refresh of the session that the browser names: no other one was looked for.
    pub(crate) fn refresh_device(&self, token: Option<&DeviceToken>, headers: &mut HeaderMap) -> Refreshed {
        let Some((sid, binding)) = self.binding() else {
            let is_undecided = self.state().request.may_be_live_elsewhere();
            return if is_undecided { Refreshed::Undecided } else { Refreshed::Forgotten };
        };
        let (Some(device), Some(config)) = (&binding.device, self.device_config()) else {
            return Refreshed::Forgotten;
        };
        let now = self.inner().shared_now();
        let proven = token.map(|token| {
            if token.key.as_ref().is_some_and(|key| *key != device.key) {
                return Err(ProofRefusal::Key);
            }
            verify(token, &device.key, &binding, sid, Purpose::Refresh, now)
        });
        match proven {
            Some(Ok(())) => {
                config.issue(headers, &binding, sid, now);
                return Refreshed::Renewed;
            }
            Some(Err(refusal)) => self.emit_proof_refused(refusal.as_str()),
            None => {}
        }
        ask_for_proof(headers, &binding, sid, now);
        Refreshed::Challenged
    }

    pub(crate) fn emit_proof_refused(&self, reason: &'static str) {
        let sid = self.state().request.lasting().map(|known| known.record.sid);
        let inner = self.inner();
        let kind = EventKind::ProofRefused { reason };
        inner.config.engine.emit(inner.now, &inner.realm().name, sid, None, kind);
    }

    fn binding(&self) -> Option<(SessionId, Arc<Binding>)> {
        let state = self.look();
        let known = state.request.lasting()?;
        Some((known.record.sid, known.record.binding.clone()?))
    }

    fn device_config(&self) -> Option<&DeviceConfig> {
        self.inner().config.device.as_ref()
    }
}

/// Whether a proof answers a challenge of this session and purpose, signed by this key.
fn verify(
    token: &DeviceToken,
    key: &DeviceKey,
    binding: &Binding,
    sid: SessionId,
    purpose: Purpose,
    now: Timestamp,
) -> Result<(), ProofRefusal> {
    // First what costs less: anybody can send a signature.
    if !is_challenge(&token.challenge, binding, sid, purpose, now) {
        return Err(ProofRefusal::Challenge);
    }
    if token.verify(key) { Ok(()) } else { Err(ProofRefusal::Signature) }
}
