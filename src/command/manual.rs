//! `usher completions` and `usher man`: what a shell and `man` want to know of the commands, made from their definitions.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Arguments;
use super::terminal::print_whole;

const COMPLETIONS: &str = "\
Examples:
  usher completions bash > ~/.local/share/bash-completion/completions/usher
  usher completions zsh > ~/.zfunc/_usher          # a folder of fpath, before compinit
  usher completions fish > ~/.config/fish/completions/usher.fish";

const MAN: &str = "\
Examples:
  usher man | man -l -
  usher man --all /usr/local/share/man/man1";

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

/// The page of `usher` on standard output, or all pages in a folder.
#[derive(Debug, Args)]
#[command(after_help = MAN)]
pub(super) struct Man {
    /// Write the page of usher and those of its commands into this folder: usher.1, usher-check.1, …
    #[arg(long, value_name = "FOLDER")]
    all: Option<PathBuf>,
}

impl Completions {
    /// Prints the script.
    ///
    /// # Errors
    /// It cannot be printed.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "usher", &mut script);
        print_whole(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Man {
    /// Prints or writes the pages.
    ///
    /// # Errors
    /// They cannot be printed or written.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let command = Arguments::command();
        if let Some(folder) = &self.all {
            clap_mangen::generate_to(command, folder)
                .with_context(|| format!("the pages cannot be written to {}", folder.display()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        print_whole(&page)?;
        Ok(ExitCode::SUCCESS)
    }
}
