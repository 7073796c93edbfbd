//! A new party's keys, its credential and the delegation to its node.

use anyhow::{Context as _, bail};
use chargemesh::identity::delegation::WRITER_SLOT;
use chargemesh::identity::{Chain, Credential, CredentialTerms, KeyPurpose, PartyId, SecretKey, hash_of};

use super::Args;
use super::authority::Authority;
use crate::cli::files::{self, NewFile};
use crate::cli::keys::{key_file, random, random_key};
use crate::cli::party::delegate::{CREDENTIAL_DAYS, delegation};
use crate::cli::text::{DAY_S, day};

/// A party with its keys and what was signed for it.
pub(super) struct NewParty {
    pub(super) id: PartyId,
    org_key: SecretKey,
    pub(super) message_key: SecretKey,
    pub(super) chain: Chain,
    credential_until_unix_s: u64,
    pub(super) delegation_until_unix_s: u64,
}

impl NewParty {
    pub(super) fn make(
        id: PartyId,
        args: &Args,
        authority: &Authority,
        node_key: &SecretKey,
        now_unix_s: u64,
    ) -> anyhow::Result<NewParty> {
        let Some(issuer) = &authority.issuer else {
            bail!("somebody has to vouch for {id}: name the key file of an issuer with --issuer");
        };
        let (org_key, message_key) = (random_key()?, random_key()?);
        let credential_until_unix_s = now_unix_s + CREDENTIAL_DAYS * DAY_S;
        let terms = CredentialTerms {
            party: id.clone(),
            sub_ids: args.subs.clone(),
            legal_name: args.name.clone().unwrap_or_default(),
            register_number: String::new(),
            org_key: org_key.public(),
            next_org_key_hash: None,
            not_before_unix_s: now_unix_s,
            expires_unix_s: credential_until_unix_s,
            serial: random::<16>()?.to_vec(),
        };
        let credential = Credential::issue(&authority.network, &terms, &authority.issuer_name, issuer)
            .context("the credential cannot be made")?;
        let delegation_until_unix_s = args.validity.end(&terms, now_unix_s);
        let delegation = delegation(
            &terms,
            node_key,
            message_key.public(),
            WRITER_SLOT,
            now_unix_s,
            delegation_until_unix_s,
        )?
        .issue(&authority.network, &hash_of(&credential), &org_key)
        .context("the delegation cannot be made")?;
        let chain = Chain { credential, delegation };
        Ok(NewParty { id, org_key, message_key, chain, credential_until_unix_s, delegation_until_unix_s })
    }

    /// The files of the party.
    pub(super) fn files(&self) -> [NewFile; 4] {
        let signed =
            |name, bytes: &[u8], what| NewFile { name, content: bytes.to_vec().into(), secret: false, what };
        let word = format!("an issuer's word for {}, until {}", self.id, day(self.credential_until_unix_s));
        let leave =
            format!("lets this node speak for {}, until {}", self.id, day(self.delegation_until_unix_s));
        [
            key_file(files::MESSAGE_KEY, &self.message_key, KeyPurpose::Message, "signs what the node says"),
            key_file(
                files::ORG_KEY,
                &self.org_key,
                KeyPurpose::Org,
                "signs delegations; no node needs it to run, so keep it elsewhere",
            ),
            signed(files::CREDENTIAL, &self.chain.credential, word),
            signed(files::DELEGATION, &self.chain.delegation, leave),
        ]
    }
}
