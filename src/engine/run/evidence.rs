//! Questions about the log: storage reads, the core seals, and neither waits for the other.

use super::super::evidence::EvidenceCommand;
use super::super::store::refused;
use super::Runner;
use crate::roaming::{CallId, Input};

impl Runner {
    pub(super) fn evidence(&mut self, command: EvidenceCommand, call: CallId, inputs: &mut Vec<Input>) {
        let reader = self.parts.store.0.reader.clone();
        // Wherever an answer goes, the asker may have gone.
        match command {
            EvidenceCommand::Read { session, between, reply } => {
                self.parts.spawner.task(Box::pin(async move {
                    let _gone = reply.send(reader.logged(session, between).await.map_err(refused));
                }))
            }
            EvidenceCommand::Lines { session, before, most, reply } => {
                self.parts.spawner.task(Box::pin(async move {
                    let lines = reader.log_lines(session, before, most).await;
                    let _gone = reply.send(lines.map_err(refused));
                }));
            }
            EvidenceCommand::IsLeft { before_unix_ms, reply } => {
                self.parts.spawner.task(Box::pin(async move {
                    let is_left = reader.has_personal_data(before_unix_ms).await;
                    let _gone = reply.send(is_left.map_err(refused));
                }));
            }
            EvidenceCommand::Seal { logged, is_for_partner, reply } => {
                let (core, now) = (&self.parts.core, self.parts.clock.now());
                let file = match is_for_partner {
                    true => core.evidence_for_partner(*logged, now),
                    false => core.evidence_file(*logged, now),
                };
                let _gone = reply.send(file);
            }
            EvidenceCommand::Erase { what, reply } => {
                self.calls.insert(call, reply);
                inputs.push(Input::Erase { call, what });
            }
        }
    }
}
