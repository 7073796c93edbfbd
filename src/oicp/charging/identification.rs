//! IdentificationType: who or what is to be authorized. Exactly one of five options; which of them a message
//! may hold is in [`Media`] (RULES 5.3).

use super::body::field_text;
use super::medium::{HashedPin, MediumKey, Pin, Uid};
use crate::oicp::evco::EvcoId;
use crate::oicp::finding::Fault;
use crate::oicp::json::{self, Node};
use crate::oicp::json_write::Writer;
use crate::oicp::time::DateTime;

/// The names of the five options on the wire, in the order of [`Identification`]'s variants.
pub const OPTIONS: [&str; 5] = [
    "RFIDMifareFamilyIdentification",
    "RFIDIdentification",
    "QRCodeIdentification",
    "PlugAndChargeIdentification",
    "RemoteIdentification",
];

/// Which options a message may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// AuthorizeStart and AuthorizeStop: a UID, a QR code with its PIN in clear text, Plug & Charge.
    Authorization,
    /// Remote start and reservation: a remote identification only.
    Remote,
    /// PushAuthenticationData: everything; a QR code with exactly one of PIN and hashed PIN.
    Upload,
    /// CDRs, notifications and answers: the medium that opened the session, no restriction.
    Any,
}

/// What a QR code's contract is proven with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QrSecret {
    /// The PIN in clear text.
    Pin(Pin),
    /// Its bcrypt hash.
    Hashed(HashedPin),
    /// None given; not in authorizations and uploads.
    Absent,
}

/// One medium. `Debug` shows the option and a contract's provider, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identification {
    /// RFIDMifareFamilyIdentification: a card's UID only; the RFID option of authorizations.
    MifareFamily {
        /// The card.
        uid: Uid,
    },
    /// RFIDIdentification: a card with details; barred from authorizations.
    Rfid {
        /// The card.
        uid: Uid,
        /// The contract behind it.
        evco_id: Option<EvcoId>,
        /// Card technology as received: `mifareCls`, `mifareDes`, `calypso`, `nfc`, `mifareFamily`.
        technology: Box<str>,
        /// The number printed on the card. Personal data.
        printed_number: Option<PrintedNumber>,
        /// The card is valid until then; absent if it does not expire.
        expiry: Option<DateTime>,
    },
    /// QRCodeIdentification.
    QrCode {
        /// The contract.
        evco_id: EvcoId,
        /// PIN or hash.
        secret: QrSecret,
    },
    /// PlugAndChargeIdentification: the contract in the vehicle's certificate (EMAID).
    PlugAndCharge {
        /// The contract.
        evco_id: EvcoId,
    },
    /// RemoteIdentification: an app's user.
    Remote {
        /// The contract.
        evco_id: EvcoId,
    },
}

/// The number printed on a card. Personal data: not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PrintedNumber(Box<str>);

impl PrintedNumber {
    /// The number as received. Never log it above DEBUG.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PrintedNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrintedNumber(…)")
    }
}

