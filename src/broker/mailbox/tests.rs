//! Tests of mailboxes: order, limits, wake-ups and congestion.

use std::panic::AssertUnwindSafe;
use std::pin::pin;

use super::super::tests::woken::Woken;
use super::*;

fn mailbox(frames: usize, bytes: usize) -> Mailbox {
    Mailbox::new(SocketId::parse("1.2").unwrap(), QueueLimits { frames, bytes }, Arc::default(), Arc::default())
}

fn push(mailbox: &Mailbox, text: &'static str) {
    wake_after(|wakes| mailbox.push(Frame::from_static(text), wakes));
}

fn take(mailbox: &Mailbox) -> Option<Outgoing> {
    match mailbox.poll_take(&Context::from_waker(Waker::noop())) {
        Poll::Ready(mail) => Some(mail),
        Poll::Pending => None,
    }
}

/// The client does not read.
fn block(mailbox: &Mailbox) {
    assert!(mailbox.poll_end(&Context::from_waker(Waker::noop())).is_pending());
}

fn delays_publishers(mailbox: &Mailbox) -> bool {
    pin!(mailbox.backpressure.wait()).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[test]
fn frames_come_in_order_and_then_the_end() {
    let mailbox = mailbox(3, 100);
    push(&mailbox, "a");
    push(&mailbox, "b");
    wake_after(|wakes| mailbox.end(ErrorCode::Reconnect, wakes));
    wake_after(|wakes| mailbox.end(ErrorCode::Unauthorized, wakes));
    push(&mailbox, "c");
    assert_eq!(take(&mailbox), Some(Outgoing::Frame("a".into())));
    assert_eq!(take(&mailbox), Some(Outgoing::Frame("b".into())));
    for _ in 0..2 {
        assert_eq!(take(&mailbox), Some(Outgoing::End(EndReason::Code(ErrorCode::Reconnect))));
    }
}

#[test]
fn a_full_mailbox_ends_the_connection_of_a_client_that_does_not_read() {
    for (frames, bytes) in [(2, 100), (9, 2)] {
        let mailbox = mailbox(frames, bytes);
        block(&mailbox);
        push(&mailbox, "a");
        push(&mailbox, "b");
        assert!(!mailbox.is_ending());
        push(&mailbox, "c");
        assert_eq!(take(&mailbox), Some(Outgoing::End(EndReason::SlowReader)), "{frames} {bytes}");
    }
}

/// Frames that wait for the worker and not for the client have higher limits.
#[tokio::test(start_paused = true)]
async fn publishers_wait_for_a_reader_that_did_not_get_its_turn() {
    for (frames, bytes) in [(8, 100), (100, 8)] {
        let mailbox = mailbox(frames, bytes);
        for pushed in 1..=32 {
            push(&mailbox, "a");
            assert_eq!(delays_publishers(&mailbox), pushed > 4, "{pushed}");
        }
        assert!(!mailbox.is_ending());
        for left in (0..32).rev() {
            assert_eq!(take(&mailbox), Some(Outgoing::Frame("a".into())));
            assert_eq!(delays_publishers(&mailbox), left > 2, "{left}");
        }
        (0..33).for_each(|_| push(&mailbox, "a"));
        assert_eq!((delays_publishers(&mailbox), take(&mailbox)), (false, Some(Outgoing::End(EndReason::SlowReader))));
    }
}

#[tokio::test(start_paused = true)]
async fn publishers_do_not_wait_for_a_client_that_does_not_read_or_has_closed() {
    let full = || {
        let mailbox = mailbox(8, 100);
        (0..6).for_each(|_| push(&mailbox, "a"));
        assert!(delays_publishers(&mailbox));
        mailbox
    };
    let blocked = full();
    block(&blocked);
    assert!(!delays_publishers(&blocked));
    push(&blocked, "a");
    assert!(!delays_publishers(&blocked));
    // It reads again, and its queue is still more than half full.
    let _some = take(&blocked);
    push(&blocked, "a");
    assert!(delays_publishers(&blocked));
    wake_after(|wakes| blocked.end(ErrorCode::Reconnect, wakes));
    assert!(!delays_publishers(&blocked));
    let gone = full();
    let backpressure = Arc::clone(&gone.backpressure);
    drop(gone);
    backpressure.wait().await;
}

#[test]
fn reading_frees_space() {
    let mailbox = mailbox(2, 4);
    for _ in 0..100 {
        push(&mailbox, "ab");
        push(&mailbox, "cd");
        assert_eq!(
            (take(&mailbox), take(&mailbox), take(&mailbox)),
            (Some(Outgoing::Frame("ab".into())), Some(Outgoing::Frame("cd".into())), None)
        );
        block(&mailbox);
    }
    // A single frame of any size is accepted.
    push(&mailbox, "much more than four bytes");
    assert!(!mailbox.is_ending());
}

#[test]
fn an_idle_mailbox_keeps_little() {
    let mailbox = mailbox(10_000, usize::MAX);
    for _ in 0..10_000 {
        push(&mailbox, "x");
    }
    while take(&mailbox).is_some() {}
    assert!(mailbox.lock().frames.capacity() <= KEPT_CAPACITY);
}

#[test]
fn a_panic_leaves_no_reader_asleep() {
    let (woken, mailbox) = (Arc::new(Woken::default()), mailbox(3, 100));
    assert!(mailbox.poll_take(&Context::from_waker(&Waker::from(Arc::clone(&woken)))).is_pending());
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        wake_after(|wakes| {
            mailbox.push("a".into(), wakes);
            panic!("between two mailboxes");
        })
    }));
    assert!(panicked.is_err() && woken.count() == 1);
}

#[test]
fn a_reader_is_woken_once_and_after_the_locks() {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mailbox = mailbox(3, 100);
    assert!(mailbox.poll_take(&Context::from_waker(&waker)).is_pending());
    wake_after(|wakes| {
        mailbox.push("a".into(), wakes);
        mailbox.push("b".into(), wakes);
        assert_eq!(woken.count(), 0);
    });
    assert_eq!(woken.count(), 1);
    assert!(mailbox.poll_end(&Context::from_waker(&waker)).is_pending());
    wake_after(|wakes| mailbox.push("c".into(), wakes));
    assert_eq!(woken.count(), 1, "its socket accepts no data: a wake-up would be useless");
    wake_after(|wakes| mailbox.end(ErrorCode::Reconnect, wakes));
    assert_eq!(woken.count(), 2);
}
