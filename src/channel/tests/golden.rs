//! The order in which a producer and a consumer run, on the simplest fair executor.

use core::cell::RefCell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Waker};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Wake;

use crate::channel::bounded;

/// Tasks that are ready, in the order they became so.
#[derive(Default)]
struct Ready(Mutex<VecDeque<usize>>);

struct TaskWaker {
    id: usize,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.0.lock().unwrap();
        if !ready.contains(&self.id) {
            ready.push_back(self.id);
        }
    }
}

fn round_robin(tasks: Vec<Pin<Box<dyn Future<Output = ()>>>>) {
    let ready = Arc::new(Ready(Mutex::new((0..tasks.len()).collect())));
    let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
    loop {
        let Some(id) = ready.0.lock().unwrap().pop_front() else { break };
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: ready.clone() }));
        let Some(task) = &mut tasks[id] else { continue };
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            tasks[id] = None;
        }
    }
    assert!(tasks.iter().all(Option::is_none), "a task was never woken");
}

fn trace(capacity: usize, values: usize) -> String {
    let (tx, rx) = bounded(capacity);
    let trace = Rc::new(RefCell::new(Vec::new()));
    let (produced, consumed) = (trace.clone(), trace.clone());
    round_robin(vec![
        Box::pin(async move {
            for n in 0..values {
                produced.borrow_mut().push(format!("P{n}"));
                tx.push(n).await.unwrap();
            }
        }),
        Box::pin(async move {
            while let Ok(n) = rx.pop().await {
                consumed.borrow_mut().push(format!("C{n}"));
            }
        }),
    ]);
    trace.take().join(" ")
}

#[test]
fn capacity_two_runs_as_the_design_says() {
    assert_eq!(trace(2, 10), "P0 P1 P2 C0 C1 C2 P3 P4 P5 P6 C3 C4 C5 C6 P7 P8 P9 C7 C8 C9");
}

#[test]
fn rendezvous_alternates_in_pairs() {
    assert_eq!(trace(0, 6), "P0 C0 P1 P2 C1 C2 P3 P4 C3 C4 P5 C5");
}

#[test]
fn capacity_one_moves_three_values_per_two_switches() {
    assert_eq!(trace(1, 7), "P0 P1 C0 C1 P2 P3 P4 C2 C3 C4 P5 P6 C5 C6");
}
