//! The dialogue of a test with a process in a role, line by line.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use crate::role;

/// A process in a role; killed if it is still there when dropped.
pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    pub fn start(role: &str, arguments: &[&str]) -> Self {
        Self::start_with(role, arguments, &[])
    }

    pub fn start_with(role: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = role::command(role)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn hear(&mut self) -> String {
        self.try_hear().expect("the process has nothing more to say")
    }

    pub fn try_hear(&mut self) -> Option<String> {
        self.output.next().map(|line| line.unwrap())
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
    }

    /// SIGKILL, without listening: a child of the worker may keep the pipe open.
    pub fn kill_only(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGKILL; returns the rest of its output.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.output.by_ref().map_while(std::io::Result::ok).collect()
    }

    /// Closes the worker's input, then waits as [`finish`](Self::finish).
    pub fn end(mut self) -> Vec<String> {
        drop(self.input.take());
        self.finish()
    }

    /// The rest of its output until its end, good or bad.
    pub fn drain(mut self) -> Vec<String> {
        self.output.by_ref().map_while(std::io::Result::ok).collect()
    }

    /// Waits for its end, good or bad, without listening.
    pub fn wait(mut self) {
        self.child.wait().unwrap();
    }

    /// Waits for its end, which must be successful; returns the rest of its output.
    pub fn finish(mut self) -> Vec<String> {
        let rest = self.output.by_ref().map(|line| line.unwrap()).collect();
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "a process in a role failed: {ended}");
        rest
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line from the test, inside a role; `None` when it has gone.
pub fn heard() -> Option<String> {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end().to_owned()),
    }
}
