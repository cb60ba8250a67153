//! Tests of the channels, by what they try: the contract, operations in races, fuzz against a model, threads, hostile
//! wakers and destructors, loom and shuttle.

#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod broadcast;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod broadcast_fuzz;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod contract;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod ends;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod fanout_operation;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod fanout_stress;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod fuzz;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod golden;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod hostile;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod looks;
#[cfg(millstream_loom)]
mod loom;
#[cfg(millstream_loom)]
mod loom_broadcast;
#[cfg(millstream_loom)]
mod loom_oneshot;
#[cfg(millstream_loom)]
mod loom_watch;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod many;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod oneshot;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod operation;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod permit;
#[cfg(millstream_shuttle)]
mod shuttle;
#[cfg(all(feature = "sink", not(any(millstream_loom, millstream_shuttle))))]
mod sink;
mod spsc;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod stress;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod support;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod time;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod watch;
