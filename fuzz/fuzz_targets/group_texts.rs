//! What people hand to each other to form a group: cards and invitations.

#![no_main]

use libfuzzer_sys::fuzz_target;
use partita_group::{Card, Invitation};

fuzz_target!(|text: &str| {
    if let Ok(card) = text.parse::<Card>() {
        assert_eq!(card.to_string().parse::<Card>().as_ref(), Ok(&card));
    }
    if let Ok(invitation) = text.parse::<Invitation>() {
        let again = invitation.text().parse::<Invitation>();
        assert!(again.is_ok_and(|again| again.text() == invitation.text()));
    }
});
