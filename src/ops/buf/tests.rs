//! What the buffers promise, without a kernel.
#![allow(unsafe_code, reason = "plays the kernel")]

use super::*;

/// Fills a buffer as a read of `n` bytes would.
fn read_into<B: BufMut>(buf: &mut B, n: usize) {
    assert!(n <= buf.capacity());
    let start = buf.stable_mut_ptr();
    for i in 0..n {
        // SAFETY: (local) within the capacity, which `BufMut` lets us write.
        unsafe { start.add(i).write(b'a' + i as u8) };
    }
    // SAFETY: (local) the loop above has initialised them.
    unsafe { buf.set_filled(n) };
}

#[test]
fn a_read_sets_the_length_of_a_vec() {
    let mut buf = Vec::with_capacity(8);
    buf.extend_from_slice(b"xyzxyz");
    read_into(&mut buf, 3);
    assert_eq!(buf, b"abc");
}

#[test]
fn arrays_and_boxes_keep_their_length() {
    let mut array = [0_u8; 4];
    read_into(&mut array, 2);
    assert_eq!(&array, b"ab\0\0");
    let mut boxed = Box::new([0_u8; 4]);
    read_into(&mut boxed, 2);
    assert_eq!(&*boxed, b"ab\0\0");
    let mut slice: Box<[u8]> = vec![0; 3].into();
    read_into(&mut slice, 3);
    assert_eq!(&*slice, b"abc");
}

#[test]
fn empty_memory_is_a_buffer_too() {
    let mut none = [0_u8; 0];
    read_into(&mut none, 0);
    assert_eq!((none.init_len(), Buf::capacity(&none)), (0, 0));
    let mut empty = Vec::new();
    read_into(&mut empty, 0);
    assert!(bytes(&empty).is_empty() && !empty.stable_ptr().is_null());
    assert!(bytes(&"").is_empty());
    read_into(&mut Vec::new().slice(..), 0);
}

#[test]
fn a_slice_at_the_length_appends() {
    let buf = {
        let mut b = Vec::with_capacity(8);
        b.extend_from_slice(b"head");
        b
    };
    let mut tail = buf.slice(4..);
    assert_eq!((tail.init_len(), tail.capacity()), (0, 4));
    read_into(&mut tail, 2);
    assert_eq!(tail.into_inner(), b"headab");
}

#[test]
fn a_slice_leaves_the_rest_alone() {
    let mut part = b"0123456789".to_vec().slice(2..6);
    read_into(&mut part, 3);
    assert_eq!(&part[..], b"abc5");
    assert_eq!(part.into_inner(), b"01abc56789");
}

#[test]
fn a_slice_of_a_slice_counts_from_its_own_start() {
    let mut part = b"0123456789".to_vec().slice(2..8).slice(1..=2);
    assert_eq!((&part[..], part.begin()), (&b"34"[..], 1));
    read_into(&mut part, 2);
    assert_eq!(part.into_inner().into_inner(), b"012ab56789");
}

#[test]
fn an_open_slice_of_a_slice_ends_where_that_ends() {
    let part = b"0123456789".to_vec().slice(..4).slice(1..);
    assert_eq!((part.init_len(), part.capacity()), (3, 3));
}

#[test]
fn an_array_by_value_is_sliced_where_it_lies() {
    let mut part = [b'-'; 6].slice(1..4);
    read_into(&mut part, 2);
    let mut moved = Box::new(part); // another address: the pointer must follow
    assert_eq!(moved.stable_mut_ptr().cast_const(), moved.stable_ptr());
    assert_eq!(&moved[..], b"ab-");
}

#[test]
#[should_panic(expected = "begins behind the 4 initialised bytes")]
fn a_slice_cannot_begin_in_uninitialised_memory() {
    let mut buf = Vec::with_capacity(8);
    buf.extend_from_slice(b"head");
    let _ = buf.slice(5..);
}

#[test]
#[should_panic(expected = "ends at 5, its buffer at 4")]
fn a_slice_cannot_end_behind_the_capacity() {
    let _ = [0_u8; 4].slice(..5);
}

#[test]
#[should_panic(expected = "begins at 3 but ends at 2")]
#[allow(clippy::reversed_empty_ranges, reason = "the mistake under test")]
fn a_slice_cannot_end_before_it_begins() {
    let _ = [0_u8; 4].slice(3..2);
}

#[test]
#[should_panic(expected = "its buffer at 4")]
fn the_largest_range_does_not_wrap() {
    let _ = [0_u8; 4].slice(..=usize::MAX);
}

#[test]
fn iovecs_lie_inline_up_to_eight() {
    for count in [0_usize, 1, 8, 9, 40] {
        let mut bufs: Vec<Vec<u8>> = (0..count).map(|i| vec![i as u8; i + 1]).collect();
        let mut iovecs = IoVecs::with_room(bufs.len());
        let (start, len) = iovecs.set(bufs.iter_mut().map(|b| (b.stable_mut_ptr(), b.len())));
        assert_eq!(len as usize, count);
        let inline = std::ptr::from_ref(&iovecs).cast::<u8>() as usize;
        let range = inline..inline + size_of::<IoVecs>();
        assert_eq!(range.contains(&(start as usize)), count <= 8, "{count}");
        for (i, buf) in bufs.iter().enumerate() {
            // SAFETY: (local) `set` has written `count` of them.
            let iovec = unsafe { *start.add(i) };
            assert_eq!((iovec.iov_base.cast_const().cast(), iovec.iov_len), (buf.as_ptr(), buf.len()));
        }
    }
}

