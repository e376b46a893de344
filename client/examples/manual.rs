//! Writes the manual pages and the shells' completions of both programs, for packages:
//! `cargo run --example manual -- FOLDER`.

use std::{env, fs, path::PathBuf};

use anyhow::Context;
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

fn main() -> anyhow::Result<()> {
    let folder = env::args_os().nth(1).context("name the folder that they are written to")?;
    let folder = PathBuf::from(folder);
    let (pages, completions) = (folder.join("man1"), folder.join("completions"));
    for folder in [&pages, &completions] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for (name, command) in
        [("ferry", ferry_client::cli::Cli::command()), ("ferryd", ferry_server::cli::Cli::command())]
    {
        for &shell in Shell::value_variants() {
            clap_complete::generate_to(shell, &mut command.clone(), name, &completions)?;
        }
        // One for each command, too.
        clap_mangen::generate_to(command, &pages)?;
    }
    Ok(())
}
