//! Beside the queue's file and not in it: `tests/loom.rs` compiles that file with other types.

#[test]
fn a_queue_counts_what_waits() {
    let (sender, inbox) = crate::inbox::queue();
    let other = sender.clone();
    assert!(sender.send(1).is_ok() && other.send(2).is_ok());
    assert_eq!((sender.waiting(), inbox.waiting()), (2, 2));
    assert_eq!(inbox.recv(), Ok(1));
    assert_eq!(inbox.try_recv(), Ok(2));
    assert!(inbox.try_recv().is_err());
    assert_eq!(sender.waiting(), 0);
    drop(inbox);
    assert!(sender.send(3).is_err());
    assert_eq!(sender.waiting(), 0, "what nobody will take does not wait");
}
