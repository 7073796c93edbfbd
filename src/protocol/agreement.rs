//! Everything that proves the state of one agreement, as nodes send and store it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{ProtocolError, decode, encode};
use super::wire::Buf;
use crate::identity::{Chain, Purpose};

/// Largest encoding in bytes: three chains and two signed objects at their limits, and some room.
pub const AGREEMENT_PAPERS_BYTES_MAX: usize = 112 * 1024;

/// An offer or acceptance, perhaps an end, and the chains of those who signed. Proves itself to everybody who
/// trusts the issuers, so anybody may hand it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreementPapers {
    /// The signed acceptance if there is a chain of the accepter, else the signed offer.
    pub signed: Bytes,
    /// Of the node that signed the offer.
    pub offerer: Chain,
    /// Of the node that signed the acceptance.
    pub accepter: Option<Chain>,
    /// The signed end.
    pub end: Option<(Bytes, Chain)>,
}

#[derive(Serialize, Deserialize)]
struct ChainWire(Buf, Buf);

#[derive(Serialize, Deserialize)]
struct PapersWire(Buf, ChainWire, Option<ChainWire>, Option<(Buf, ChainWire)>);

impl AgreementPapers {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let wire = PapersWire(
            Buf(self.signed.clone()),
            to_wire(&self.offerer),
            self.accepter.as_ref().map(to_wire),
            self.end.as_ref().map(|(end, chain)| (Buf(end.clone()), to_wire(chain))),
        );
        encode(&wire).into()
    }

    /// From the bytes of another node, or of storage. Nothing of it is verified.
    pub fn decode(bytes: &[u8]) -> Result<AgreementPapers, ProtocolError> {
        const WHAT: &str = "agreement";
        let PapersWire(signed, offerer, accepter, end) = decode(WHAT, bytes, AGREEMENT_PAPERS_BYTES_MAX)?;
        let limit = Purpose::Agreement.size_bytes_max();
        if signed.0.len() > limit || end.as_ref().is_some_and(|(end, _)| end.0.len() > limit) {
            return Err(ProtocolError::Invalid { what: WHAT, rule: "a signed object is over its limit" });
        }
        Ok(AgreementPapers {
            signed: signed.0,
            offerer: from_wire(offerer),
            accepter: accepter.map(from_wire),
            end: end.map(|(end, chain)| (end.0, from_wire(chain))),
        })
    }
}

fn to_wire(chain: &Chain) -> ChainWire {
    ChainWire(Buf(chain.credential.clone().into()), Buf(chain.delegation.clone().into()))
}

fn from_wire(ChainWire(credential, delegation): ChainWire) -> Chain {
    Chain { credential: credential.0.to_vec(), delegation: delegation.0.to_vec() }
}
