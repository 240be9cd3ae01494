//! What removing a member costs with other protocols: `partita-bench-peers N` prints it for groups of N as JSON.
//!
//! Both groups are *calm*, which is when a tree is cheapest: every member has written its own path since it joined. Both
//! removals end where Partita's does, with a new secret for those who stay.

use std::{
    error::Error,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

mod mls;
mod tree;

/// openmls is asked up to so many: building a calm group takes n commits, each dearer than the one before.
const MOST_MLS: usize = 512;

fn main() -> Result<(), Box<dyn Error>> {
    let n: usize = std::env::args().nth(1).ok_or("say how many members")?.parse()?;
    let rounds = if n > 200 { 5 } else { 15 };
    let beekem = middle(ready(tree::removals(n, rounds))?);
    let openmls = if n <= MOST_MLS { middle(mls::removals(n, rounds)?).to_string() } else { "null".into() };
    println!("{{\"beekem_remove_ms\":{beekem},\"openmls_remove_ms\":{openmls}}}");
    Ok(())
}

/// In milliseconds.
fn middle(mut took: Vec<Duration>) -> f64 {
    took.sort_unstable();
    took.get(took.len() / 2).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}

/// The result of a future that waits for nothing: signing with a key in memory does not.
fn ready<T>(future: impl Future<Output = Result<T, Box<dyn Error>>>) -> Result<T, Box<dyn Error>> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err("a signer in memory does not wait".into()),
    }
}
