//! Partita's figures. A table for people, then one line of JSON; ratios against a limit or a peer in the same run,
//! because absolute times mean nothing on a shared machine.

mod all;
mod author;
mod bare;
mod burst;
mod charts;
mod cold;
mod crowd;
mod devices;
mod fanout;
mod group;
mod growth;
mod history;
mod idle;
mod ingest;
mod live;
mod markdown;
mod owners;
mod pair;
mod peer;
mod relay_process;
mod report;
mod resume;
mod seal;
mod strategy;
mod svg;
mod wire;

use clap::{Parser, Subcommand};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Measures Partita.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    figure: Figure,
}

#[derive(Debug, Subcommand)]
enum Figure {
    /// All figures, one after the other, and a report of them with drawings.
    All(all::Arguments),
    /// Five thousand changes at once, until another device shows the last, beside samod.
    Burst(peer::BesideSamod),
    /// A new device fetches a thousand small documents and can read them, beside samod.
    Cold(peer::BesideSamod),
    /// One writer and many subscribers: how long an entry takes to each of them, beside a bare relay.
    Fanout(fanout::Arguments),
    /// What it costs to let somebody into a group, and to shut somebody out, beside bare boxes and other protocols.
    Group(group::Arguments),
    /// What a long history costs: opening it, keeping it open, adding to it, resuming with it.
    Growth(growth::Arguments),
    /// What is left of a long history under a checkpoint, and what a new device pays to join.
    History(history::Arguments),
    /// What a connection that says nothing costs a relay.
    Idle(idle::Arguments),
    /// How many entries a second become durable: by the store, through a relay, and by bare redb.
    Ingest(ingest::Arguments),
    /// One change, through a relay, to another device's document, beside a bare relay and samod.
    Live(peer::BesideSamod),
    /// Opens a store for another figure, in a process of its own.
    #[command(hide = true)]
    OpenContext(growth::OpenArguments),
    /// What a reconnect costs: when nothing changed, and when one entry of many is missing.
    Resume(resume::Arguments),
    /// The bare relay of other figures, in a process of its own.
    #[command(hide = true)]
    ServeBareRelay,
    /// The relay of other figures, in a process of its own.
    #[command(hide = true)]
    ServeRelay(relay_process::Arguments),
    /// What it costs that a group's payloads are sealed: catching up beside a plain context.
    Seal(seal::Arguments),
    /// What it costs that partition strategies are plugins, beside a live change.
    Strategy(strategy::Arguments),
}

fn main() -> Outcome {
    match Arguments::parse().figure {
        Figure::All(arguments) => all::run(&arguments),
        Figure::Burst(arguments) => burst::run(&arguments),
        Figure::Cold(arguments) => cold::run(&arguments),
        Figure::Fanout(arguments) => fanout::run(&arguments),
        Figure::Group(arguments) => group::run(&arguments),
        Figure::Growth(arguments) => growth::run(&arguments),
        Figure::History(arguments) => history::run(&arguments),
        Figure::Idle(arguments) => idle::run(&arguments),
        Figure::Ingest(arguments) => ingest::run(&arguments),
        Figure::Live(arguments) => live::run(&arguments),
        Figure::OpenContext(arguments) => growth::open(&arguments),
        Figure::Resume(arguments) => resume::run(&arguments),
        Figure::Seal(arguments) => seal::run(&arguments),
        Figure::ServeBareRelay => crowd::serve(),
        Figure::ServeRelay(arguments) => relay_process::serve(&arguments),
        Figure::Strategy(arguments) => strategy::run(&arguments),
    }
}
