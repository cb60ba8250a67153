//! Making a ring: older kernels, refusals, and errors that say what to do.
//!
//! Knows: setup flags, features, the fault plan. Does not know: what is queued.

use std::error::Error;
use std::io;

use super::super::error::{BuildError, BuildErrorKind, BuildStep};
use super::super::fault::{FaultCall, FaultKernel, FaultPlan};
use super::super::sys::{enter, feature, register, setup};
use super::super::{Driver, Ring, RingConfig, Wait};
use super::{nop, push, reap, ring};

fn build(plan: &FaultPlan) -> Result<Ring<FaultKernel>, BuildError> {
    Ring::with_kernel(&RingConfig { sq_entries: 4, cq_entries: 16 }, FaultKernel(plan.clone()))
}

fn failure(plan: &FaultPlan) -> BuildError {
    build(plan).expect_err("planned to fail")
}

#[test]
fn flags_are_given_up_one_by_one() {
    // Each row is what a kernel lacks besides everything of the rows before it.
    let rows = [
        (0, 0),
        (setup::NO_SQARRAY, setup::NO_SQARRAY),
        (setup::DEFER_TASKRUN, setup::DEFER_TASKRUN),
        (setup::SINGLE_ISSUER, setup::SINGLE_ISSUER),
        (setup::COOP_TASKRUN, setup::COOP_TASKRUN | setup::TASKRUN_FLAG),
    ];
    let host = ring(4, 16).setup_flags();
    let (mut refused, mut gone) = (0, 0);
    for (lacks, gives_up) in rows {
        refused |= lacks;
        gone |= gives_up;
        let plan = FaultPlan::new().without_setup_flags(refused);
        let mut ring = build(&plan).expect("a ring without the newest flags");
        assert_eq!(ring.setup_flags(), host & !gone);
        for user_data in 0..4 {
            push(&mut ring, nop(user_data));
        }
        ring.enter(Wait::Poll).expect("enter");
        assert_eq!(reap(&mut ring), [(0, 0), (1, 0), (2, 0), (3, 0)]);
    }
}

#[test]
fn a_kernel_below_the_floor_is_named() {
    for (plan, missing) in [
        (FaultPlan::new().without_setup_flags(setup::SUBMIT_ALL), "IORING_SETUP_SUBMIT_ALL"),
        (FaultPlan::new().without_features(feature::NODROP), "IORING_FEAT_NODROP"),
        (FaultPlan::new().without_features(feature::EXT_ARG), "IORING_FEAT_EXT_ARG"),
    ] {
        let error = failure(&plan);
        assert_eq!(error.kind(), &BuildErrorKind::TooOld { missing });
        let text = error.to_string();
        assert!(text.contains(missing) && text.contains("5.19"), "{text}");
    }
}

#[test]
fn a_ring_works_without_its_place_in_the_threads_table() {
    let mut ring = build(&FaultPlan::new().without_register(register::RING_FDS)).expect("a ring");
    push(&mut ring, nop(1));
    ring.enter(Wait::Poll).expect("enter");
    assert_eq!(reap(&mut ring), [(1, 0)]);
}

#[test]
fn a_hidden_opcode_is_denied() {
    let ring = build(&FaultPlan::new().without_opcode(io_uring::opcode::Read::CODE)).expect("a ring");
    assert!(!ring.supports(io_uring::opcode::Read::CODE) && ring.supports(io_uring::opcode::Write::CODE));
}

#[test]
fn each_refusal_has_its_kind_and_names_its_call() {
    let calls = [
        (FaultCall::Setup, BuildStep::Setup, "io_uring_setup"),
        (FaultCall::Register, BuildStep::Register, "io_uring_register"),
        (FaultCall::Enter, BuildStep::Enter, "io_uring_enter"),
    ];
    let refusals = [
        (libc::ENOSYS, BuildErrorKind::Unavailable, "5.19"),
        (libc::EPERM, BuildErrorKind::Forbidden, "forbid"),
        (libc::EACCES, BuildErrorKind::Forbidden, "forbid"),
        (libc::EMFILE, BuildErrorKind::TooManyFiles, "RLIMIT_NOFILE"),
        (libc::ENFILE, BuildErrorKind::TooManyFiles, "fs.file-max"),
        (libc::EIO, BuildErrorKind::Other, ""),
    ];
    for (call, step, name) in calls {
        for (errno, kind, advice) in &refusals {
            let error = failure(&FaultPlan::new().fail(call, 0, 1, *errno));
            let text = error.to_string();
            assert_eq!((error.kind(), error.step(), error.raw_os_error()), (kind, step, Some(*errno)));
            assert!(text.starts_with(name) && text.contains(advice), "{text}");
            assert!(error.source().is_some());
            let error = io::Error::from(error);
            assert_eq!(error.kind(), io::Error::from_raw_os_error(*errno).kind());
            assert_eq!(error.to_string(), text);
        }
    }
}

#[test]
fn locked_memory_is_waited_for_but_not_for_ever() {
    let calls = |plan: FaultPlan| {
        build(&plan).expect("a ring");
        plan.calls(FaultCall::Setup)
    };
    let usual = calls(FaultPlan::new()); // more than one where flags are refused
    assert_eq!(calls(FaultPlan::new().fail(FaultCall::Setup, 0, 3, libc::ENOMEM)), usual + 3);

    let plan = FaultPlan::new().fail(FaultCall::Setup, 0, u64::from(u16::MAX), libc::ENOMEM);
    let error = failure(&plan);
    assert_eq!(error.kind(), &BuildErrorKind::OutOfMemory);
    assert!(error.to_string().contains("RLIMIT_MEMLOCK"));
    assert_eq!(plan.calls(FaultCall::Setup), 10);
}

#[test]
fn a_size_that_cannot_be_is_named() {
    for (sq_entries, cq_entries, value) in [
        (0, 16, "sq_entries is 0"),
        (32_769, 65_536, "sq_entries is 32769"),
        (8, 4, "cq_entries is 4"),
        (5, 7, "cq_entries is 7"),
        (8, 0, "cq_entries is 0"),
        (8, 65_537, "cq_entries is 65537"),
    ] {
        let error = Ring::new(&RingConfig { sq_entries, cq_entries }).expect_err("no such ring");
        assert!(matches!(error.kind(), BuildErrorKind::InvalidConfiguration(_)));
        assert!(error.to_string().contains(value), "{error}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn waits_do_not_count_as_io_where_the_kernel_can_tell() {
    // Only the flags that `enter` is given are ours; how the kernel accounts a wait is its own affair.
    let plain = build(&FaultPlan::new().without_features(feature::NO_IOWAIT)).expect("a ring");
    assert_eq!(plain.waiting_flags() & enter::NO_IOWAIT, 0);
}
