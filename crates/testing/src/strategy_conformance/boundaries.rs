//! Nothing crosses from one context into another.

use partita_core::Opened;

use super::{
    Findings,
    Rule::{Boundaries, ForeignContext},
    Who,
    council::Council,
};

const PLAIN: &[u8] = b"what the suite writes in one context";

pub(super) fn check(council: &Council<'_>, findings: &mut Findings) {
    let (contexts, foreign) = (&council.subject.contexts, &council.subject.foreign);
    for (from, to) in contexts.iter().flat_map(|from| contexts.iter().chain([foreign]).map(move |to| (from, to))) {
        if from.id == to.id {
            continue;
        }
        for writer in council.subject.writers.iter().copied() {
            let here = council.draft(writer, &from.id, PLAIN);
            let there = council.draft_on(writer, &to.id, here.heads.clone(), here.epoch, PLAIN);
            if let Ok(sealed) = council.sealed(writer, &here, PLAIN)
                && sealed != PLAIN
            {
                let under = [there.epoch, council.epoch(writer, &to.id)];
                for epoch in under {
                    let there = council.draft_on(writer, &to.id, Vec::new(), epoch, PLAIN);
                    for who in [Who::Local, Who::Friend] {
                        let opened = council.strategy(who).open(&there.prefix(), &sealed);
                        let leaks = matches!(&opened, Opened::Plain(plain) if plain == PLAIN);
                        let what = || format!("what {writer:?} sealed in {} opens in {} for {who:?}", from.id, to.id);
                        findings.expect(Boundaries, !leaks, what);
                    }
                }
            }
            for judge in [Who::Local, Who::Friend] {
                let counts = there.counts(council.strategy(judge));
                if !here.heads.is_empty() {
                    let what = || format!("control entries of {} let an entry count in {}", from.id, to.id);
                    findings.expect(Boundaries, !counts, what);
                }
                if to == foreign {
                    let what = || format!("an entry of {writer:?} counts in a context that is nobody's, for {judge:?}");
                    let bare = council.draft_on(writer, &to.id, Vec::new(), None, PLAIN);
                    findings.expect(ForeignContext, !counts && !bare.counts(council.strategy(judge)), what);
                }
            }
        }
    }
}
