//! `shell`: commands one after the other, from a terminal or from a script.
//!
//! | module | duty |
//! |---|---|
//! | `words` | what is typed, as commands of words |
//! | `commands` | which commands there are |
//! | `session` | follows them |
//! | `output` | entries as tables, text or JSON |
//! | `editor` | editing, history and completion on a terminal |
//!
//! On a terminal a command that fails is told, and the next one is asked for. In a
//! script the first one that fails ends it, and its line is named: what was meant to
//! come after it may depend on it.

mod commands;
mod editor;
mod output;
mod session;
mod words;

use super::arguments::ShellOptions;
use super::place::Purpose;
use super::{Context, PROGRAM};
use crate::failure::{Exit, Failure};
use crate::terminal;
use editor::{Input, Terminal};
use output::{Form, Style};
use session::{Next, Session};
use std::cell::RefCell;
use std::io::{self, BufRead, IsTerminal};
use std::rc::Rc;

/// The longest script's line, quoted line breaks included: a value of 1 GiB, escaped.
const COMMAND_BYTES_MAX: usize = (4 << 30) + (1 << 20);

pub(super) fn shell(context: &Context<'_>, options: &ShellOptions) -> Result<Exit, Failure> {
    let purpose = if options.read_only {
        Purpose::Read
    } else {
        Purpose::Make
    };
    let table = context.table_name()?;
    let store = context.open(purpose)?;
    let form = if context.global.json {
        Form::Json
    } else if io::stdout().is_terminal() {
        Form::Table
    } else {
        Form::Text
    };
    let style = Style {
        form,
        hex: context.global.hex,
        expiry: false,
        width: None,
    };
    let session = Session::new(context.global.clone(), store, table, style);
    if io::stdin().is_terminal() {
        interactive(context, session)
    } else {
        script(context, session, &mut io::stdin().lock())
    }
}

fn interactive(context: &Context<'_>, session: Session) -> Result<Exit, Failure> {
    let session = Rc::new(RefCell::new(session));
    let mut terminal = Terminal::new(Rc::clone(&session))?;
    context.note(&"`help` lists the commands; `exit` or Ctrl-D leaves");
    'lines: loop {
        let commands = match terminal.read()? {
            Input::Commands(commands) => commands,
            Input::Nothing => continue,
            Input::End => break,
        };
        for command in &commands {
            match session.borrow_mut().follow(command) {
                Ok(Next::Leave) => break 'lines,
                Ok(Next::GoOn(Exit::Finding)) => context.note(&"it is not there"),
                Ok(Next::GoOn(_)) => {}
                Err(failure) => {
                    terminal::print_error(PROGRAM, &failure);
                    // Others may have counted on it.
                    continue 'lines;
                }
            }
        }
    }
    if let Err(reason) = terminal.close() {
        context.note(&reason);
    }
    // The terminal has let go of it.
    let Some(session) = Rc::into_inner(session) else {
        return Ok(Exit::Fine);
    };
    close(context, session.into_inner())?;
    Ok(Exit::Fine)
}

fn close(context: &Context<'_>, session: Session) -> Result<(), Failure> {
    if session.close()? {
        context.note(&"a transaction was open: what it had written is forgotten");
    }
    Ok(())
}

fn script(
    context: &Context<'_>,
    mut session: Session,
    input: &mut dyn BufRead,
) -> Result<Exit, Failure> {
    let at_line = |line: u64, mut failure: Failure| {
        if let Some(message) = &mut failure.message {
            message.insert_str(0, &format!("line {line}: "));
        }
        failure
    };
    let mut ended = Exit::Fine;
    let mut line = 1;
    let mut text = String::new();
    loop {
        let before = text.len();
        let read = input.read_line(&mut text).map_err(|error| {
            let reason = match error.kind() {
                io::ErrorKind::InvalidData => {
                    "this is no UTF-8; bytes that are none are written \\xHH".to_owned()
                }
                _ => error.to_string(),
            };
            at_line(line, Failure::new(Exit::Failed, reason))
        })?;
        if read > 0 && text.len() > COMMAND_BYTES_MAX {
            let reason = format!("a command of more than {COMMAND_BYTES_MAX} bytes");
            return Err(at_line(line, Failure::usage(reason)));
        }
        let commands = match words::split(&text, line) {
            Ok(commands) => commands,
            Err(open) if text.len() == before => {
                let reason = format!("the quote {} is left open", open.quote);
                return Err(at_line(open.line, Failure::usage(reason)));
            }
            Err(_) => continue,
        };
        for command in &commands {
            match session.follow(command) {
                Ok(Next::GoOn(Exit::Fine)) => {}
                Ok(Next::GoOn(exit)) => ended = exit,
                Ok(Next::Leave) => {
                    close(context, session)?;
                    return Ok(ended);
                }
                Err(failure) => return Err(at_line(command.line, failure)),
            }
        }
        if read == 0 {
            close(context, session)?;
            return Ok(ended);
        }
        line += text.matches('\n').count() as u64;
        text.clear();
    }
}
