//! A disk in memory that forgets what was not synced when its power fails, and whose calls fail on demand.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;

use super::super::files::disk::{Disk, DiskFile};
use super::Numbers;

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Error(Errno),
    /// Half of the bytes are written, then the disk is full.
    Short,
    /// The process ends; what it wrote stays.
    Crash,
    /// The process ends, and what was not synced may be lost.
    PowerCut,
    /// Something else happens first.
    Pause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(usize),
    Directory,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    /// The bytes before this are on the disk.
    durable: usize,
    /// Bytes that a failed sync has lost, although they can be read until the power fails.
    lost: Vec<Range<usize>>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, Node>,
    durable_names: BTreeMap<String, Node>,
}

impl State {
    fn file(&mut self, path: &str) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Node::File(inode)) => Ok(*inode),
            Some(Node::Directory) => Err(Errno::ISDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    fn check_parent(&self, path: &str) -> io::Result<()> {
        let parent = parent(path);
        let exists = parent.is_empty() || self.names.get(parent) == Some(&Node::Directory);
        if exists { Ok(()) } else { Err(Errno::NOENT.into()) }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The disk, which several replicas share.
#[derive(Clone, Debug, Default)]
pub struct SharedDisk(Arc<Mutex<State>>);

impl SharedDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("the disk")
    }

    /// The power fails: of what was not synced, some is lost.
    pub fn cut_power(&self, numbers: &mut Numbers) {
        let mut state = self.state();
        let mut directories: Vec<String> = vec![String::new()];
        directories
            .extend(state.names.iter().filter(|(_, node)| **node == Node::Directory).map(|(name, _)| name.clone()));
        // Each directory may be as it is, or as it was when it was synced last.
        let kept: Vec<String> = directories.into_iter().filter(|_| numbers.below(2) == 0).collect();
        let mut names = BTreeMap::new();
        let is_kept = |path: &str| kept.iter().any(|directory| directory == parent(path));
        names.extend(
            state.durable_names.iter().filter(|(path, _)| !is_kept(path)).map(|(path, node)| (path.clone(), *node)),
        );
        names.extend(state.names.iter().filter(|(path, _)| is_kept(path)).map(|(path, node)| (path.clone(), *node)));
        // A name in a directory without a name is lost.
        let all = names.clone();
        names.retain(|path, _| {
            let mut above = parent(path);
            while !above.is_empty() {
                if all.get(above) != Some(&Node::Directory) {
                    return false;
                }
                above = parent(above);
            }
            true
        });
        state.durable_names.clone_from(&names);
        state.names = names;
        for inode in &mut state.inodes {
            let unsynced = u64::try_from(inode.bytes.len() - inode.durable).expect("small");
            let left = inode.durable + usize::try_from(numbers.below(unsynced + 1)).expect("small");
            inode.bytes.truncate(left);
            for lost in std::mem::take(&mut inode.lost) {
                let end = lost.end.min(inode.bytes.len());
                inode.bytes[lost.start.min(end)..end].fill(0);
            }
            inode.durable = inode.bytes.len();
        }
    }

    /// Changes a byte of a file.
    pub fn flip(&self, path: &str, at: usize) {
        let mut state = self.state();
        let inode = state.file(path).expect("a file");
        state.inodes[inode].bytes[at] ^= 1;
    }

    pub fn paths(&self) -> Vec<String> {
        self.state().names.iter().filter(|(_, node)| **node != Node::Directory).map(|(path, _)| path.clone()).collect()
    }

    pub fn length(&self, path: &str) -> usize {
        let mut state = self.state();
        let inode = state.file(path).expect("a file");
        state.inodes[inode].bytes.len()
    }
}

type Hook = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Plan {
    calls: usize,
    at: Option<(usize, Fault)>,
    hook: Option<Hook>,
    is_dead: bool,
    /// The fault that has happened.
    happened: Option<Fault>,
}

/// The disk as one replica sees it.
#[derive(Clone)]
pub struct ModelDisk {
    shared: SharedDisk,
    plan: Arc<Mutex<Plan>>,
}

impl std::fmt::Debug for ModelDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ModelDisk")
    }
}

impl ModelDisk {
    pub fn new(shared: &SharedDisk) -> Self {
        Self { shared: shared.clone(), plan: Arc::default() }
    }

    /// Of the calls that follow, number `at` goes wrong.
    pub fn plan(&self, at: usize, fault: Fault, hook: Option<Hook>) {
        let mut plan = self.plan.lock().expect("the plan");
        *plan = Plan { at: Some((plan.calls + at, fault)), hook, calls: plan.calls, ..Plan::default() };
    }

    pub fn calls(&self) -> usize {
        self.plan.lock().expect("the plan").calls
    }

