//! A process that can be paused, continued and killed. It ends with the test.

use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

pub struct Process(pub Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("the process starts"))
    }

    /// SIGSTOP: the process is paused, but its sockets stay open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("the process exists");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
