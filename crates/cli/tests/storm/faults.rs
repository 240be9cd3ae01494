//! What goes wrong, when and for how long: drawn from a seed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::proxy::{Flow, Proxy};
use crate::common::dice::Dice;

/// What can happen to a client's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Cut,
    Reset,
    Refuse,
    Delay,
    SwallowUp,
    SwallowDown,
    Forget,
    HangUpUp,
    HangUpDown,
    StallUp,
    StallDown,
    StallBoth,
    Trickle,
}

use Fault::*;

const ALL: [Fault; 13] = [
    Cut,
    Reset,
    Refuse,
    Delay,
    SwallowUp,
    SwallowDown,
    Forget,
    HangUpUp,
    HangUpDown,
    StallUp,
    StallDown,
    StallBoth,
    Trickle,
];
/// What lasts until the last heal: the ones that show only by silence first of all.
const LAST: [Fault; 5] = [SwallowUp, SwallowDown, Forget, StallBoth, Refuse];
/// How long before the last heal.
const LAST_ONES: Duration = Duration::from_secs(3);

impl Fault {
    fn begin(self, proxy: &Proxy, dice: &mut Dice) {
        let stall = Flow::StallAfter(0);
        match self {
            Cut => proxy.cut(false),
            Reset => proxy.cut(true),
            Refuse => {
                proxy.refuse();
                proxy.cut(dice.below(2) == 0);
            }
            Delay => proxy.flow([delay(dice), delay(dice)]),
            SwallowUp => proxy.flow([Flow::Swallow, Flow::Clear]),
            SwallowDown => proxy.flow([Flow::Clear, Flow::Swallow]),
            Forget => {
                // And the way is blocked for as long: a new connection is not the way out.
                proxy.forget();
                proxy.flow([Flow::Swallow, Flow::Swallow]);
            }
            HangUpUp => proxy.flow([Flow::HangUp, Flow::Clear]),
            HangUpDown => proxy.flow([Flow::Clear, Flow::HangUp]),
            StallUp => proxy.flow([stall, Flow::Clear]),
            StallDown => proxy.flow([Flow::Clear, stall]),
            StallBoth => proxy.flow([stall, stall]),
            Trickle => {
                let rate = 2_000 + dice.below(30_000);
                proxy.flow([Flow::Trickle(rate), Flow::Trickle(rate)]);
            }
        }
    }
}

fn delay(dice: &mut Dice) -> Flow {
    let (latency, jitter) = (10 + dice.below(140), dice.below(100));
    Flow::Delay { latency: Duration::from_millis(latency), jitter: Duration::from_millis(jitter) }
}

/// Which fault lasts until the last heal, for each proxy.
pub fn last_faults(dice: &mut Dice) -> [Fault; 5] {
    let mut last = LAST;
    for at in (1..last.len()).rev() {
        last.swap(at, usize::try_from(dice.below(at as u64 + 1)).unwrap());
    }
    last
}

/// One fault after the other until the end, the last one left as it is: how often each began.
pub async fn storm(proxy: Arc<Proxy>, mut dice: Dice, last: Fault, end: Instant) -> BTreeMap<Fault, usize> {
    let mut began = BTreeMap::new();
    let turn = end - LAST_ONES;
    loop {
        let calm = Duration::from_millis(100 + dice.below(1_200));
        sleep_until((Instant::now() + calm).min(turn)).await;
        if Instant::now() >= turn {
            break;
        }
        let fault = ALL[usize::try_from(dice.below(ALL.len() as u64)).unwrap()];
        *began.entry(fault).or_default() += 1;
        fault.begin(&proxy, &mut dice);
        let lasts = Duration::from_millis(200 + dice.below(4_000));
        sleep_until((Instant::now() + lasts).min(turn)).await;
        proxy.heal();
    }
    last.begin(&proxy, &mut dice);
    *began.entry(last).or_default() += 1;
    sleep_until(end).await;
    began
}
