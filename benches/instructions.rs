//! Loads to count the instructions of: the script `benches/instructions` runs this under callgrind.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)] // a program with arguments and an output

mod common;

use std::process::ExitCode;

use common::load::Load;
use common::plan::{PLANS, find};

/// Messages of a load when none are said.
const MESSAGES: usize = 40_000;

/// Runs about so many messages; returns how many these are.
fn run(name: &str, messages: usize) -> usize {
    let plan = find(name);
    let rounds = messages.div_ceil(plan.messages());
    let mut load = Load::new(plan, rounds);
    load.count();
    (0..rounds).for_each(|_| load.round());
    rounds * plan.messages()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["list"] => PLANS.iter().for_each(|plan| println!("{}\t{}", plan.name, plan.what)),
        ["run", name] => println!("{}", run(name, MESSAGES)),
        ["run", name, messages] => println!("{}", run(name, messages.parse().expect("a number of messages"))),
        // `cargo bench`: whether all loads do what they should.
        _ => {
            for plan in PLANS {
                println!("{}: {} messages came", plan.name, run(plan.name, 1000));
            }
            println!("benches/instructions counts their instructions");
        }
    }
    ExitCode::SUCCESS
}