#[test]
fn a_thousand_and_one_buffers_are_a_short_request() {
    let bufs = vec![[0_u8; 1]; 1100];
    let mut iovecs = IoVecs::with_room(bufs.len());
    let (_, len) = iovecs.set(bufs.iter().map(|b| (b.stable_ptr().cast_mut(), 1)));
    assert_eq!((len, asked(&bufs, Buf::init_len)), (1024, 1024));
}

#[test]
fn what_a_vectored_read_filled_is_spread_in_order() {
    let mut bufs = vec![Vec::with_capacity(4), Vec::with_capacity(4), b"old".to_vec()];
    assert_eq!(scatter(&mut bufs, b"abcdef"), 6);
    assert_eq!((&bufs[0][..4], &bufs[1][..2]), (&b"abcd"[..], &b"ef"[..]));
    assert_eq!((bufs[1].len(), bufs[2].len()), (2, 0));
    // SAFETY: (local) the first five bytes were written by `scatter`.
    unsafe { scatter_written(&mut bufs, 5) };
    assert_eq!((bufs[0].len(), bufs[1].len(), bufs[2].len()), (4, 1, 0));
}

#[test]
fn lengths_are_clamped_to_what_the_kernel_moves() {
    assert_eq!(clamp(5), 5);
    assert_eq!(clamp(usize::MAX), 0x7fff_f000);
}

#[cfg(feature = "bytes")]
#[test]
fn bytes_mut_is_filled_over_its_whole_capacity() {
    let mut buf = bytes::BytesMut::with_capacity(16);
    buf.extend_from_slice(b"zz");
    read_into(&mut buf, 10);
    assert_eq!(&buf[..], b"abcdefghij");
    let mut none = bytes::BytesMut::new();
    read_into(&mut none, 0);
    assert_eq!(super::bytes(&bytes::Bytes::from_static(b"ro")), b"ro");
}

#[test]
fn a_relay_is_what_its_buffer_had_initialised() {
    let mut buf = Vec::with_capacity(64);
    buf.extend_from_slice(b"abcd");
    let mut relay = Relay::new(buf);
    assert_eq!((relay.init_len(), Buf::capacity(&relay)), (4, 4));
    assert_eq!((relay.take().init_len(), Buf::capacity(&relay.take())), (4, 4));
    read_into(&mut relay, 2);
    assert_eq!(&*relay, b"abcd", "ab was read over ab, and nothing becomes shorter");
    let empty = Relay::new(Vec::with_capacity(9));
    assert_eq!((Buf::capacity(&empty), empty.take().init_len()), (0, 0));
}

#[test]
fn what_a_relay_is_filled_with_lies_where_its_takes_begin() {
    fn check<B: BufMut>(buf: B) {
        let mut relay = Relay::new(buf);
        let (take, part) = (relay.take(), relay.take().slice(1..3));
        read_into(&mut relay, 4);
        let moved = Box::new((take.clone(), relay)); // neither moves what it holds
        for (hold, expected) in
            [(take.stable_ptr(), b'a'), (part.stable_ptr(), b'b'), (moved.0.stable_ptr(), b'a')]
        {
            // SAFETY: (local) what the kernel would read; nobody writes.
            assert_eq!(unsafe { hold.read() }, expected);
        }
        assert_eq!(part.init_len(), 2);
        assert_eq!(&moved.1[..4], b"abcd");
    }
    check([0; 4]);
    check(Box::new([0; 4]));
    check(vec![0; 7]);
    check(vec![0; 9].slice(3..8));
    check(Box::<[u8]>::from([0; 5]));
}

#[test]
fn a_relay_is_the_programs_alone_when_its_takes_are_gone() {
    let mut relay = Relay::new([7_u8; 3]);
    relay.get_mut().expect("no take")[0] = 1;
    let take = relay.take();
    assert!(relay.get_mut().is_none());
    let more = take.clone();
    drop(take);
    let mut relay = relay.try_into_inner().expect_err("one take is left");
    drop(more);
    relay.get_mut().expect("no take")[1] = 2;
    assert_eq!(relay.try_into_inner().expect("no take"), [1, 2, 7]);
}

#[test]
fn the_memory_of_a_relay_outlives_it_with_its_takes() {
    struct Noted(Box<[u8]>, std::rc::Rc<std::cell::Cell<u32>>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.1.set(self.1.get() + 1);
        }
    }
    // SAFETY: (local) a box keeps its bytes where they are, all of them initialised.
    unsafe impl Buf for Noted {
        fn stable_ptr(&self) -> *const u8 {
            self.0.as_ptr()
        }

        fn init_len(&self) -> usize {
            self.0.len()
        }
    }
    // SAFETY: (local) nobody else has the box.
    unsafe impl Visible for Noted {}
    // SAFETY: (local) as above.
    unsafe impl BufMut for Noted {
        fn stable_mut_ptr(&mut self) -> *mut u8 {
            self.0.as_mut_ptr()
        }

        unsafe fn set_filled(&mut self, _len: usize) {}
    }
    let drops = std::rc::Rc::new(std::cell::Cell::new(0));
    let relay = Relay::new(Noted(vec![5; 8].into(), std::rc::Rc::clone(&drops)));
    let (one, other) = (relay.take(), relay.take());
    drop(relay);
    drop(one);
    assert_eq!(drops.get(), 0);
    // SAFETY: (local) the last hold is here; nobody writes.
    assert_eq!(unsafe { other.stable_ptr().add(7).read() }, 5);
    drop(other);
    assert_eq!(drops.get(), 1);
}

#[test]
fn holds_on_a_relay_go_to_other_threads_if_its_buffer_may() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Relay<Vec<u8>>>();
    is_send_and_sync::<Take<Vec<u8>>>();
    is_send_and_sync::<Slice<Take<std::cell::Cell<[u8; 0]>>>>();
}