    /// The fault, if it has happened. The replica lives again.
    pub fn revive(&self) -> Option<Fault> {
        let mut plan = self.plan.lock().expect("the plan");
        plan.is_dead = false;
        plan.at = None;
        plan.happened.take()
    }

    /// Counts a call. Returns whether a write is cut short.
    fn call(&self) -> io::Result<bool> {
        let (fault, hook) = {
            let mut plan = self.plan.lock().expect("the plan");
            if plan.is_dead {
                return Err(Errno::IO.into());
            }
            plan.calls += 1;
            let fault = plan.at.filter(|(at, _)| *at == plan.calls).map(|(_, fault)| fault);
            if fault.is_some() {
                plan.happened = fault;
            }
            plan.is_dead = matches!(fault, Some(Fault::Crash | Fault::PowerCut));
            (fault, if fault == Some(Fault::Pause) { plan.hook.take() } else { None })
        };
        if let Some(hook) = hook {
            hook();
        }
        match fault {
            Some(Fault::Error(error)) => Err(error.into()),
            Some(Fault::Crash | Fault::PowerCut) => Err(Errno::IO.into()),
            Some(Fault::Short) => Ok(true),
            Some(Fault::Pause) | None => Ok(false),
        }
    }
}

struct ModelFile {
    disk: ModelDisk,
    inode: usize,
}

impl DiskFile for ModelFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_short = self.disk.call()?;
        let part = if is_short { &bytes[..bytes.len() / 2] } else { bytes };
        self.disk.shared.state().inodes[self.inode].bytes.extend_from_slice(part);
        if is_short { Err(Errno::NOSPC.into()) } else { Ok(bytes.len()) }
    }

    fn fsync(&mut self) -> io::Result<()> {
        let synced = self.disk.call();
        let mut state = self.disk.shared.state();
        let inode = &mut state.inodes[self.inode];
        let is_dead = self.disk.plan.lock().expect("the plan").is_dead;
        if !is_dead {
            if synced.is_err() {
                // The next sync succeeds without writing them.
                let lost = inode.durable..inode.bytes.len();
                inode.lost.push(lost);
            }
            inode.durable = inode.bytes.len();
        }
        synced.map(|_| ())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.disk.shared.state().inodes[self.inode].bytes.len()).expect("small"))
    }
}

impl Disk for ModelDisk {
    fn create_new(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        self.call()?;
        let mut state = self.shared.state();
        state.check_parent(path)?;
        if state.names.contains_key(path) {
            return Err(Errno::EXIST.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(path.to_owned(), Node::File(inode));
        Ok(Box::new(ModelFile { disk: self.clone(), inode }))
    }

    fn open_append(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let known = self.shared.state().file(path);
        match known {
            Ok(inode) => {
                self.call()?;
                Ok(Box::new(ModelFile { disk: self.clone(), inode }))
            }
            Err(_) => self.create_new(path),
        }
    }

    fn rename_noreplace(&self, from: &str, to: &str) -> io::Result<()> {
        self.call()?;
        let mut state = self.shared.state();
        state.check_parent(to)?;
        let inode = state.file(from)?;
        if state.names.contains_key(to) {
            return Err(Errno::EXIST.into());
        }
        state.names.remove(from);
        state.names.insert(to.to_owned(), Node::File(inode));
        Ok(())
    }

    fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        self.call()?;
        let mut state = self.shared.state();
        let inode = state.file(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), Node::File(inode));
        Ok(())
    }

    fn fsync_dir(&self, path: &str) -> io::Result<()> {
        self.call()?;
        let mut state = self.shared.state();
        state.durable_names.retain(|name, _| parent(name) != path);
        let present: Vec<_> = state
            .names
            .iter()
            .filter(|(name, _)| parent(name) == path)
            .map(|(name, node)| (name.clone(), *node))
            .collect();
        state.durable_names.extend(present);
        Ok(())
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.call()?;
        let mut state = self.shared.state();
        state.check_parent(path)?;
        state.names.entry(path.to_owned()).or_insert(Node::Directory);
        Ok(())
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.call()?;
        let mut state = self.shared.state();
        let inode = state.file(path)?;
        Ok(state.inodes[inode].bytes.clone())
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(io::Cursor::new(self.read(path)?)))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.call()?;
        let mut state = self.shared.state();
        state.file(path)?;
        state.names.remove(path);
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.call()?;
        let state = self.shared.state();
        if !path.is_empty() && state.names.get(path) != Some(&Node::Directory) {
            return Err(Errno::NOENT.into());
        }
        let within = state.names.keys().filter(|name| parent(name) == path);
        Ok(within.map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()).collect())
    }

    fn space(&self) -> io::Result<[u64; 2]> {
        Ok([1 << 40, 1 << 41])
    }
}
