//! PushAuthenticationData and the old PullAuthenticationData (OPERATIONS rows 16 and 21): an EMP uploads its media, so that its node can answer for it. A PIN
//! in clear text ends here: only its hash goes on.

use std::mem;

use super::answer::Answer;
use super::call::Call;
use super::evse_push::same_operator;
use super::shared::Shared;
use super::workers::INLINE_BYTES_MAX;
use crate::engine::AuthenticationPush;
use crate::identity::{PartyId, Role};
use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::charging::{
    Identification, PushAuthenticationData, QrSecret, read_pull_authentication_data,
    write_authentication_data,
};
use crate::oicp::status_code::Code;
use crate::pins;

/// PINs in clear text in one push: hashing each takes some 50 ms of a worker, all together half a minute, and the
/// caller waits for it. More come as hashes, or in several pushes.
const CLEAR_PINS_MAX: usize = 500;

/// Bytes of one medium in an answer, for the decision where it is written.
const MEDIUM_BYTES: usize = 150;

/// PINs hashed without a pause: other work gets in between.
const PINS_PER_JOB: usize = 4;

/// Carries it out.
pub(super) async fn push_authentication(shared: &Shared, call: Call) -> Result<Answer, Answer> {
    let turn = shared.lanes.turn(&call.party).await.ok_or_else(Answer::busy)?;
    let (body, reading) = (call.body.clone(), call.reading);
    let read = shared.workers.run(body.len(), move || PushAuthenticationData::parse(&body, reading)).await?;
    let mut push = read.map_err(|fault| Answer::malformed(fault.to_json()))?;
    let same = PartyId::new(Role::Emp, push.provider_id.as_str()).is_ok_and(|named| named == call.party);
    if !same {
        return Err(Answer::ids_differ("ProviderID"));
    }
    let media = push.records.len();
    tracing::info!(party = %call.party, media, findings = push.findings.len(), "authentication data is uploaded");
    if push.records.iter().filter(|record| clear_pin(record)).count() > CLEAR_PINS_MAX {
        let info =
            format!("more than {CLEAR_PINS_MAX} PINs in clear text: send HashedPIN, or several pushes");
        return Ok(refused(&info));
    }
    hash_pins(shared, &mut push.records).await?;
    let size = call.body.len();
    let push = match shared.workers.run(size, move || checked(push)).await? {
        Ok(push) => push,
        Err(place) => {
            let info = format!(
                "record {place} (counted from 0): its HashedPIN is no bcrypt hash of a cost up to {}",
                pins::COST_MAX
            );
            return Ok(refused(&info));
        }
    };
    let outcome = shared.engine.push_authentication(call.party.clone(), push).await?;
    drop(turn);
    let answer =
        Acknowledgement { result: outcome.result, status: outcome.status, ..Acknowledgement::success() };
    Ok(Answer::ok(answer.to_json()))
}

/// PullAuthenticationData (OPERATIONS row 21), which OICP 2.3 has no more. What an EMP uploaded never leaves its node
/// (`decisions.md` 28), so only EMPs of this one are told of; of all others there is nothing, and that is a success.
pub(super) async fn pull_authentication(shared: &Shared, call: Call) -> Result<Answer, Answer> {
    let (body, reading) = (call.body.clone(), call.reading);
    let read = shared.workers.run(body.len(), move || read_pull_authentication_data(&body, reading)).await?;
    let operator_id = read.map_err(|fault| Answer::malformed(fault.to_json()))?;
    same_operator(&call.party, &operator_id)?;
    let Some(media) = shared.engine.pull_authentication(call.party.clone()).await? else {
        let info = "there are more media than one answer may have: let the node authorize instead";
        return Err(Answer::broken(info));
    };
    let records: usize = media.iter().map(|provider| provider.media.len()).sum();
    tracing::info!(party = %call.party, records, "authentication data is pulled");
    let write = move || write_authentication_data(&media);
    Ok(Answer::ok(shared.workers.run(records.saturating_mul(MEDIUM_BYTES), write).await?))
}

fn refused(info: &str) -> Answer {
    Answer::ok(Acknowledgement::refusal(Code::DataError, info).to_json())
}

fn clear_pin(record: &Identification) -> bool {
    matches!(record, Identification::QrCode { secret: QrSecret::Pin(_), .. })
}

/// Replaces every PIN by its hash, on worker threads.
async fn hash_pins(shared: &Shared, records: &mut [Identification]) -> Result<(), Answer> {
    let mut secrets: Vec<&mut QrSecret> = Vec::new();
    for record in records {
        if let Identification::QrCode { secret: secret @ QrSecret::Pin(_), .. } = record {
            secrets.push(secret);
        }
    }
    for chunk in secrets.chunks_mut(PINS_PER_JOB) {
        let clear: Vec<QrSecret> =
            chunk.iter_mut().map(|secret| mem::replace(&mut **secret, QrSecret::Absent)).collect();
        // Few bytes, but slow: never in place.
        let hashed = shared.workers.run(INLINE_BYTES_MAX + 1, move || {
            let hash = |secret| match secret {
                QrSecret::Pin(pin) => pins::hash(&pin).map(QrSecret::Hashed),
                other => Ok(other),
            };
            clear.into_iter().map(hash).collect::<Result<Vec<QrSecret>, _>>()
        });
        let hashed = hashed.await?.map_err(|error| Answer::broken(&error.to_string()))?;
        for (secret, hash) in chunk.iter_mut().zip(hashed) {
            **secret = hash;
        }
    }
    Ok(())
}

/// Hashes that nobody could check, or only at a price, are found before they are stored. `Err`: their place.
fn checked(push: PushAuthenticationData) -> Result<AuthenticationPush, usize> {
    let bad = |record: &Identification| match record {
        Identification::QrCode { secret: QrSecret::Hashed(hash), .. } => !pins::is_checkable(hash),
        _ => false,
    };
    match push.records.iter().position(bad) {
        Some(place) => Err(place),
        None => AuthenticationPush::new(push),
    }
}
