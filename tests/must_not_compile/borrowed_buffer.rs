//! The kernel may still use a buffer when the future is gone, so an op owns its buffer.

use millstream::ops::{self, Fd};

fn loans(file: &Fd, buffer: &mut [u8], text: &String) {
    let _ = ops::read(file, buffer);
    //~^ `&mut [u8]` is not a buffer that an op can fill
    //~^ an op owns its buffer until the kernel has let go of it, so it cannot be a loan
    //~^ pass it by value (a `Vec<u8>`, a `Box<[u8]>`, an array, …): it comes back with the result
    let _ = ops::write(file, text);
    //~^ `&String` is not a buffer that an op can send from
}

fn main() {}
