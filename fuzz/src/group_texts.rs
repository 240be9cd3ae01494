//! What people hand to each other to form a group: cards and invitations.

use partita_group::{Card, Invitation};

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(card) = text.parse::<Card>() {
        assert_eq!(card.to_string().parse::<Card>().as_ref(), Ok(&card));
    }
    if let Ok(invitation) = text.parse::<Invitation>() {
        let again = invitation.text().parse::<Invitation>();
        assert!(again.is_ok_and(|again| again.text() == invitation.text()));
    }
}
