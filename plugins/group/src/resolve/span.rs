//! Answers while not everything is decided.

use crate::role::Role;

/// Whether something holds, while not everything is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tri {
    No,
    Open,
    Yes,
}

impl Tri {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Open,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Open => Self::Open,
            Self::Yes => Self::No,
        }
    }
}

impl From<bool> for Tri {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// The least and the most that a role can turn out to be; `None` is no member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) least: Option<Role>,
    pub(super) most: Option<Role>,
}

impl Span {
    pub(super) const NONE: Self = Self { least: None, most: None };

    pub(super) fn at_least(self, role: Role) -> Tri {
        match (self.least >= Some(role), self.most >= Some(role)) {
            (true, _) => Tri::Yes,
            (_, false) => Tri::No,
            _ => Tri::Open,
        }
    }

    /// The same, if something else holds too.
    pub(super) fn if_so(self, holds: Tri) -> Self {
        match holds {
            Tri::Yes => self,
            Tri::No => Self::NONE,
            Tri::Open => Self { least: None, most: self.most },
        }
    }

    pub(super) fn up_to(self, limit: Role) -> Self {
        Self { least: self.least.map(|role| role.min(limit)), most: self.most.map(|role| role.min(limit)) }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), most: self.most.max(other.most) }
    }
}
