//! Carries the bytes of one connection through its proxy's weather.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::proxy::{DOWN, Flow, UP, Weather};
use crate::common::dice::Dice;

/// How many bytes are read at once.
const CHUNK: usize = 16 << 10;
/// How many chunks are on their way: what a delay holds, before it presses back.
const ON_THE_WAY: usize = 32;
/// How often a trickle drips.
const DRIP: Duration = Duration::from_millis(50);

/// Carries both ways until both have ended.
pub async fn both(
    near: &mut TcpStream,
    far: &mut TcpStream,
    number: u64,
    weather: &watch::Receiver<Weather>,
    seed: u64,
) {
    let (near_in, near_out) = near.split();
    let (far_in, far_out) = far.split();
    let mut dice = Dice::of(seed);
    let mut way = |direction| Way { number, direction, weather: weather.clone(), dice: dice.split() };
    let (up, down) = (way(UP), way(DOWN));
    tokio::join!(up.carry(near_in, far_out), down.carry(far_in, near_out));
}

/// One direction of one connection.
#[derive(Clone)]
struct Way {
    number: u64,
    direction: usize,
    weather: watch::Receiver<Weather>,
    dice: Dice,
}

/// Bytes and when they are due; without bytes, the end.
type Due = (Instant, Vec<u8>);

impl Way {
    async fn carry(self, from: ReadHalf<'_>, to: WriteHalf<'_>) {
        let (queue, due) = mpsc::channel(ON_THE_WAY);
        tokio::join!(self.clone().take(from, queue), self.give(to, due));
    }

    /// What the weather is for this direction now.
    fn flow(&mut self) -> Flow {
        let weather = self.weather.borrow_and_update();
        if weather.forgets(self.number) { Flow::Swallow } else { weather.flows[self.direction] }
    }

    /// Waits until it may be another.
    async fn turn(&mut self) {
        if self.weather.changed().await.is_err() {
            std::future::pending::<()>().await; // the test is over
        }
    }

    async fn take(mut self, mut from: ReadHalf<'_>, queue: mpsc::Sender<Due>) {
        let (mut buffer, mut carried, mut last, mut hung_up) = (vec![0; CHUNK], 0, Instant::now(), false);
        loop {
            let flow = self.flow();
            if matches!(flow, Flow::StallAfter(most) if carried >= most) {
                self.turn().await;
                continue;
            }
            if flow == Flow::HangUp && !std::mem::replace(&mut hung_up, true) {
                let _ = queue.send((last, Vec::new())).await;
            }
            let length = tokio::select! {
                () = self.turn() => continue,
                read = from.read(&mut buffer) => read.unwrap_or(0),
            };
            carried += length as u64;
            let flow = self.flow();
            if flow == Flow::Swallow && length == 0 {
                // The end is lost as well: the other side keeps half a connection.
                return std::future::pending().await;
            }
            if !matches!(flow, Flow::Swallow | Flow::HangUp) && !hung_up {
                let mut due = Instant::now();
                if let Flow::Delay { latency, jitter } = flow {
                    let most = u64::try_from(jitter.as_micros()).unwrap() + 1;
                    due += latency + Duration::from_micros(self.dice.below(most));
                }
                last = last.max(due); // bytes stay in order
                if queue.send((last, buffer[..length].to_vec())).await.is_err() {
                    return;
                }
            }
            if length == 0 {
                return;
            }
        }
    }

    async fn give(mut self, mut to: WriteHalf<'_>, mut queue: mpsc::Receiver<Due>) {
        while let Some((due, bytes)) = queue.recv().await {
            while matches!(self.flow(), Flow::Delay { .. }) && Instant::now() < due {
                tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.turn() => {}
                }
            }
            if bytes.is_empty() {
                let _ = to.shutdown().await;
                return;
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let mut now = rest.len();
                if let Flow::Trickle(rate) = self.flow() {
                    let drips = u64::try_from(Duration::from_secs(1).as_millis() / DRIP.as_millis()).unwrap();
                    now = now.min(usize::try_from(rate / drips).unwrap().max(1));
                    let drip = sleep_until(Instant::now() + DRIP);
                    tokio::select! {
                        () = drip => {}
                        () = self.turn() => {}
                    }
                }
                if to.write_all(&rest[..now]).await.is_err() {
                    return;
                }
                rest = &rest[now..];
            }
        }
    }
}
