//! Row F5: what the kernel does only by a descriptor's number is not to be had for a slot of the ring's table.

use millstream::ops::{self, FdTable, FixedFd};

async fn refused(slot: FixedFd, table: &FdTable) {
    let _ = ops::statx_fd(&slot);
    //~^ `&FixedFd` is no descriptor of the process, and the kernel takes no other here
    //~^ this op has no form for a slot of the ring's table
    //~^ `fixed_fd_install(&slot).await?` makes an `Fd` of what is in a slot
    let _ = ops::statx_at(&slot, "name");
    //~^ `&FixedFd` is no descriptor of the process
    let _ = ops::open_at(&slot, "name");
    //~^ `&FixedFd` is no descriptor of the process
    let _ = ops::open_at_direct(&slot, "name", &slot);
    //~^ `&FixedFd` is no descriptor of the process
    let _ = table.install(&slot);
    //~^ `&FixedFd` is no descriptor of the process
    let _ = ops::Control::new().push_fd(&slot);
    //~^ `&FixedFd` is no descriptor of the process
    let _ = ops::close(slot);
    //~^ `FixedFd` is no descriptor of the process
    let _ = ops::read(7, vec![0; 8]);
    //~^ is not a descriptor that an op can hold
}

fn main() {}
