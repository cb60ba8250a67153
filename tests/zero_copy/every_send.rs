//! Each of the zero-copy sends, of memory of either kind, to each destination.
//!
//! Knows: the sends and where their buffers can go. Does not know: what becomes of a send that is stopped.

use std::net::UdpSocket;
use std::time::Duration;

use millstream::Runtime;
use millstream::channel;
use millstream::combinators::RingOperationExt;
use millstream::ops::{self, BufferTable, Fd, Feature, IntoResult};

use crate::support::Watchdog;
use crate::{Outcome, check, pattern, plain_tcp};

const LEN: usize = 500;

/// Sends with `$make` to each destination, and counts.
macro_rules! to_each_destination {
    ($sends:ident, $make:expr) => {{
        let make = $make;
        let (n, buf) = make().await.into_result()?;
        assert_eq!(n, LEN);
        drop(buf);
        let (tx, rx) = channel::bounded(1);
        assert_eq!(make().will_push(tx).await?, LEN);
        drop(rx.pop().await?);
        let (tx, rx) = channel::oneshot();
        assert_eq!(make().will_spawn(async move |buf| drop(tx.push(buf))).await?, LEN);
        drop(rx.await?);
        $sends += 3;
    }};
}

/// Here, and on a kernel that copies.
#[test]
fn every_send_to_every_destination() -> Outcome {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    for without in [0, Feature::SendZc.bit() | Feature::SendmsgZc.bit()] {
        Runtime::builder().without_features(without).build()?.block_on(async {
            let table = BufferTable::new(1)?;
            let registered = || table.register(pattern(LEN)).expect("the one before is back");
            let (ours, mut peer) = plain_tcp()?;
            let mut streamed = 0;
            to_each_destination!(streamed, || ops::send_zc(&ours, pattern(LEN)));
            to_each_destination!(streamed, || ops::send_zc(&ours, registered()));
            to_each_destination!(streamed, || ops::send_zc(&ours, pattern(LEN)).always_async());
            to_each_destination!(streamed, || ops::sendmsg_zc(&ours, vec![pattern(251), pattern(LEN - 251)]));
            to_each_destination!(streamed, || ops::sendmsg_zc(&ours, vec![registered()]));
            for _ in 0..streamed {
                check(&mut peer, LEN)?;
            }
            let (from, to) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
            let (address, from) = (to.local_addr()?, Fd::from(from));
            let mut messages = 0;
            to_each_destination!(messages, || ops::send_to_zc(&from, pattern(LEN), address));
            to_each_destination!(messages, || ops::send_to_zc(&from, registered(), address));
            to_each_destination!(messages, || ops::sendmsg_zc(&from, vec![registered()]).to(address));
            assert_eq!((streamed, messages), (15, 9));
            for _ in 0..messages {
                let mut bytes = [0; 1000];
                assert_eq!(to.recv_from(&mut bytes)?, (LEN, from.local_addr()?));
                assert!(bytes[..LEN] == pattern(LEN));
            }
            Outcome::Ok(())
        })?;
    }
    Ok(())
}
