//! The settings of charging, each with unit and reason.

use serde::{Deserialize, Serialize};

use super::card_filters::PartyList;

/// What is done with a remote start that succeeded after its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LateStart {
    /// `adopt` if the EMP's backend takes charging notifications, else `stop`.
    #[default]
    Auto,
    /// The session runs, and the EMP's backend is told by a charging notification.
    Adopt,
    /// It is stopped.
    Stop,
}

/// `[charging]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChargingConfig {
    /// How long a backend waits for the answer to a remote start or stop or a reservation, in milliseconds. The
    /// hub waits as long for the CPO (OPERATIONS 4).
    pub remote_ms: u64,
    /// ... for an authorization, all asked EMPs together, in milliseconds: clients of today give up after 10 s.
    pub authorize_ms: u64,
    /// ... of this, how long the EMP that is known for a card is asked alone, in milliseconds.
    pub learned_alone_ms: u64,
    /// ... for a charging notification, in milliseconds.
    pub notification_ms: u64,
    /// How long a backend's late answer is still waited for, in milliseconds: it decides about a session.
    pub backend_patience_ms: u64,
    /// What is done with a remote start that succeeded after its deadline: `auto`, `adopt` or `stop`.
    pub late_start: LateStart,
    /// A session of which nothing is heard ends, with a report, after this time, in days.
    pub session_expiry_days: u64,
    /// Personal data of sessions is deleted after this time, in days; 0: never. Messages, what sessions know of drivers
    /// and charge detail records go, the hashes of the log stay. Claims come under limitation after three years in many
    /// countries; the law of yours may want another time.
    pub personal_data_days: u64,
    /// Sessions that are open at once; more are refused. Those that are over are remembered for a day as far as these
    /// leave room.
    pub sessions_max: usize,
    /// Messages under way to one partner at once, and calls of our backend for one; more are refused.
    pub in_flight_per_partner_max: usize,
    /// Shortest time between two Progress notifications of one session, in seconds (OICP: five minutes).
    pub progress_every_s: u64,
    /// Whether what an EMP uploaded answers for it when its backend does not; without a backend it always does. On:
    /// only who uploads is concerned, and the hub answers from an upload without asking at all.
    pub offline_fallback: bool,
    /// Cards of which the EMP is remembered.
    pub learned_max: usize,
    /// Charge detail records that are not settled yet, sent and received; more are refused, before `000` is said.
    /// Each takes some 4 kB of memory.
    pub open_cdrs_max: usize,
    /// How long the EMP's backend has for a charge detail record before it is asked again, in milliseconds.
    pub cdr_backend_ms: u64,
    /// How long it is asked again, in days; then the record is kept until the EMP pulls it.
    pub cdr_backend_days: u64,
    /// A charge detail record that is not settled after this time, in minutes, is reported.
    pub cdr_alarm_minutes: u64,
    /// A session without a charge detail record of which nothing was heard for so long, in hours, is reported: longer
    /// than a car stands at a station over a weekend.
    pub cdr_overdue_hours: u64,
    /// Whether a charge detail record that comes a second time is refused with 400, as the hub does.
    pub refuse_identical_cdr: bool,
    /// Whether corrections of charge detail records are given to the EMP's backend, pushed and pulled. OICP has no
    /// word for what they replace.
    pub forward_corrections: bool,
    /// The CPOs that are shown which cards the EMPs of this node uploaded, so that they do not ask for others; only
    /// for EMPs that upload all their cards. What it gives away: [`crate::protocol::CardFilter`].
    pub card_filter_for: PartyList,
}

impl Default for ChargingConfig {
    fn default() -> ChargingConfig {
        ChargingConfig {
            remote_ms: 60_000,
            authorize_ms: 8_000,
            learned_alone_ms: 1_500,
            notification_ms: 10_000,
            backend_patience_ms: 120_000,
            late_start: LateStart::Auto,
            session_expiry_days: 30,
            personal_data_days: 1_095,
            sessions_max: 200_000,
            in_flight_per_partner_max: 2_048,
            progress_every_s: 300,
            offline_fallback: true,
            learned_max: 100_000,
            open_cdrs_max: 50_000,
            cdr_backend_ms: 30_000,
            cdr_backend_days: 14,
            cdr_alarm_minutes: 60,
            cdr_overdue_hours: 72,
            refuse_identical_cdr: false,
            forward_corrections: false,
            card_filter_for: PartyList::default(),
        }
    }
}
