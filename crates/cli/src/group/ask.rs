//! What the commands say of the relay, and an invitation as it is handed in.

use std::io::Read as _;

use partita::{core::Refusal, group::Invitation};

use super::session::Heard;
use crate::error::CliError;

/// The longest text that is read from standard input: far more than any invitation has.
const MOST: u64 = 64 * 1024;

/// Says, where people read it, what was done and how far it got; whether it got as far as was asked.
pub(crate) fn report(done: &str, delivered: &Heard) -> bool {
    eprintln!("{done} {}", fate(delivered));
    matches!(delivered, Heard::Everything | Heard::Nothing)
}

fn fate(delivered: &Heard) -> String {
    match delivered {
        Heard::Everything => "The relay has it.".into(),
        Heard::Nothing => "It is stored here and goes out at the next run with --relay.".into(),
        Heard::Silence(why) => {
            format!("It is stored here; the relay does not have it yet ({why}). It goes out at the next run.")
        }
        Heard::Refused(why) => format!("It is stored here, and {}.", refused(*why)),
    }
}

/// Says what is known less than it could be.
pub(crate) fn warn(heard: &Heard) {
    match heard {
        Heard::Everything | Heard::Nothing => {}
        Heard::Silence(why) => eprintln!("The relay cannot be asked ({why}): this is what is known here."),
        Heard::Refused(why) => eprintln!("This is what was known here: {}.", refused(*why)),
    }
}

pub(crate) fn refused(why: Refusal) -> String {
    match why {
        Refusal::Revoked => "the relay says that this device was removed from the group, or left it".into(),
        // So it is for a device whose invitation another one used as well.
        Refusal::Denied => "the relay does not let this device in before an admin has confirmed it".into(),
        why => format!("the relay does not let this device in ({why})"),
    }
}

/// An invitation from the command line, or from standard input.
pub(crate) fn invitation(text: &str) -> Result<Invitation, CliError> {
    if text != "-" {
        return Ok(text.trim().parse()?);
    }
    let mut read = String::new();
    let stdin = std::io::stdin().lock();
    stdin.take(MOST).read_to_string(&mut read).map_err(CliError::io("cannot read the invitation"))?;
    Ok(read.trim().parse()?)
}
