//! Files of editing traces, packed and plain: what is taken can be walked, and no more is unpacked than the limit says.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use crate::cli::trace::{Sight, Trace, TraceError};

/// Far less than the command's own, so that a fuzzer can reach it.
const MOST: u64 = 1 << 20;

/// One input: how to bring it, then the bytes.
pub fn run(data: &[u8]) {
    let [how, bytes @ ..] = data else { return };
    match how % 4 {
        // As it is: gzip with everything that can be wrong with it, or JSON.
        0 => drop(Trace::read(bytes, MOST).map(walk)),
        // Honest gzip of JSON, in one member or two, perhaps cut off.
        1 | 2 => {
            let (first, second) = bytes.split_at(if how % 4 == 1 { bytes.len() } else { bytes.len() / 2 });
            let mut packed = pack(&[first]);
            if !second.is_empty() {
                packed.extend(pack(&[second]));
            }
            let plain = Trace::read(bytes, MOST);
            let whole = Trace::read(&packed[..], MOST);
            if !bytes.starts_with(&[0x1f, 0x8b]) {
                assert_eq!(plain.ok(), whole.ok(), "packed or plain, it is the same trace");
            }
            let cut = usize::from(*how) / 4 % 64 + 1;
            assert!(Trace::read(&packed[..packed.len().saturating_sub(cut)], MOST).is_err(), "the end is missing");
        }
        // A few bytes that unpack to more than is taken.
        _ => {
            let blank = vec![b' '; 64 << 10];
            let mut pieces = vec![bytes];
            let times = usize::from(*how) / 4;
            pieces.extend(std::iter::repeat_n(&blank[..], times));
            let length = bytes.len() + times * blank.len();
            let found = Trace::read(&pack(&pieces)[..], MOST);
            assert_eq!(matches!(found, Err(TraceError::TooLong { limit: MOST })), length as u64 > MOST);
        }
    }
}

fn pack(pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    for piece in pieces {
        let Ok(()) = out.write_all(piece) else { panic!("memory is not full") };
    }
    out.finish().unwrap_or_default()
}

/// Each agent sees each transaction once, its own among them, and its parents before it.
fn walk(trace: Trace) {
    for agent in 0..trace.writers() {
        let mut sight = Sight::new(&trace);
        let mut seen = vec![false; trace.transactions.len()];
        for (index, transaction) in trace.transactions.iter().enumerate() {
            if trace.agents.is_none() || transaction.agent != agent {
                continue;
            }
            let Ok(step) = sight.step(index) else { panic!("it was checked") };
            for new in step.news {
                assert!(new < index && !std::mem::replace(&mut seen[new], true));
            }
            assert!(!std::mem::replace(&mut seen[index], true));
            assert!(step.parents.iter().all(|parent| seen[*parent]));
        }
    }
}
