//! `file/cache`, `file/direct`: random reads of 4 KiB, out of the page cache and past it.
//!
//! Knows: the floor, millstream, the data file. Does not know: sockets.
#![allow(unsafe_code, reason = "lends page-aligned memory of its own to the runtime")]

use std::cell::{OnceCell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::rc::Rc;

use millstream::Runtime;
use millstream::ops::{
    self, Buf, BufMut, BufferTable, Fd, FdTable, FixedBuf, FixedFd, IntoResult, Memory, Visible,
};

use super::{Shuffle, alone, cache_directory, default_runtime, on_millstream, sleepy_runtime, tasks};
use crate::floor;
use crate::measure::{Case, Clock, FLOOR, OURS, OURS_SLEEPY, Plan, Target};
use crate::peers::monoio;

/// Bytes of one read; also what O_DIRECT wants buffers and offsets aligned to, on every common file system.
const BLOCK: usize = 4096;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for depth in [1, 32, 128] {
        cases.push(case("cache", Clock::Cpu, depth));
        cases.push(fixed("cache", depth));
    }
    for (clock, kind) in [(Clock::Cpu, "direct"), (Clock::Wall, "direct-wall")] {
        for depth in [1, 32, 128] {
            cases.push(case(kind, clock, depth));
        }
    }
    cases.extend([1, 32, 128].map(|depth| fixed("direct", depth)));
    cases
}

/// How long a read takes, in nanoseconds. A device's latency is not known beforehand; what is, is that a round must end.
fn estimate(cached: bool, depth: usize) -> f64 {
    match (cached, depth) {
        (true, _) => 800.0,
        (false, 1) => 100_000.0,
        (false, _) => 20_000.0,
    }
}

fn case(kind: &'static str, clock: Clock, depth: usize) -> Case {
    let cached = kind == "cache";
    let open = move |plan: &Plan| Data::open(plan.quick, cached);
    let estimate = estimate(cached, depth);
    let ours = move |runtime: fn() -> io::Result<Runtime>| {
        move |plan: &Plan| {
            let each = plan.units(estimate) / depth as u64;
            let data = Rc::new(RefCell::new(open(plan)?));
            let file = Fd::from(data.borrow().file.try_clone()?);
            on_millstream(runtime()?, each * depth as u64, move |units| {
                let (data, file) = (data.clone(), file.clone());
                tasks(depth, move || reads(file.clone(), data.clone(), units / depth as u64))
            })
        }
    };
    let floor = move |plan: &Plan| {
        alone()?;
        let mut data = open(plan)?;
        let buffers = (0..depth).map(|_| Block::new()).collect::<Vec<_>>().leak();
        let fd = data.file.as_raw_fd();
        floor::ops::read(fd, buffers, plan.units(estimate), move || data.offset())
    };
    let case = Case::new(format!("file/{kind}/{depth}"), clock, Target::Ratio(1.08))
        .with(FLOOR, floor)
        .with(OURS, ours(default_runtime));
    if !cached {
        return case.with(OURS_SLEEPY, ours(sleepy_runtime));
    }
    case.with(monoio::NAME, move |plan| {
        alone()?;
        let mut data = open(plan)?;
        let file = data.file.try_clone()?;
        monoio::reads(file, BLOCK, depth, plan.units(estimate), move || data.offset())
    })
}

/// The same with the file and the buffers registered with the ring.
fn fixed(kind: &'static str, depth: usize) -> Case {
    let cached = kind == "cache";
    let estimate = estimate(cached, depth);
    let floor = move |plan: &Plan| {
        alone()?;
        let mut data = Data::open(plan.quick, cached)?;
        let buffers = (0..depth).map(|_| Block::new()).collect::<Vec<_>>().leak();
        let fd = data.file.as_raw_fd();
        floor::ops::read_fixed(fd, buffers, plan.units(estimate), move || data.offset())
    };
    let ours = move |plan: &Plan| {
        let each = plan.units(estimate) / depth as u64;
        let data = Rc::new(RefCell::new(Data::open(plan.quick, cached)?));
        let registered = Rc::new(OnceCell::new());
        on_millstream(default_runtime()?, each * depth as u64, move |units| {
            let (data, registered) = (data.clone(), registered.clone());
            async move {
                if registered.get().is_none() {
                    let _ = registered.set(Registered::new(data.borrow().file.try_clone()?, depth)?);
                }
                let count = units / depth as u64;
                tasks(depth, move || reads_of_registered(registered.clone(), data.clone(), count)).await
            }
        })
    };
    Case::new(format!("file/{kind}/{depth}/fixed"), Clock::Cpu, Target::Ratio(1.08))
        .with(FLOOR, floor)
        .with(OURS, ours)
}