/// Why there is no such identification. Holds no value of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentificationError {
    /// Not JSON, or no object.
    #[error("Identification has to be an object")]
    NotAnObject,
    /// None of the five options.
    #[error("Identification has none of its five options")]
    None,
    /// More than one.
    #[error("Identification has {0} of its options, exactly one is allowed")]
    Several(usize),
    /// An option that this message may not hold.
    #[error("{0} is not allowed in this message")]
    NotAllowed(&'static str),
    /// A field of the option is absent or unreadable.
    #[error("{1} may not be null and has to follow its pattern")]
    Field(&'static str, &'static str),
    /// PIN and HashedPIN together.
    #[error("PIN and HashedPIN together: exactly one is allowed")]
    TwoSecrets(&'static str),
    /// No PIN, or only a hashed one where the clear text is needed.
    #[error("{1} may not be null in this message")]
    SecretMissing(&'static str, &'static str),
}

impl IdentificationError {
    /// The hub's refusal; `pointer` is that of the identification.
    #[must_use]
    pub fn at(&self, pointer: &str) -> Fault {
        let place = match self {
            IdentificationError::NotAnObject
            | IdentificationError::None
            | IdentificationError::Several(_) => pointer.to_owned(),
            IdentificationError::NotAllowed(option) | IdentificationError::TwoSecrets(option) => {
                format!("{pointer}/{option}")
            }
            IdentificationError::Field(option, field) | IdentificationError::SecretMissing(option, field) => {
                format!("{pointer}/{option}/{field}")
            }
        };
        Fault::single(&place, self.to_string())
    }
}

impl Identification {
    /// Reads the JSON text of an identification.
    ///
    /// # Errors
    /// [`IdentificationError`].
    pub fn parse(json: &str, media: Media) -> Result<Identification, IdentificationError> {
        let node = json::parse_text(json).map_err(|_| IdentificationError::NotAnObject)?;
        Identification::read(&node, media)
    }

    /// Reads an identification; options that are null are absent.
    ///
    /// # Errors
    /// [`IdentificationError`].
    pub fn read(node: &Node<'_>, media: Media) -> Result<Identification, IdentificationError> {
        if !node.is_object() {
            return Err(IdentificationError::NotAnObject);
        }
        let given: Vec<_> = given(node).collect();
        let (option, value) = match given.as_slice() {
            [] => return Err(IdentificationError::None),
            [one] => *one,
            several => return Err(IdentificationError::Several(several.len())),
        };
        Identification::lone(option, value, media)
    }

    /// As [`Self::read`], in tolerant reading: of several options the first that the message may hold and that can
    /// be read, in the order of [`OPTIONS`].
    ///
    /// # Errors
    /// [`IdentificationError`].
    pub fn read_first(node: &Node<'_>, media: Media) -> Result<Identification, IdentificationError> {
        let read = Identification::read(node, media);
        let Err(IdentificationError::Several(_)) = &read else { return read };
        let mut wrong = None;
        for (option, value) in given(node) {
            match Identification::lone(option, value, media) {
                Ok(found) => return Ok(found),
                Err(IdentificationError::NotAllowed(_)) => {}
                // What is wrong with the medium that would have counted says more than that there are several.
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        wrong.map_or(read, Err)
    }

    /// Reads the value of one option by its name, in any case.
    pub(super) fn lone(
        name: &str,
        value: &Node<'_>,
        media: Media,
    ) -> Result<Identification, IdentificationError> {
        let option = OPTIONS.iter().find(|option| option.eq_ignore_ascii_case(name));
        let option = option.ok_or(IdentificationError::None)?;
        let found = Identification::option(option, value)?;
        found.allowed(option, media)?;
        Ok(found)
    }

    fn option(option: &'static str, node: &Node<'_>) -> Result<Identification, IdentificationError> {
        let uid = || {
            let text = field_text(node, "UID");
            text.and_then(Uid::parse).ok_or(IdentificationError::Field(option, "UID"))
        };
        let optional_contract = || field_text(node, "EvcoID").and_then(|text| EvcoId::parse(text).ok());
        let contract = || optional_contract().ok_or(IdentificationError::Field(option, "EvcoID"));
        Ok(match option {
            "RFIDMifareFamilyIdentification" => Identification::MifareFamily { uid: uid()? },
            "RFIDIdentification" => Identification::Rfid {
                uid: uid()?,
                evco_id: optional_contract(),
                technology: field_text(node, "RFID").unwrap_or("mifareFamily").into(),
                printed_number: field_text(node, "PrintedNumber").map(|text| PrintedNumber(text.into())),
                expiry: field_text(node, "ExpiryDate").and_then(DateTime::parse),
            },
            "QRCodeIdentification" => {
                Identification::QrCode { evco_id: contract()?, secret: secret(option, node)? }
            }
            "PlugAndChargeIdentification" => Identification::PlugAndCharge { evco_id: contract()? },
            _ => Identification::Remote { evco_id: contract()? },
        })
    }

    fn allowed(&self, option: &'static str, media: Media) -> Result<(), IdentificationError> {
        let allowed = match media {
            Media::Authorization => {
                !matches!(self, Identification::Rfid { .. } | Identification::Remote { .. })
            }
            Media::Remote => matches!(self, Identification::Remote { .. }),
            Media::Upload | Media::Any => true,
        };
        if !allowed {
            return Err(IdentificationError::NotAllowed(option));
        }
        match (self, media) {
            (Identification::QrCode { secret: QrSecret::Pin(_), .. }, _) => Ok(()),
            (Identification::QrCode { .. }, Media::Authorization) => {
                Err(IdentificationError::SecretMissing(option, "PIN"))
            }
            (Identification::QrCode { secret: QrSecret::Absent, .. }, Media::Upload) => {
                Err(IdentificationError::SecretMissing(option, "HashedPIN"))
            }
            _ => Ok(()),
        }
    }

    /// The comparable key of the medium.
    #[must_use]
    pub fn medium_key(&self) -> MediumKey {
        match self {
            Identification::MifareFamily { uid } | Identification::Rfid { uid, .. } => {
                MediumKey::new("rfid", uid.expose())
            }
            Identification::QrCode { evco_id, .. } => MediumKey::new("qr", &evco_id.canonical()),
            Identification::PlugAndCharge { evco_id } => MediumKey::new("pnc", &evco_id.canonical()),
            Identification::Remote { evco_id } => MediumKey::new("remote", &evco_id.canonical()),
        }
    }

    /// The card, if the medium is one.
    #[must_use]
    pub fn uid(&self) -> Option<&Uid> {
        match self {
            Identification::MifareFamily { uid } | Identification::Rfid { uid, .. } => Some(uid),
            _ => None,
        }
    }

    /// The contract, if the medium names one: its [`EvcoId::provider`] is the EMP to ask (RULES 5.1).
    #[must_use]
    pub fn evco_id(&self) -> Option<&EvcoId> {
        match self {
            Identification::MifareFamily { .. } => None,
            Identification::Rfid { evco_id, .. } => evco_id.as_ref(),
            Identification::QrCode { evco_id, .. }
            | Identification::PlugAndCharge { evco_id }
            | Identification::Remote { evco_id } => Some(evco_id),
        }
    }

    /// The option's name on the wire.
    #[must_use]
    pub fn option_name(&self) -> &'static str {
        match self {
            Identification::MifareFamily { .. } => OPTIONS[0],
            Identification::Rfid { .. } => OPTIONS[1],
            Identification::QrCode { .. } => OPTIONS[2],
            Identification::PlugAndCharge { .. } => OPTIONS[3],
            Identification::Remote { .. } => OPTIONS[4],
        }
    }

    /// Writes the object with the one option that it has.
    pub fn write(&self, writer: &mut Writer) {
        writer.begin_object().key(self.option_name()).begin_object();
        if let Some(uid) = self.uid() {
            writer.key("UID").string(uid.expose());
        }
        if let Some(evco_id) = self.evco_id() {
            writer.key("EvcoID").string(evco_id.as_str());
        }
        match self {
            Identification::Rfid { technology, printed_number, expiry, .. } => {
                writer.key("RFID").string(technology);
                if let Some(number) = printed_number {
                    writer.key("PrintedNumber").string(number.expose());
                }
                if let Some(expiry) = expiry {
                    writer.key("ExpiryDate").string(expiry.as_str());
                }
            }
            Identification::QrCode { secret: QrSecret::Pin(pin), .. } => {
                writer.key("PIN").string(pin.expose());
            }
            Identification::QrCode { secret: QrSecret::Hashed(hash), .. } => {
                writer.key("HashedPIN").begin_object().key("Value").string(hash.expose());
                writer.key("Function").string("Bcrypt").end_object();
            }
            _ => {}
        }
        writer.end_object().end_object();
    }

    /// The object's text. Personal data.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.finish()
    }
}

/// The options that are there; one that is null is not.
pub(super) fn given<'n, 'a>(node: &'n Node<'a>) -> impl Iterator<Item = (&'static str, &'n Node<'a>)> {
    OPTIONS.iter().filter_map(|name| Some((*name, node.field_any_case(&[*name])?)))
}

fn secret(option: &'static str, node: &Node<'_>) -> Result<QrSecret, IdentificationError> {
    // A PIN is free text: not trimmed, and a number stands for its digits. An empty one is none.
    let pin = node.field_any_case(&["PIN"]);
    let pin = pin.and_then(|pin| pin.as_str().or_else(|| pin.number_text())).filter(|pin| !pin.is_empty());
    match (pin, node.field_any_case(&["HashedPIN"])) {
        (Some(_), Some(_)) => Err(IdentificationError::TwoSecrets(option)),
        (Some(pin), None) => {
            Pin::parse(pin).map(QrSecret::Pin).ok_or(IdentificationError::Field(option, "PIN"))
        }
        (None, Some(hashed)) => {
            let value = field_text(hashed, "Value").and_then(HashedPin::parse);
            value.map(QrSecret::Hashed).ok_or(IdentificationError::Field(option, "HashedPIN"))
        }
        (None, None) => Ok(QrSecret::Absent),
    }
}

#[cfg(test)]
#[path = "identification_tests.rs"]
mod tests;
