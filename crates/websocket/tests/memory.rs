//! What others cost in memory. Measured of the whole process, so this program has no other test in it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::raw_websocket;
use tokio::io::AsyncWriteExt;

/// The memory that this process has, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Anybody can do this, also before it says who it is.
#[tokio::test]
async fn whoever_pings_and_never_reads_the_answers_costs_no_memory() {
    let mut listener = common::listener().await;
    let (mut tcp, (_keep, mut source)) = raw_websocket(&mut *listener).await;
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'p'; 125]].concat();
    let many = ping.repeat(1_000);
    let before = resident();
    let flood = async {
        for _ in 0..600 {
            tcp.write_all(&many).await.unwrap(); // 78 MB
        }
        tcp.write_all(&[0x82, 0x81, 0, 0, 0, 0, b'!']).await.unwrap();
    };
    let (received, ()) = tokio::join!(source.receive(), flood);
    assert_eq!(received.unwrap().as_deref(), Some(&b"!"[..]));
    let grown = resident().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes more");
}
