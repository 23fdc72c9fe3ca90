//! What one side of a pair may say at this point of the negotiation.

use serde::{Deserialize, Serialize};
use turnpike_matching::Role;

use crate::contract::{DescriptionType, ErrorCode, MAX_CANDIDATES, SignalBody};

/// The negotiation as the server has seen it from one side.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Negotiation {
    generation: u32,
    /// Candidates sent in this generation.
    candidates: usize,
    /// Has ever made an offer.
    has_offered: bool,
    /// An offer of this side waits for its answer.
    offer_is_open: bool,
}

impl Negotiation {
    /// Checks a step of this side and takes it in.
    ///
    /// # Errors
    /// `stale_generation`, `not_initiator`, `wrong_state`, `bad_request` for too many candidates.
    pub(super) fn check(
        &mut self,
        theirs: &mut Self,
        role: Role,
        generation: u32,
        body: &SignalBody,
    ) -> Result<(), ErrorCode> {
        if generation < self.generation {
            return Err(ErrorCode::StaleGeneration);
        }
        if let SignalBody::Candidates(list) = body {
            let before = if generation == self.generation { self.candidates } else { 0 };
            if before + list.len() > MAX_CANDIDATES {
                return Err(ErrorCode::BadRequest);
            }
            self.candidates = before + list.len();
        }
        if let SignalBody::Description(description) = body {
            self.describe(theirs, role, description.kind)?;
        }
        if generation > self.generation {
            self.generation = generation;
            if !matches!(body, SignalBody::Candidates(_)) {
                self.candidates = 0;
            }
        }
        Ok(())
    }

    /// The first offer is the initiator's; an answer needs an open offer of the other side.
    fn describe(&mut self, theirs: &mut Self, role: Role, kind: DescriptionType) -> Result<(), ErrorCode> {
        match kind {
            DescriptionType::Offer if role == Role::Responder && !theirs.has_offered => {
                Err(ErrorCode::NotInitiator)
            }
            DescriptionType::Offer => {
                self.has_offered = true;
                self.offer_is_open = true;
                Ok(())
            }
            DescriptionType::Answer | DescriptionType::Pranswer if !theirs.offer_is_open => {
                Err(ErrorCode::WrongState)
            }
            DescriptionType::Pranswer => Ok(()),
            DescriptionType::Answer => {
                theirs.offer_is_open = false;
                // Who answers while its own offer is open has taken it back: the polite side of a glare.
                self.offer_is_open = false;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Candidate, Description};

    fn description(kind: DescriptionType) -> SignalBody {
        SignalBody::Description(Description { kind, sdp: String::new() })
    }

    fn candidates(count: usize) -> SignalBody {
        let one = Candidate {
            candidate: String::new(),
            sdp_mid: None,
            sdp_m_line_index: None,
            username_fragment: None,
        };
        SignalBody::Candidates(vec![one; count])
    }

    #[test]
    fn the_initiator_offers_and_the_responder_answers_once() {
        use DescriptionType::{Answer, Offer, Pranswer};
        let (mut a, mut b) = (Negotiation::default(), Negotiation::default());
        assert_eq!(b.check(&mut a, Role::Responder, 0, &description(Offer)), Err(ErrorCode::NotInitiator));
        assert_eq!(b.check(&mut a, Role::Responder, 0, &description(Answer)), Err(ErrorCode::WrongState));
        assert_eq!(a.check(&mut b, Role::Initiator, 0, &description(Offer)), Ok(()));
        assert_eq!(a.check(&mut b, Role::Initiator, 0, &description(Answer)), Err(ErrorCode::WrongState));
        assert_eq!(b.check(&mut a, Role::Responder, 0, &description(Pranswer)), Ok(()));
        assert_eq!(b.check(&mut a, Role::Responder, 0, &description(Answer)), Ok(()));
        assert_eq!(b.check(&mut a, Role::Responder, 0, &description(Answer)), Err(ErrorCode::WrongState));
        assert_eq!(
            b.check(&mut a, Role::Responder, 0, &description(Offer)),
            Ok(()),
            "later offers are anyone's"
        );
        assert_eq!(a.check(&mut b, Role::Initiator, 0, &description(Offer)), Ok(()), "glare");
        assert_eq!(b.check(&mut a, Role::Responder, 0, &description(Answer)), Ok(()));
        assert_eq!(a.check(&mut b, Role::Initiator, 0, &description(Answer)), Err(ErrorCode::WrongState));
    }

    #[test]
    fn a_generation_never_falls_and_has_room_for_64_candidates() {
        let (mut a, mut b) = (Negotiation::default(), Negotiation::default());
        assert_eq!(a.check(&mut b, Role::Initiator, 0, &candidates(60)), Ok(()));
        assert_eq!(a.check(&mut b, Role::Initiator, 0, &candidates(5)), Err(ErrorCode::BadRequest));
        assert_eq!(a.check(&mut b, Role::Initiator, 0, &candidates(4)), Ok(()));
        assert_eq!(a.check(&mut b, Role::Initiator, 1, &candidates(64)), Ok(()));
        assert_eq!(a.check(&mut b, Role::Initiator, 1, &candidates(1)), Err(ErrorCode::BadRequest));
        assert_eq!(
            a.check(&mut b, Role::Initiator, 0, &SignalBody::End(true)),
            Err(ErrorCode::StaleGeneration)
        );
    }
}