/// A file and a buffer for each task, in the tables of the runtime's ring.
struct Registered {
    file: FixedFd,
    buffers: RefCell<Vec<FixedBuf>>,
}

impl Registered {
    fn new(file: File, depth: usize) -> io::Result<Registered> {
        let table = BufferTable::new(depth as u32)?;
        let buffer = |_| table.register(Memory::aligned(BLOCK, BLOCK)).map_err(io::Error::other);
        let buffers = RefCell::new((0..depth).map(buffer).collect::<io::Result<_>>()?);
        Ok(Registered { file: FdTable::new(1)?.install(file)?, buffers })
    }
}

async fn reads_of_registered(
    registered: Rc<OnceCell<Registered>>,
    data: Rc<RefCell<Data>>,
    count: u64,
) -> io::Result<()> {
    let registered = registered.get().expect("set before the tasks were spawned");
    let mut block = registered.buffers.borrow_mut().pop().expect("a buffer for each task");
    for _ in 0..count {
        let offset = data.borrow_mut().offset();
        (_, block) = ops::read(&registered.file, block).at(offset).await.into_result()?;
    }
    registered.buffers.borrow_mut().push(block);
    Ok(())
}

async fn reads(file: Fd, data: Rc<RefCell<Data>>, count: u64) -> io::Result<()> {
    let mut block = Block::new();
    for _ in 0..count {
        let offset = data.borrow_mut().offset();
        (_, block) = ops::read(&file, block).at(offset).await.into_result()?;
    }
    Ok(())
}

/// The file, and where in it to read next.
struct Data {
    file: File,
    blocks: u64,
    shuffle: Shuffle,
}

impl Data {
    fn open(quick: bool, cached: bool) -> io::Result<Data> {
        let (path, size) = path(quick)?;
        let mut options = OpenOptions::new();
        options.read(true);
        if cached {
            let mut file = options.open(&path)?;
            io::copy(&mut file, &mut io::sink())?; // now it is in the page cache
            return Ok(Data { file, blocks: size / BLOCK as u64, shuffle: Shuffle(1) });
        }
        options.custom_flags(libc::O_DIRECT);
        let refused = |error: io::Error| {
            let why = format!("{} cannot be read with O_DIRECT: {error}", path.display());
            io::Error::new(io::ErrorKind::Unsupported, why)
        };
        let mut file = options.open(&path).map_err(refused)?;
        // Some file systems take the flag and refuse the read.
        file.read_exact(Block::new().as_mut()).map_err(refused)?;
        Ok(Data { file, blocks: size / BLOCK as u64, shuffle: Shuffle(1) })
    }

    fn offset(&mut self) -> u64 {
        self.shuffle.below(self.blocks) * BLOCK as u64
    }
}

/// A buffer at an address O_DIRECT takes.
#[repr(align(4096))]
struct Aligned([u8; BLOCK]);

struct Block(Box<Aligned>);

impl Block {
    fn new() -> Block {
        Block(Box::new(Aligned([0; BLOCK])))
    }
}

impl AsMut<[u8]> for Block {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0.0
    }
}

// SAFETY: (local) the memory is on the heap, owned by the block, initialised, and of one length.
unsafe impl Buf for Block {
    fn stable_ptr(&self) -> *const u8 {
        self.0.0.as_ptr()
    }

    fn init_len(&self) -> usize {
        BLOCK
    }
}

// SAFETY: (local) as above.
unsafe impl Visible for Block {}

// SAFETY: (local) as above.
unsafe impl BufMut for Block {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.0.as_mut_ptr()
    }

    unsafe fn set_filled(&mut self, _len: usize) {}
}

fn path(quick: bool) -> io::Result<(PathBuf, u64)> {
    let (name, size) = if quick { ("data-64M", 64 << 20) } else { ("data-1G", 1 << 30) };
    Ok((cache_directory()?.join(name), size))
}

/// Writes the data file, without holes and without blocks that could be shared.
pub(super) fn prepare(quick: bool) -> io::Result<()> {
    let (path, size) = path(quick)?;
    if path.metadata().is_ok_and(|metadata| metadata.len() == size) {
        return Ok(());
    }
    let unfinished = path.with_extension("unfinished");
    let mut file = File::create(&unfinished)?;
    let mut shuffle = Shuffle(2);
    let mut chunk = vec![0; 1 << 20];
    for _ in 0..size / chunk.len() as u64 {
        chunk.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&shuffle.next().to_ne_bytes()));
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    std::fs::rename(unfinished, path)
}
