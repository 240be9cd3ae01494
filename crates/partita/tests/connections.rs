//! Connections that come and go while an engine is open.

use crate::common::{Home, has, patiently, put};
use partita::{ConnectError, ConnectionHandle, ConnectionState, automerge::Automerge};

async fn connected(handle: &mut ConnectionHandle) {
    patiently("the connection", handle.until(|state| matches!(state, ConnectionState::Connected(_)))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_are_added_and_left_while_documents_go_on() {
    let home = Home::new();
    home.enrol("b");
    let (first, second) = (home.relay("first").await, home.relay("second").await);
    let (first_url, second_url) = (first.url().to_string(), second.url().to_string());
    let a = home.open("a", &[]).await;
    let b = home.open("b", &[&first_url, &second_url]).await;
    assert!(a.engine.connection(&first_url).is_none());
    assert!(a.engine.status().await.unwrap().connections.is_empty());

    let mut to_first = a.engine.connect(&first_url).unwrap();
    connected(&mut to_first).await;
    assert_eq!(to_first.url(), first_url);
    let again = a.engine.connect(&first_url).unwrap();
    assert_eq!(again.state(), ConnectionState::Connected(first.replica()), "it is the same connection");
    let document = a.notes.create::<Automerge>().await.unwrap();
    put(&document, "over the first", "yes").durable().await.unwrap();
    let copy = b.get::<Automerge>(document.id()).await;
    has(&copy, "over the first").await;

    connected(&mut a.engine.connect(&second_url).unwrap()).await;
    assert_eq!(a.engine.status().await.unwrap().connections.len(), 2, "several at once");
    assert_eq!(a.engine.disconnect(&first_url), Ok(true));
    patiently("the end", to_first.until(|state| *state == ConnectionState::Closed)).await.unwrap();
    assert!(a.engine.connection(&first_url).is_none());
    assert_eq!(a.engine.disconnect(&first_url), Ok(false), "it is gone already");
    first.close().await;
    put(&document, "over the second", "yes").durable().await.unwrap();
    has(&copy, "over the second").await;

    for bad in ["mem://relay", "nonsense", "mem://relay#12"] {
        assert!(matches!(a.engine.connect(bad), Err(ConnectError::Url(_))), "{bad}");
    }
    let unknown = format!("pigeon://relay#{}", second.replica());
    assert!(matches!(a.engine.connect(&unknown), Err(ConnectError::Transport(_))));
    let mut to_second = a.engine.connection(&second_url).unwrap();
    a.engine.close().await.unwrap();
    patiently("the end", to_second.until(|state| *state == ConnectionState::Closed)).await.unwrap();
    b.engine.close().await.unwrap();
    second.close().await;
}

#[test]
fn a_connection_ends_with_its_runtime_and_is_made_anew_in_another() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (home, relays, first, second) = (Home::new(), runtime(), runtime(), runtime());
    let relay = relays.block_on(home.relay("relay"));
    let url = relay.url().to_string();
    let (a, before) = first.block_on(async {
        let a = home.open("a", &[]).await;
        let mut handle = a.engine.connect(&url).unwrap();
        connected(&mut handle).await;
        (a, handle)
    });
    drop(first);
    assert_eq!(before.state(), ConnectionState::Closed);
    second.block_on(async {
        connected(&mut a.engine.connect(&url).unwrap()).await;
        put(&a.notes.create::<Automerge>().await.unwrap(), "title", "x").durable().await.unwrap();
        patiently("the relay", a.notes.acknowledged()).await.unwrap();
        a.engine.close().await.unwrap();
    });
    relays.block_on(relay.close());
}
