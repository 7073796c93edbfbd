//! Agreements between every CPO and every EMP, offered and accepted as people would: without them nobody charges.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chargemesh::engine::{AgreementRefusal, EngineError, NewOffer};
use chargemesh::identity::{PartyId, Role, Service};
use futures::future::try_join_all;
use tokio::time::Instant;

use super::nodes::{Network, PartyNode};

/// How long the nodes may take until all agreements are in force and all partners are connected.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two looks at whether an offer has come, or a partner.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long the agreements hold, in seconds: longer than the demo's credentials.
const VALIDITY_S: u64 = 30 * 86_400;

/// Makes all agreements, and returns when every partner is connected. Gives their number.
pub(super) async fn make(network: &Network) -> anyhow::Result<usize> {
    let until = Instant::now() + PATIENCE;
    let until_unix_s = network.clock.now().unix_s().saturating_add(VALIDITY_S);
    let of_cpo = |cpo| async move {
        for emp in &network.emps {
            agree(cpo, emp, until_unix_s, until)
                .await
                .with_context(|| format!("the agreement of {} and {}", cpo.id, emp.id))?;
        }
        anyhow::Ok(())
    };
    try_join_all(network.cpos.iter().map(of_cpo)).await?;
    let (cpos, emps) = (network.cpos.len(), network.emps.len());
    let of_cpos = network.cpos.iter().map(|cpo| connected(cpo, emps, until));
    let of_emps = network.emps.iter().map(|emp| connected(emp, cpos, until));
    tokio::try_join!(try_join_all(of_cpos), try_join_all(of_emps))?;
    Ok(cpos * emps)
}

/// The CPO offers, the EMP accepts as soon as it has heard of it.
async fn agree(cpo: &PartyNode, emp: &PartyNode, until_unix_s: u64, until: Instant) -> anyhow::Result<()> {
    let offer = NewOffer {
        ours: Some(PartyId::new(Role::Cpo, &cpo.id)?),
        partner: PartyId::new(Role::Emp, &emp.id)?,
        services: BTreeSet::from([Service::Authorization]),
        valid_from_unix_s: None,
        valid_until_unix_s: until_unix_s,
    };
    let offer = loop {
        match cpo.engine.offer_agreement(offer.clone()).await {
            Err(EngineError::Busy) if Instant::now() < until => tokio::time::sleep(LOOK_INTERVAL).await,
            offered => break offered??,
        }
    };
    loop {
        let why = match emp.engine.accept_agreement(offer).await {
            Ok(Ok(_)) => return Ok(()),
            // It has not come yet, or nobody has said yet who was revoked.
            Ok(Err(why @ (AgreementRefusal::Unknown | AgreementRefusal::Stale { .. }))) => why.to_string(),
            Ok(Err(why)) => bail!("{why}"),
            Err(why @ EngineError::Busy) => why.to_string(),
            Err(why) => bail!("{why}"),
        };
        anyhow::ensure!(Instant::now() < until, "not accepted in {} s: {why}", PATIENCE.as_secs());
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Waits until a node knows so many partners, has them all on the line, and has heard what was revoked.
async fn connected(node: &PartyNode, partners: usize, until: Instant) -> anyhow::Result<()> {
    loop {
        let view = node.view().await?;
        let here = view.partners.iter().filter(|partner| partner.connected).count();
        let heard = view.registry_compared_unix_ms.is_some();
        if here >= partners && heard {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < until,
            "{} has {here} of {partners} partners after {} s, and has {} what was revoked",
            node.id,
            PATIENCE.as_secs(),
            if heard { "heard" } else { "not heard" }
        );
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
